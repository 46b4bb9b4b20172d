# SPDX-License-Identifier: Apache-2.0
"""Files that are no clips, each told why."""

import os
import pathlib

import numpy as np
import pytest

from data_prep.clips import clip_file
from sgcl_jax import errors


def refuse(path):
  with pytest.raises(errors.DataError) as error:
    clip_file.load(path)
  return str(error.value)


def test_npz_without_names(tmp_path):
  array = np.ones((2, 1, 3, 3))
  path = tmp_path / "a.npz"
  with path.open("wb") as file:
    np.save(file, array)
  assert "single array" in refuse(path) and "np.savez" in refuse(path)
  np.savez(path, array)
  assert "without a name" in refuse(path)


def test_objects(tmp_path):
  frames = np.empty(2, object)
  frames[:] = [np.ones((1, 3, 3)), np.ones((2, 3, 3))]
  np.savez(tmp_path / "a.npz", skeleton=frames, label="a", split="train")
  message = refuse(tmp_path / "a.npz")
  assert "skeleton is an array of Python objects" in message


def test_text_is_utf8_in_any_locale(tmp_path):
  path = tmp_path / "a.JSON"
  path.write_bytes('\ufeff{"label": "走路"}'.encode())
  assert clip_file.load(path) == {"label": "走路"}
  path.write_bytes('{"label": "köpfen"}'.encode("latin-1"))
  assert "cannot be read ('utf-8' codec" in refuse(path)


def test_a_name_is_utf8():
  path = pathlib.Path(os.fsdecode("dir/käse.npz".encode()))
  assert clip_file.get_name(path) == "käse"
  with pytest.raises(errors.DataError, match="not UTF-8"):
    clip_file.get_name(pathlib.Path(os.fsdecode(b"k\xe4se.npz")))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "1"])
def test_no_object(tmp_path, text):
  path = tmp_path / "a.json"
  path.write_text(text)
  assert "cannot be read" in refuse(path) or "holds no object" in refuse(path)
