# SPDX-License-Identifier: Apache-2.0
"""Opens a `.npz` or `.json` file of one recording."""

import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from sgcl_jax import errors

SUFFIXES = (".npz", ".json")
_SAVE = "np.savez(path, skeleton=..., label=..., split=...)"


def load(path: pathlib.Path) -> dict[str, Any]:
  """Returns the content of a file by key.

  Raises:
    DataError: It cannot be read, or holds no keys.
  """
  try:
    if path.suffix.lower() == ".npz":
      return _load_npz(path)
    # A byte order mark is accepted: editors of Windows write it.
    content = json.loads(path.read_text(encoding="utf-8-sig"))
  except (
    OSError,
    EOFError,
    RecursionError,
    ValueError,
    zipfile.BadZipFile,
  ) as error:
    if isinstance(error, errors.DataError):
      raise
    raise errors.DataError(f"cannot be read ({error})") from error
  if not isinstance(content, dict):
    raise errors.DataError("holds no object with skeleton, label and split")
  return content


def is_layout(content: dict[str, Any]) -> bool:
  """Tells whether a content is that of a layout file."""
  return "skeleton" not in content and not content.keys().isdisjoint(
    ("joints", "base")
  )


def get_name(path: pathlib.Path) -> str:
  """Returns the name of the recording: that of the file without its suffix.

  Raises:
    DataError: It is not UTF-8, which records want.
  """
  try:
    # As stored: an ASCII locale would not decode it.
    return os.fsencode(path.stem).decode("utf-8")
  except UnicodeDecodeError as error:
    raise errors.DataError("the file's name is not UTF-8") from error


def _load_npz(path):
  # NumPy would not close a broken file that it opens itself.
  with path.open("rb") as file:
    arrays = np.load(file)
    if isinstance(arrays, np.ndarray):
      raise errors.DataError(
        f"holds a single array and no names; save it with {_SAVE}"
      )
    with arrays:
      content = {key: _get_array(arrays, key) for key in arrays.files}
  if "arr_0" in content and "skeleton" not in content:
    raise errors.DataError(f"holds an array without a name; save with {_SAVE}")
  return content


def _get_array(arrays, key):
  try:
    return arrays[key]
  except ValueError as error:
    if "allow_pickle" not in str(error):
      raise
    raise errors.DataError(
      f"{key} is an array of Python objects, not of numbers: frames of unequal"
      " shapes, or None, make one; pad absent persons with zeros and save"
      " np.array(..., np.float32)"
    ) from error
