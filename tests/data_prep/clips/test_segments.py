# SPDX-License-Identifier: Apache-2.0
"""Tables of the actions in long recordings."""

import numpy as np
import pytest

from data_prep.clips import segments
from sgcl_jax import errors

HEAD = "file,first,last,label\n"


def test_a_table(tmp_path):
  path = tmp_path / "a.csv"
  text = "label, split, file, first, last, note\n"
  text += '"point, at",train,in\\a.b.NPZ,3,5,x\nwave,,a.b,0,0,\n7,test,c,1,2,\n'
  path.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
  found = segments.read(path)
  assert found == {
    "a.b": [(3, 5, "point, at", "train"), (0, 0, "wave", None)],
    "c": [(1, 2, "7", "test")],
  }
  content = {"skeleton": np.arange(8), "label": "all", "split": "val"}
  first, second = found["a.b"]
  cut = first.cut("a.b", content)
  np.testing.assert_array_equal(cut["skeleton"], [3, 4, 5])
  assert (cut["label"], cut["split"]) == ("point, at", "train")
  assert second.cut("a.b", content)["split"] == "val"
  assert found["c"][0].cut("c", content)["label"] == 7
  assert first.rename("a.b") == "a.b_000003_000005"
  with pytest.raises(errors.DataError, match="last is 5, but a.b has 5 frames"):
    first.cut("a.b", {"skeleton": [0] * 5})
  with pytest.raises(errors.DataError, match="skeleton is missing"):
    first.cut("a.b", {})


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "no column file, first, last, label"),
    ("file,start,end,label\na,1,2,b\n", "no column first, last"),
    (HEAD, "holds no segment"),
    (HEAD + "a,1,2,b\na,x,2,b\n", "line 3: first is 'x'"),
    (HEAD + "a,-1,2,b\n", "line 2: first is '-1'"),
    (HEAD + "a,3,2,b\n", "line 2: first is 3, after last, 2"),
    (HEAD + "a,1,2\n", "line 2: label is empty"),
    (HEAD + ",1,2,b\n", "line 2: file is empty"),
    (
      HEAD + "a,1,2,b\na.npz,1,2,c\n",
      "line 3: the same frames of a come twice",
    ),
  ],
)
def test_a_table_that_makes_no_sense(tmp_path, text, message):
  path = tmp_path / "a.csv"
  path.write_text(text)
  with pytest.raises(errors.DataError, match=message) as error:
    segments.read(path)
  assert str(path) in str(error.value)


def test_a_table_that_cannot_be_read(tmp_path):
  with pytest.raises(errors.DataError, match="cannot be read"):
    segments.read(tmp_path / "none.csv")
