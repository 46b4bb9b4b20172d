# SPDX-License-Identifier: Apache-2.0
"""Finds raw `.skeleton` files in directories and zip archives, and reads them.

The official archives are read in place: unpacked, those of NTU RGB+D 120 take
some 30 GB.
"""

import functools
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sgcl_jax import errors

SUFFIX = ".skeleton"


class RawFile(NamedTuple):
  """A file, or a member of an archive.

  Attributes:
    path: Of the file or the archive.
    member: Name in the archive, or "".
    size: Bytes.
    modified: When the file or the archive was, in nanoseconds.
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


def find(raws: Sequence[pathlib.Path]) -> Iterator[RawFile]:
  """Lists the raw files of directories, of archives in them, and of archives.

  Args:
    raws: Directories or `.zip` files. Hidden files are left out: macOS adds
      "._S001..." beside each file it packs.

  Yields:
    The files, those of one directory or archive by name.

  Raises:
    DataError: A path is neither, or an archive cannot be listed.
  """
  for raw in raws:
    if raw.is_dir():
      for path in sorted(raw.rglob("*")):
        if path.suffix == SUFFIX and not path.name.startswith("."):
          # Of a link to nowhere too: reading it tells.
          status = path.lstat()
          yield RawFile(str(path), "", status.st_size, status.st_mtime_ns)
        elif path.suffix == ".zip" and path.is_file():
          yield from _list_archive(path)
    elif raw.is_file():
      yield from _list_archive(raw)
    else:
      raise errors.DataError(
        f"{raw} is not there: pass the directory of the {SUFFIX} files, or"
        " their .zip archive, as --raw"
      )


def read(file: RawFile) -> bytes:
  """Reads a file.

  Raises:
    DataError: It cannot be read, or is damaged in its archive.
  """
  try:
    if not file.member:
      return pathlib.Path(file.path).read_bytes()
    return _open(file.path).read(file.member)
  except (
    OSError,
    EOFError,
    RuntimeError,  # Encrypted, or of a compression that is not there.
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise errors.DataError(f"cannot be read ({error})") from error


@functools.lru_cache(maxsize=4)
def _open(path):
  return zipfile.ZipFile(path)


def _list_archive(path):
  try:
    modified = path.stat().st_mtime_ns
    with zipfile.ZipFile(path) as archive:
      members = sorted(archive.infolist(), key=lambda info: info.filename)
  except (OSError, zipfile.BadZipFile) as error:
    raise errors.DataError(
      f"{path} cannot be opened as a .zip archive ({error}); fetch it again"
    ) from error
  for info in members:
    name = pathlib.PurePosixPath(info.filename)
    if name.suffix == SUFFIX and not name.name.startswith("."):
      yield RawFile(str(path), info.filename, info.file_size, modified)
