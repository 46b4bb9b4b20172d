# SPDX-License-Identifier: Apache-2.0
"""Reads arrays of the form `.npy`, after a check of what they claim to be."""

import io
import math
import struct
from typing import BinaryIO

import numpy as np

from sgcl_jax import errors

# NumPy refuses longer headers, but only after it has read them.
HEADER_BYTES = 10_000


def read_header(
  file: BinaryIO, size: int
) -> tuple[tuple[int, ...], bool, np.dtype]:
  """Reads the header of an array; the file stands at its content then.

  Args:
    file: Stands at the beginning of the array.
    size: Bytes of the array with its header, inflated.

  Returns:
    Shape; whether it is stored by columns; and type.

  Raises:
    DataError: The array claims more bytes than there are.
    ValueError: There is no such header.
  """
  version = np.lib.format.read_magic(file)
  width = 2 if version == (1, 0) else 4
  prefix = file.read(width)
  (length,) = struct.unpack(
    "<H" if width == 2 else "<I", prefix.ljust(width, b"\0")
  )
  if length > HEADER_BYTES:
    raise errors.DataError(f"claims a header of {length:,} bytes")
  header = io.BytesIO(prefix + file.read(length))
  if version == (1, 0):
    found = np.lib.format.read_array_header_1_0(header)
  else:
    found = np.lib.format.read_array_header_2_0(header)
  shape, _, dtype = found
  claimed = math.prod(shape) * dtype.itemsize
  there = size - len(np.lib.format.magic(*version)) - width - length
  # Objects have no size in a file; NumPy refuses them by name.
  if min(shape, default=0) < 0 or (claimed > there and not dtype.hasobject):
    raise errors.DataError(
      f"claims the shape {shape} of {dtype}, {claimed:,} bytes, but the file"
      f" holds {max(there, 0):,}"
    )
  return found


def parse(data: bytes) -> np.ndarray:
  """Reads an array from its bytes; never a pickle.

  Raises:
    DataError: As `read_header`.
    ValueError: It is damaged, or of Python objects.
  """
  file = io.BytesIO(data)
  read_header(file, len(data))
  file.seek(0)
  return np.lib.format.read_array(file, allow_pickle=False)
