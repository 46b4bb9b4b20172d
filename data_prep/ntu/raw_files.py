# SPDX-License-Identifier: Apache-2.0
"""Finds raw `.skeleton` files in directories and zip archives, and reads them.

The official archives are read in place: those of NTU RGB+D 120 unpack to about
30 GB.
"""

import collections
import functools
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data_prep import archive, walk
from sgcl_jax import errors
from sgcl_jax.dataset import regular_file
from sgcl_jax.terminal import wording

SUFFIX = ".skeleton"
# What --raw is, for messages.
WANTED = f"the directory of the {SUFFIX} files, or their .zip archive"
# The longest files of the sets have a few MB.
MOST_BYTES = 2**26


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
    path = f"{self.path}/{self.member}" if self.member else self.path
    return wording.show(path)


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
    walk.check_raw(raw, WANTED)
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
    DataError: It cannot be read, is damaged in its archive, is too large, or
      was changed after it was listed.
  """
  try:
    data = _read(file)
    size, modified = _size_and_time(pathlib.Path(file.path))
  except (
    *archive.DAMAGE,
    KeyError,  # The archive was replaced after it was listed.
  ) as error:
    raise errors.DataError(f"cannot be read ({error})") from error
  if file.member:
    size = len(data)
  if not len(data) == size == file.size or modified != file.modified:
    raise errors.DataError(
      "was changed after the conversion began; convert again when nothing"
      " writes to it any more"
    )
  return data


def _read(file):
  if not file.member:
    return regular_file.read(file.path, MOST_BYTES)
  opened = _open(file.path, file.modified)
  return archive.read_member(opened, opened.getinfo(file.member), MOST_BYTES)


def _size_and_time(path):
  try:
    status = path.stat()
  except OSError:  # A broken link: `read` reports it.
    status = path.lstat()
  return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _open(path, modified):
  del modified  # A key of the cache: a replaced archive is opened again.
  return archive.open_zip(path)


def _list_archive(path, passed):
  try:
    _, modified = _size_and_time(path)
    with archive.open_zip(path) as opened:
      members = sorted(opened.infolist(), key=lambda info: info.filename)
  except (
    OSError,
    NotImplementedError,
    ValueError,
    zipfile.BadZipFile,
  ) as error:
    raise errors.DataError(
      f"{wording.show(path)} cannot be opened as a .zip archive ({error});"
      " fetch it again"
    ) from error
  for info in members:
    name = pathlib.PurePosixPath(info.filename)
    if not info.is_dir() and walk.is_wanted(name, (SUFFIX,), passed):
      yield RawFile(str(path), info.filename, info.file_size, modified)
