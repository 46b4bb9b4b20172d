# SPDX-License-Identifier: Apache-2.0
"""Finds raw `.skeleton` files in directories and zip archives, and reads them.

The official archives are read in place: those of NTU RGB+D 120 unpack to about
30 GB.
"""

import collections
import functools
import lzma
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data_prep import walk
from sgcl_jax import errors

SUFFIX = ".skeleton"


class RawFile(NamedTuple):
  """A file, or a member of an archive.

  Attributes:
    path: The file or the archive.
    member: Name in the archive, or "".
    size: Bytes.
    modified: Time of the last change of the file or archive, nanoseconds.
  """

  path: str
  member: str
  size: int
  modified: int

  @property
  def stem(self) -> str:
    """The name without directories and suffix."""
    return pathlib.PurePosixPath(self.member or self.path).stem

  def __str__(self) -> str:
    return f"{self.path}/{self.member}" if self.member else self.path


def find(
  raws: Sequence[pathlib.Path], passed: collections.Counter
) -> Iterator[RawFile]:
  """Lists the raw files in directories and archives.

  Args:
    raws: Directories, which may hold archives too, or `.zip` files.
    passed: Is increased by the files that are passed over, by kind.

  Yields:
    The files, those of one directory or archive by name.

  Raises:
    DataError: A path is neither, or an archive cannot be listed.
  """
  for raw in raws:
    if not raw.exists():
      raise errors.DataError(
        f"{raw} does not exist: pass the directory of the {SUFFIX} files, or"
        " their .zip archive, as --raw"
      )
    # Absolute: a resumed conversion may spell the same path in another way.
    root = pathlib.Path(os.path.abspath(raw))
    for path in walk.files(root, (SUFFIX, ".zip"), passed):
      if path.suffix.lower() == SUFFIX:
        yield RawFile(str(path), "", *_size_and_time(path))
      else:
        yield from _list_archive(path, passed)


def read(file: RawFile) -> bytes:
  """Reads a file.

  Raises:
    DataError: It cannot be read, or is damaged in its archive.
  """
  try:
    if not file.member:
      return pathlib.Path(file.path).read_bytes()
    return _open(file.path, file.modified).read(file.member)
  except (
    OSError,
    EOFError,
    RuntimeError,  # Encrypted, or an unknown compression.
    KeyError,  # The archive was replaced after it was listed.
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise errors.DataError(f"cannot be read ({error})") from error


def _size_and_time(path):
  try:
    status = path.stat()
  except OSError:  # A broken link: `read` reports it.
    status = path.lstat()
  return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _open(path, modified):
  del modified  # A key of the cache: a replaced archive is opened again.
  return zipfile.ZipFile(path)


def _list_archive(path, passed):
  try:
    _, modified = _size_and_time(path)
    with zipfile.ZipFile(path) as archive:
      members = sorted(archive.infolist(), key=lambda info: info.filename)
  except (OSError, zipfile.BadZipFile) as error:
    raise errors.DataError(
      f"{path} cannot be opened as a .zip archive ({error}); fetch it again"
    ) from error
  for info in members:
    name = pathlib.PurePosixPath(info.filename)
    if not info.is_dir() and walk.is_wanted(name, (SUFFIX,), passed):
      yield RawFile(str(path), info.filename, info.file_size, modified)
