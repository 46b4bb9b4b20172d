# SPDX-License-Identifier: Apache-2.0
"""Reads arrays of an .npz file row by row, so that memory stays small.

`np.load` reads an array as a whole; those of NTU RGB+D 120 have 20 GB.
"""

import contextlib
import pathlib
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sgcl_jax import errors

# Largest row that is read, in bytes.
MAX_ROW_BYTES = 2**28
# What a damaged file raises.
DAMAGE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zipfile.zlib.error)


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
    try:
      self._archive = zipfile.ZipFile(path)
    except DAMAGE as error:
      raise errors.DataError(
        f"{path} is no .npz file, or it is damaged ({error}); fetch it again"
      ) from error

  def close(self) -> None:
    """Closes the file."""
    self._archive.close()

  def names(self) -> list[str]:
    """Returns the names of the arrays."""
    return [name.removesuffix(".npy") for name in self._archive.namelist()]

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
      size = int(np.prod(shape, dtype=np.int64)) * array.dtype.itemsize
      if size > MAX_ROW_BYTES:
        raise errors.DataError(
          f"{self.path}: {name} claims rows of {size:,} bytes"
        )
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
      with self._archive.open(f"{name}.npy") as file:
        yield file, self._read_header(file, name)
    except DAMAGE as error:
      if isinstance(error, errors.UserError):
        raise
      raise errors.DataError(
        f"{self.path}: {name} is damaged ({error}); fetch it again"
      ) from error

  def _read_header(self, file, name):
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
      header = np.lib.format.read_array_header_1_0(file)
    else:
      header = np.lib.format.read_array_header_2_0(file)
    shape, in_columns, dtype = header
    if dtype.kind not in "biuf" or not shape:
      raise errors.DataError(
        f"{self.path}: {name} is {dtype} of shape {shape}, no table of numbers"
      )
    if in_columns and len(shape) > 1:
      raise errors.DataError(
        f"{self.path}: {name} is stored by columns; save it again after"
        " np.ascontiguousarray"
      )
    return Array(name, shape, dtype)
