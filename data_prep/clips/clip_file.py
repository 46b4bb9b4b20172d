# SPDX-License-Identifier: Apache-2.0
"""Opens a `.npz` or `.json` file of one recording."""

import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from data_prep import archive, npy
from sgcl_jax import errors
from sgcl_jax.dataset import regular_file
from sgcl_jax.terminal import wording

SUFFIXES = (".npz", ".json")
# Of a file, and of the arrays of one together: an hour of two persons as JSON
# has a third of it.
MOST_BYTES = 2**30
_MAGIC = b"\x93NUMPY"
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
    content = json.loads(regular_file.read_utf8(path, MOST_BYTES))
  except errors.DataError:
    raise
  except (*archive.DAMAGE, RecursionError, ValueError) as error:
    raise errors.DataError(f"cannot be read ({error})") from error
  if not isinstance(content, dict):
    raise errors.DataError("holds no object with skeleton, label and split")
  return content


def is_layout(content: dict[str, Any]) -> bool:
  """Tells whether a content is that of a layout file."""
  if "skeleton" in content or "label" in content:
    return False
  joints = content.get("joints")
  if isinstance(joints, np.ndarray) or (
    isinstance(joints, list) and joints and isinstance(joints[0], list)
  ):
    return False  # Coordinates under a wrong key; a layout has names.
  return "joints" in content or "base" in content


def is_layout_file(path: pathlib.Path) -> bool:
  """Tells whether a file is a layout; raises DataError if it is damaged."""
  return path.suffix.lower() == ".json" and is_layout(load(path))


def get_name(path: pathlib.Path) -> str:
  """Returns the name of the recording: that of the file without its suffix.

  Raises:
    DataError: It is not UTF-8, which records want, or has characters that
      cannot be printed.
  """
  try:
    # As stored: an ASCII locale would not decode it.
    name = os.fsencode(path.stem).decode("utf-8")
  except UnicodeDecodeError as error:
    raise errors.DataError("the file's name is not UTF-8") from error
  if not name.isprintable():
    raise errors.DataError(
      f"the file's name, {name!r}, has characters that cannot be printed:"
      " rename it"
    )
  return name


def _load_npz(path):
  with regular_file.open_file(path) as file:
    if file.read(len(_MAGIC)) == _MAGIC:
      raise errors.DataError(
        f"holds a single array and no names; save it with {_SAVE}"
      )
    with zipfile.ZipFile(file) as opened:
      members = [m for m in opened.infolist() if m.filename.endswith(".npy")]
      if sum(member.file_size for member in members) > MOST_BYTES:
        raise errors.DataError(archive.too_much(MOST_BYTES))
      content = {
        member.filename.removesuffix(".npy"): _read_array(opened, member)
        for member in members
      }
  if "arr_0" in content and "skeleton" not in content:
    raise errors.DataError(f"holds an array without a name; save with {_SAVE}")
  return content


def _read_array(opened, member):
  key = wording.show(member.filename.removesuffix(".npy"))
  try:
    return npy.parse(archive.read_member(opened, member, MOST_BYTES))
  except errors.DataError as error:
    raise errors.DataError(f"{key} {error}") from error
  except ValueError as error:
    if "allow_pickle" not in str(error):
      raise
    raise errors.DataError(
      f"{key} is an array of Python objects, not of numbers: frames of unequal"
      " shapes, or None, make one; pad absent persons with zeros and save"
      " np.array(..., np.float32)"
    ) from error
