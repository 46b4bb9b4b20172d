# SPDX-License-Identifier: Apache-2.0
"""The order of classes, and labels that are numbers."""

import numpy as np
import pytest

from data_prep.clips import labels
from sgcl_jax import errors
from sgcl_jax.dataset import naming


def test_numbers_in_names_count_as_numbers():
  assert labels.sort(["10", "2", "0", "1", "2"]) == ["0", "1", "2", "10"]
  names = ["a10", "a9", "b", "a9x1", "a09", ""]
  assert labels.sort(names) == ["", "a09", "a9", "a9x1", "a10", "b"]


def test_a_file_of_names(tmp_path):
  path = tmp_path / "names.txt"
  path.write_bytes("\ufeffwinken\r\nzeigen auf\r\nä\r\n".encode())
  names = naming.read(path)
  assert names == ["winken", "zeigen auf", "ä"]
  for label in (1, np.int64(1), np.array(1), "zeigen auf"):
    assert labels.parse(label, names) == "zeigen auf"
  for label, message in (
    (3, "there are 3 class names"),
    (-1, "there are 3 class names"),
    ("1", "no known class"),
    (True, "not the name"),
    (1.0, "not the name"),
  ):
    with pytest.raises(errors.DataError, match=message):
      labels.parse(label, names)
  with pytest.raises(errors.DataError, match="with --names FILE"):
    labels.parse(3, None)


def test_classes_without_a_name():
  """All commands name them alike, in an order that sorts."""
  assert naming.fill([], 10) == [f"class {label}" for label in range(10)]
  filled = naming.fill(["wave"], 11)
  assert filled[:2] == ["wave", "class 01"] and filled[10] == "class 10"
  assert filled[1:] == sorted(filled[1:])
  assert naming.fill(["wave", "jump", "sit"], 2) == ["wave", "jump"]


@pytest.mark.parametrize(
  ("text", "message"),
  [("a\n\nb\n", "line 2: label is ''"), ("a\nb\na\n", "line 3: 'a' comes")]
  + [("", "holds no class name")],
)
def test_a_file_that_holds_no_names(tmp_path, text, message):
  path = tmp_path / "names.txt"
  path.write_text(text)
  with pytest.raises(errors.DataError, match=message):
    naming.read(path)
