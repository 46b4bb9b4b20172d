# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced whole or not at all; directories with one writer."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.terminal import wording

LOCK = "lock"
DAMAGED_ARRAYS = (ValueError, TypeError, EOFError, zipfile.BadZipFile)
# What `flock` answers where a file system has no locks.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
MOUNTS = pathlib.Path("/proc/self/mountinfo")


@contextlib.contextmanager
def writing(
  path: str | os.PathLike, *others: str | os.PathLike
) -> Iterator[None]:
  """Makes errors of the operating system in the block name a file.

  An error of `write` names none: with a full disk, one would not know which.

  Args:
    path: The file that the block writes; what the message names.
    *others: Files and directories that stand for it, such as its temporary
      file. An error that names a file outside of these and `path` is left as
      it is.

  Raises:
    DiskError: Names the file, the reason and what helps.
  """
  try:
    yield
  except OSError as error:
    for name in (error.filename, error.filename2):
      if isinstance(name, str):
        parents = {pathlib.Path(name), *pathlib.Path(name).parents}
        if not parents & set(map(pathlib.Path, (path, *others))):
          raise
    raise refuse(path, error) from error


def refuse(path: str | os.PathLike, error: OSError) -> errors.DiskError:
  """Returns the error for a file that could not be written."""
  return errors.DiskError(f"{path} was not written: {wording.reason(error)}")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary path; its file replaces `path` on success.

  The temporary file has the suffix of `path` and is in the same directory,
  which is made if it does not exist. After an exception the temporary file is
  removed and `path` is unchanged.

  Raises:
    DiskError: As `writing`.
  """
  path = pathlib.Path(path)
  partial = path.with_name(f".{path.stem}.open-{os.getpid()}{path.suffix}")
  try:
    with writing(path, path.parent, *path.parents):
      path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path, partial):
      yield partial
      os.replace(partial, path)
  finally:
    with contextlib.suppress(OSError):  # Of a file system that is read-only.
      partial.unlink(missing_ok=True)


@contextlib.contextmanager
def open_arrays(path: str | os.PathLike) -> Iterator[np.lib.npyio.NpzFile]:
  """Opens an .npz file; a damaged one raises one of `DAMAGED_ARRAYS`."""
  # np.load leaves a damaged file open.
  with pathlib.Path(path).open("rb") as file, np.load(file) as arrays:
    yield arrays


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes a file whole or not at all."""
  with replacing(path) as partial:
    partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
  """Writes a JSON file whole or not at all."""
  write_text(path, json.dumps(content, indent=2) + "\n")


def move_into_place(partial: pathlib.Path, out: pathlib.Path) -> None:
  """Replaces a directory by another one, or leaves it as it was.

  Args:
    partial: The new directory, on the same file system.
    out: Its future path; a directory that is there is removed. Not a link.
  """
  old = out.with_name(f".{out.name}.old-{os.getpid()}")
  try:
    if out.exists():
      out.rename(old)
    partial.rename(out)
  finally:
    if old.exists() and out.exists():
      shutil.rmtree(old)
    elif old.exists():  # Interrupted, or the second renaming failed.
      old.rename(out)


@contextlib.contextmanager
def claim(directory: pathlib.Path, refusal: errors.UserError) -> Iterator[None]:
  """Locks a directory against other processes; the lock ends with the process.

  Args:
    directory: An existing directory; the lock is a file `lock` in it.
    refusal: Error to raise if another process holds the lock.

  Raises:
    WorkdirError: If the file system has no locks; names it.
  """
  with contextlib.ExitStack() as stack:
    with writing(directory / LOCK):
      opened = (directory / LOCK).open("w", encoding="utf-8")
      lock = stack.enter_context(opened)
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise refusal from None
    except OSError as error:
      if error.errno not in NO_LOCKS:
        raise
      raise errors.WorkdirError(
        f"{directory} is on a file system without file locks"
        f" ({describe_file_system(directory)}): name a directory on another"
        " one, or mount this one with locks (Lustre: flock; NFS: a running lock"
        " daemon, or local_lock=flock)"
      ) from error
    yield


def describe_file_system(path: str | os.PathLike) -> str:
  """Returns type and place of the file system that a path is on."""
  path = os.path.realpath(path)
  best, kind = "", "of unknown type"
  try:
    lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
  except OSError:  # Not Linux.
    return kind
  for line in lines:
    # Fields: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    mount, _, rest = line.partition(" - ")
    place = mount.split()[4].replace("\\040", " ")
    if os.path.commonpath([place, path]) == place and len(place) >= len(best):
      best, kind = place, rest.split()[0]
  return f"{kind}, mounted at {best}" if best else kind
