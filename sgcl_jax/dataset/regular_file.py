# SPDX-License-Identifier: Apache-2.0
"""Opens only regular files, and reads no more of one than a limit.

A pipe may wait for ever and a device may never end. docs/SECURITY.md has the
limits.
"""

import os
import pathlib
import stat
from typing import BinaryIO

from sgcl_jax import errors

# A table of names or segments, or a layout.
TABLE_BYTES = 2**26
_KINDS = {
  stat.S_IFBLK: "a device",
  stat.S_IFCHR: "a device",
  stat.S_IFDIR: "a directory",
  stat.S_IFIFO: "a named pipe",
  stat.S_IFSOCK: "a socket",
}


def open_file(path: str | os.PathLike) -> BinaryIO:
  """Opens a regular file, or the one that a link leads to.

  Raises:
    DataError: It is of another kind; does not name the file.
  """
  kind = stat.S_IFMT(os.stat(path).st_mode)
  if kind != stat.S_IFREG:
    raise errors.DataError(
      f"is {_KINDS.get(kind, 'of another kind')}, not a regular file"
    )
  return pathlib.Path(path).open("rb")


def read(path: str | os.PathLike, most: int) -> bytes:
  """Reads a regular file.

  Args:
    path: The file.
    most: Limit in bytes.

  Raises:
    DataError: It is of another kind, or larger; does not name the file.
  """
  with open_file(path) as file:
    data = file.read(most + 1)
  if len(data) > most:
    raise errors.DataError(too_large(most))
  return data


def read_utf8(path: str | os.PathLike, most: int = TABLE_BYTES) -> str:
  """Reads a text in UTF-8, with or without a byte order mark.

  Lines end in LF, as `pathlib.Path.read_text` makes them.

  Args:
    path: The file.
    most: Limit in bytes.

  Raises:
    DataError: As `read`.
    UnicodeDecodeError: It is no UTF-8.
  """
  text = read(path, most).decode("utf-8-sig")
  return text.replace("\r\n", "\n").replace("\r", "\n")


def too_large(most: int) -> str:
  """Returns the words that refuse more than `most` bytes."""
  return f"is larger than {most // 2**20:,} MiB, the limit for such a file"
