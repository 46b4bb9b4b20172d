# SPDX-License-Identifier: Apache-2.0
"""Reads TFRecord files without TensorFlow and checks every byte.

A record is the length of its payload (8 bytes), a checksum of the length (4),
the payload, and a checksum of the payload (4); numbers are little-endian.
"""

import os
import struct
from collections.abc import Iterator

import google_crc32c

from sgcl_jax import errors

REMEDY = "convert the raw files again (data_prep, with --overwrite)"
_HEADER_BYTES = 12
_FOOTER_BYTES = 4


def checksum(data: bytes) -> bytes:
  """Returns the masked CRC-32C that TFRecord files store."""
  crc = google_crc32c.value(data)
  return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def damage(path: str | os.PathLike, offset: int, what: str) -> errors.DataError:
  """Returns the error for a file that is damaged at a byte offset."""
  return errors.DataError(
    f"{path} is damaged at byte {offset}: {what}; {REMEDY}"
  )


def read_records(
  path: str | os.PathLike, num_records: int
) -> Iterator[tuple[int, bytes]]:
  """Reads a file that holds exactly `num_records` records.

  A length is used only if its checksum is right and the file is long enough, so
  that damage never leads to a large allocation.

  Args:
    path: The file.
    num_records: Number of its records, from the metadata.

  Yields:
    (offset, payload): where the record starts in the file, and its payload.

  Raises:
    DataError: If the file is missing or damaged, or holds more or fewer
      records. The message names the file and the byte.
  """
  try:
    with open(path, "rb") as file:
      yield from _read_all(file, path, num_records)
  except FileNotFoundError:
    raise errors.DataError(f"{path} is missing; {REMEDY}") from None


def _read_all(file, path, num_records):
  size = os.fstat(file.fileno()).st_size
  offset = 0
  for number in range(num_records):
    if offset == size:
      what = f"the file ends after {number} of {num_records} records"
      raise damage(path, offset, what)
    payload = _read_record(file, path, offset, size)
    yield offset, payload
    offset += _HEADER_BYTES + len(payload) + _FOOTER_BYTES
  if offset != size:
    what = (
      f"{size - offset} bytes follow the last of {num_records} records that"
      " the metadata count"
    )
    raise damage(path, offset, what)


def _read_record(file, path, offset, size):
  header = file.read(_HEADER_BYTES)
  if len(header) < _HEADER_BYTES:
    raise damage(path, offset, "the file ends inside the header of a record")
  length = header[:8]
  if checksum(length) != header[8:]:
    raise damage(path, offset, "the length of a record has a wrong checksum")
  (num_bytes,) = struct.unpack("<Q", length)
  start = offset + _HEADER_BYTES
  if num_bytes + _FOOTER_BYTES > size - start:
    what = (
      f"the file ends inside a record, which needs {num_bytes + _FOOTER_BYTES}"
      f" more bytes and has {size - start}"
    )
    raise damage(path, start, what)
  payload = file.read(num_bytes)
  footer = file.read(_FOOTER_BYTES)
  if len(payload) < num_bytes or checksum(payload) != footer:
    raise damage(path, start, "the content of a record has a wrong checksum")
  return payload
