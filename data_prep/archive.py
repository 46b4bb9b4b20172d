# SPDX-License-Identifier: Apache-2.0
"""Reads members of archives up to a limit, whatever size they claim.

A mebibyte may inflate to gigabytes, and an archive may state a wrong size.
"""

import io
import lzma
import os
import zipfile
import zlib

from sgcl_jax import errors
from sgcl_jax.dataset import regular_file

# What a damaged zip archive raises.
DAMAGE = (
  EOFError,
  RuntimeError,  # Encrypted.
  NotImplementedError,  # An unknown compression.
  OSError,
  lzma.LZMAError,
  zipfile.BadZipFile,
  zlib.error,
)
# Those that zipfile inflates piece by piece.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_zip(path: str | os.PathLike) -> zipfile.ZipFile:
  """Opens a zip archive that is a regular file.

  Raises:
    DataError: It is of another kind; does not name the file.
  """
  regular_file.open_file(path).close()
  return zipfile.ZipFile(path)


def check_member(member: zipfile.ZipInfo, most: int) -> None:
  """Refuses a member that cannot be inflated within a limit.

  Args:
    member: The member.
    most: Limit in bytes, inflated.

  Raises:
    DataError: Says why; does not name the member.
  """
  if member.file_size > most:
    raise errors.DataError(regular_file.too_large(most))
  if member.compress_type not in METHODS:
    raise errors.DataError(
      "is compressed in a way that is not read: pack it again with deflate, the"
      " usual compression of .zip"
    )


def read_member(
  archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int
) -> bytes:
  """Reads a member.

  Args:
    archive: Its archive.
    member: The member.
    most: Limit in bytes, inflated.

  Raises:
    DataError: As `check_member`, or it is not of the size that it claims.
  """
  check_member(member, most)
  with archive.open(member) as file:
    # With a number, zipfile stops there; without one, it inflates everything
    # before it cuts off what exceeds the size that the archive claims.
    data = file.read(member.file_size + 1)
    file.read(1)  # The end, where the checksum is compared.
  if len(data) != member.file_size:
    raise errors.DataError(
      f"has {len(data):,} bytes, but its archive claims {member.file_size:,}"
    )
  return data


def too_much(most: int) -> str:
  """Returns the words that refuse an archive of more than `most` bytes."""
  return f"inflates to more than {most // 2**20:,} MiB, the limit for it"


class Metered(io.RawIOBase):
  """A stream that refuses to inflate to more than a limit."""

  def __init__(self, file: io.BufferedIOBase, most: int, name: str):
    """Wraps a stream.

    Args:
      file: The stream; is not closed.
      most: Limit in bytes.
      name: Of the archive, for the message.
    """
    super().__init__()
    self._file, self._most, self._name = file, most, name
    self._count = 0

  def read(self, size: int = -1) -> bytes:
    """Reads at most so many bytes; raises DataError beyond the limit."""
    data = self._file.read(size)
    self._count += len(data)
    if self._count > self._most:
      raise errors.DataError(f"{self._name} {too_much(self._most)}")
    return data
