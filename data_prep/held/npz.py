# SPDX-License-Identifier: Apache-2.0
"""Reads arrays of an .npz file row by row, so that memory stays small.

`np.load` reads an array as a whole; those of NTU RGB+D 120 have 20 GB.
"""

import contextlib
import math
import pathlib
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_prep import archive, npy
from sgcl_jax import errors
from sgcl_jax.terminal import wording

# Largest row that is read, in bytes.
MAX_ROW_BYTES = 2**28
# What a damaged file raises.
DAMAGE = (*archive.DAMAGE, ValueError)
# Largest array that is read, inflated: larger than all of NTU RGB+D 120.
MAX_ARRAY_BYTES = 2**38


class Array(NamedTuple):
  """The header of an array.

  Attributes:
    name: Its name in the file.
    shape: At least one dimension.
    dtype: Of numbers.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype


class Reader:
  """An open .npz file."""

  def __init__(self, path: pathlib.Path):
    """Opens the file.

    Raises:
      DataError: It is no .npz file.
    """
    if not path.is_file():
      raise errors.DataError(f"{path} is no file: pass an .npz file as --raw")
    self.path = path
    # Opened here: an archive would leave its file open while a row is read.
    self._file = path.open("rb")
    try:
      self._archive = zipfile.ZipFile(self._file)
    except DAMAGE as error:
      self._file.close()
      raise errors.DataError(
        f"{path} is no .npz file, or it is damaged ({error}); fetch it again"
      ) from error

  def close(self) -> None:
    """Closes the file."""
    self._archive.close()
    self._file.close()

  def names(self) -> list[str]:
    """Returns the names of the arrays."""
    return [
      wording.show(name.removesuffix(".npy"))
      for name in self._archive.namelist()
    ]

  def describe(self, name: str) -> Array:
    """Reads the header of an array.

    Raises:
      DataError: There is no such array, or it cannot be read by rows.
    """
    with self._open(name) as (_, array):
      return array

  def rows(self, name: str) -> Iterator[np.ndarray]:
    """Yields the rows of an array, each in native byte order.

    Raises:
      DataError: As `describe`, or the array is damaged.
    """
    with self._open(name) as (file, array):
      shape = array.shape[1:]
      size = math.prod(shape) * array.dtype.itemsize
      for i in range(array.shape[0]):
        data = file.read(size)
        if len(data) < size:
          raise errors.DataError(
            f"{self.path}: {name} ends in row {i} of {array.shape[0]:,}; fetch"
            " it again"
          )
        row = np.frombuffer(data, array.dtype).reshape(shape)
        yield row.astype(array.dtype.newbyteorder("="))
      file.read(1)  # The end, where the checksum is compared.

  @contextlib.contextmanager
  def _open(self, name):
    """Yields the file of an array after its header, and the header."""
    if name not in self.names():
      raise errors.DataError(
        f"{self.path} has no array {name}; it has {', '.join(self.names())}"
      )
    try:
      member = self._archive.getinfo(f"{name}.npy")
      self._check(archive.check_member, name, member, MAX_ARRAY_BYTES)
      with self._archive.open(member) as file:
        yield file, self._read_header(file, name, member.file_size)
    except errors.UserError:
      raise
    except (*DAMAGE, KeyError) as error:
      raise errors.DataError(
        f"{self.path}: {name} is damaged ({error}); fetch it again"
      ) from error

  def _check(self, function, name, *args):
    """Calls a function whose errors do not name the array."""
    try:
      return function(*args)
    except errors.DataError as error:
      raise errors.DataError(f"{self.path}: {name} {error}") from error

  def _read_header(self, file, name, size):
    shape, in_columns, dtype = self._check(npy.read_header, name, file, size)
    if dtype.kind not in "biuf" or not shape:
      raise errors.DataError(
        f"{self.path}: {name} is {dtype} of shape {shape}, no table of numbers"
      )
    if in_columns and len(shape) > 1:
      raise errors.DataError(
        f"{self.path}: {name} is stored by columns; save it again after"
        " np.ascontiguousarray"
      )
    row = math.prod(shape[1:]) * dtype.itemsize
    if row > MAX_ROW_BYTES:
      raise errors.DataError(
        f"{self.path}: {name} claims rows of {row:,} bytes"
      )
    return Array(name, shape, dtype)
