# SPDX-License-Identifier: Apache-2.0
"""Files are replaced whole or not at all; a directory has one writer."""

import errno
import fcntl
import json
import os
import pathlib

import pytest

from sgcl_jax import errors
from sgcl_jax.runs import files


def test_a_file_is_replaced_whole(tmp_path):
  path = tmp_path / "new" / "x.json"
  files.write_json(path, {"a": "é"})
  assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é"}
  files.write_text(path, "b")
  assert path.read_text() == "b"
  assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path):
  path = tmp_path / "x.npz"
  path.write_text("old")
  with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
    assert partial.suffix == ".npz" and partial.parent == tmp_path
    partial.write_text("half")
    raise KeyboardInterrupt
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupted_move_loses_no_directory(tmp_path, monkeypatch, late):
  """Before the new directory has its name, or just after."""
  partial, out = tmp_path / "partial", tmp_path / "out"
  for path in (partial, out):
    path.mkdir()
    (path / "name").write_text(path.name)
  rename = pathlib.Path.rename

  def interrupt(path, target):
    if path != partial or late:
      rename(path, target)
    if path == partial:
      raise KeyboardInterrupt

  monkeypatch.setattr(pathlib.Path, "rename", interrupt)
  with pytest.raises(KeyboardInterrupt):
    files.move_into_place(partial, out)
  assert (out / "name").read_text() == ("partial" if late else "out")
  assert set(tmp_path.iterdir()) == ({out} if late else {out, partial})


def test_a_directory_has_one_writer(tmp_path):
  refusal = errors.WorkdirError("taken")
  with (
    files.claim(tmp_path, refusal),
    pytest.raises(errors.WorkdirError, match="taken"),
    files.claim(tmp_path, refusal),
  ):
    pass
  with files.claim(tmp_path, refusal):
    pass


@pytest.mark.parametrize("number", [38, 37, 95])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
  """As Lustre without the option flock, or NFS without its lock daemon."""

  def refuse(*_):
    raise OSError(number, os.strerror(number))

  mounts = tmp_path / "mountinfo"
  mounts.write_text(
    "1 0 0:1 / / rw - ext4 /dev/sda rw\n"
    f"2 1 0:2 / {tmp_path} rw,relatime shared:1 - lustre server:/scratch rw\n"
    f"3 1 0:3 / {tmp_path}x rw - tmpfs none rw\n"
  )
  monkeypatch.setattr(files, "MOUNTS", mounts)
  monkeypatch.setattr(fcntl, "flock", refuse)
  with (
    pytest.raises(
      errors.WorkdirError,
      match=rf"without file locks \(lustre, mounted at {tmp_path}\): name a",
    ),
    files.claim(tmp_path, errors.WorkdirError("taken")),
  ):
    pass


def test_another_error_of_a_lock_stays_one(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  monkeypatch.setattr(fcntl, "flock", fail)
  with (
    pytest.raises(OSError, match="Input/output error"),
    files.claim(tmp_path, errors.WorkdirError("taken")),
  ):
    pass


def test_the_file_system_of_this_machine(tmp_path, monkeypatch):
  if files.MOUNTS.exists():
    assert ", mounted at /" in files.describe_file_system(tmp_path)
  monkeypatch.setattr(files, "MOUNTS", pathlib.Path("/absent"))
  assert files.describe_file_system(tmp_path) == "of unknown type"
