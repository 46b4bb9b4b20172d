# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced whole or not at all; directories with one writer."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from sgcl_jax import errors

LOCK = "lock"


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary path; its file replaces `path` on success.

  The temporary file has the suffix of `path` and is in the same directory,
  which is made if it does not exist. After an exception the temporary file is
  removed and `path` is unchanged.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.stem}.open-{os.getpid()}{path.suffix}")
  try:
    yield partial
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes a file whole or not at all."""
  with replacing(path) as partial:
    partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
  """Writes a JSON file whole or not at all."""
  write_text(path, json.dumps(content, indent=2) + "\n")


@contextlib.contextmanager
def claim(directory: pathlib.Path, refusal: errors.UserError) -> Iterator[None]:
  """Locks a directory against other processes; the lock ends with the process.

  Args:
    directory: An existing directory; the lock is a file `lock` in it.
    refusal: Error to raise if another process holds the lock.
  """
  with (directory / LOCK).open("w", encoding="utf-8") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise refusal from None
    yield
