# SPDX-License-Identifier: Apache-2.0
"""Finds and reads the JSON files of NW-UCLA, in its archive or unpacked."""

import collections
import functools
import lzma
import pathlib
import tarfile
from collections.abc import Callable, Iterator

from data_prep import archive, walk
from sgcl_jax import errors
from sgcl_jax.dataset import regular_file

ARCHIVE = "all_sqe.tar.xz"
ZIP = "all_sqe.zip"  # Another archive of the same files.
SUFFIX = ".json"
# A file of the set has at most 0.3 MB, all of them 37 MiB.
FILE_BYTES = 2**26
ARCHIVE_BYTES = 2**29
# What a damaged archive raises while it is read.
DAMAGE = (*set(archive.DAMAGE) - {OSError}, tarfile.TarError)


def find_source(raw: pathlib.Path) -> pathlib.Path:
  """Returns the archive, or a directory to search for JSON files.

  Raises:
    DataError: There is neither.
  """
  if raw.is_dir():
    # Unpacked files beside the archive are the same clips.
    archives = [raw / name for name in (ARCHIVE, ZIP) if (raw / name).is_file()]
    return archives[0] if archives else raw
  walk.check_raw(raw, f"{ARCHIVE}, or the directory it unpacks to")
  if not raw.is_file() or not raw.name.lower().endswith((".tar.xz", ".zip")):
    raise errors.DataError(
      f"{raw} is not {ARCHIVE} or {ZIP}: unpack it, and pass the directory as"
      " --raw"
    )
  return raw


def read(
  source: pathlib.Path, passed: collections.Counter
) -> Iterator[tuple[str, Callable[[], bytes]]]:
  """Yields the name of each JSON file, and a function that reads it.

  The function must be called before the next file is asked for.

  Args:
    source: Returned by `find_source`.
    passed: Is increased by the files that are passed over, by kind.

  Raises:
    DataError: A file, or the archive, is larger than its limit.
  """
  if source.is_dir():
    yield from _read_tree(source, passed)
  elif source.suffix.lower() == ".zip":
    yield from _read_zip(source, passed)
  else:
    yield from _read_tar(source, passed)


def _read_tree(root, passed):
  for path in walk.files(root, (SUFFIX,), passed):
    yield str(path), functools.partial(regular_file.read, path, FILE_BYTES)


def _read_zip(path, passed):
  with archive.open_zip(path) as opened:
    members = opened.infolist()
    if sum(member.file_size for member in members) > ARCHIVE_BYTES:
      raise errors.DataError(f"{path} {archive.too_much(ARCHIVE_BYTES)}")
    for member in members:
      name = pathlib.PurePosixPath(member.filename)
      if not member.is_dir() and walk.is_wanted(name, (SUFFIX,), passed):
        yield (
          member.filename,
          functools.partial(archive.read_member, opened, member, FILE_BYTES),
        )


def _read_tar(path, passed):
  def read_member():
    if member.size > FILE_BYTES:
      raise errors.DataError(regular_file.too_large(FILE_BYTES))
    return opened.extractfile(member).read()

  with lzma.open(path) as inflated:
    file = archive.Metered(inflated, ARCHIVE_BYTES, str(path))
    with tarfile.open(fileobj=file, mode="r|") as opened:
      for member in opened:
        name = pathlib.PurePosixPath(member.name)
        if member.isfile() and walk.is_wanted(name, (SUFFIX,), passed):
          yield member.name, read_member
    # tarfile takes a broken header for the end: lzma checks the rest.
    while file.read(1 << 20):
      pass
