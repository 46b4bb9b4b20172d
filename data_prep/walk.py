# SPDX-License-Identifier: Apache-2.0
"""Which files a converter takes below `--raw`, and which it passes over."""

import collections
import difflib
import os
import pathlib
from collections.abc import Iterator, Sequence

from sgcl_jax import errors
from sgcl_jax.terminal import wording


def check_raw(raw: pathlib.Path, wanted: str) -> None:
  """Refuses a path where nothing is; suggests a near name beside it.

  Args:
    raw: Value of `--raw`.
    wanted: What it should be, for the message.

  Raises:
    DataError: Nothing is there.
  """
  if raw.exists():
    return
  beside = os.listdir(raw.parent) if raw.parent.is_dir() else []
  close = difflib.get_close_matches(raw.name, sorted(beside), n=1)
  hint = f"did you mean {raw.with_name(close[0])}? " if close else ""
  raise errors.DataError(f"{raw} does not exist: {hint}--raw is {wanted}")


def files(
  root: pathlib.Path,
  suffixes: Sequence[str],
  passed: collections.Counter,
) -> Iterator[pathlib.Path]:
  """Yields the files below a directory, by name, or the file itself.

  Links to directories are followed; a directory that is reached twice is
  visited once.

  Args:
    root: A directory, or a file, which is yielded whatever its name.
    suffixes: Suffixes in lower case; files may have them in any case.
    passed: Is increased by the files that are passed over, by kind.
  """
  if not root.is_dir():
    yield root
    return
  for path in _walk(root, set()):
    if is_wanted(path, suffixes, passed):
      yield path


def is_wanted(
  path: pathlib.PurePath,
  suffixes: Sequence[str],
  passed: collections.Counter,
) -> bool:
  """Tells by its name whether a file is taken; counts it if it is not.

  Hidden files are passed over: macOS adds "._S001..." beside each file it
  packs.

  Args:
    path: The file, or a member of an archive.
    suffixes: As for `files`.
    passed: As for `files`.
  """
  suffix = path.suffix.lower()
  if path.name.startswith("."):
    passed["hidden"] += 1
  elif suffix not in suffixes:
    passed[suffix or "without a suffix"] += 1
  else:
    return True
  return False


def describe(passed: collections.Counter) -> str:
  """Returns what was passed over: "3 other files (2 .txt, 1 hidden)"."""
  kinds = ", ".join(
    f"{count:,} {wording.show(kind)}" for kind, count in sorted(passed.items())
  )
  return f"{wording.count(passed.total(), 'other file')} ({kinds})"


def _walk(directory, seen):
  real = os.path.realpath(directory)
  if real in seen:  # A link may lead back.
    return
  seen.add(real)
  for entry in sorted(directory.iterdir()):
    if not entry.is_dir():
      yield entry
    elif not entry.name.startswith("."):
      yield from _walk(entry, seen)
