# SPDX-License-Identifier: Apache-2.0
"""Files that cannot be written: one line names them, the rest stays whole."""

import contextlib
import errno
import io
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from configs import ctrgcn_ucla
from data_prep import ntu60, synthetic
from sgcl_jax import command, ensemble, errors, train
from sgcl_jax.report import content, page
from sgcl_jax.results import __main__ as results
from sgcl_jax.runs import checkpoint, embeddings, files, record, scores
from tests import finished, test_train
from tests.conftest import ROOT
from tests.faults import trial

TOO_LARGE = "was not written: file too large; raise the limit"


@contextlib.contextmanager
def limited(kind, value):
  """Sets a limit of this process, as `ulimit` does."""
  before = resource.getrlimit(kind)
  # What pytest captures is a file, too.
  silent = io.StringIO()
  resource.setrlimit(kind, (value, before[1]))
  try:
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
      yield
  finally:
    resource.setrlimit(kind, before)


def small_files(size=100):
  return limited(resource.RLIMIT_FSIZE, size)


def list_files(folder):
  return {
    path.relative_to(folder): path.is_file() and path.read_bytes()
    for path in folder.rglob("*")
  }


def write_scores(path, scale=1.0):
  names = np.array([f"clip_{i}" for i in range(4)])
  labels = np.arange(4, dtype=np.int32)
  scores.write(
    path,
    scores.Scores(names, labels, np.eye(4, dtype="f4") * np.float32(scale)),
  )


def write_report(out):
  part = content.Part("Part", [content.Table("t", ["a"], [["b" * 200]])])
  page.write(out, "Title", [part])


def write_table(out):
  finished.write(out.parent / "run", ctrgcn_ucla.get_config())
  with small_files():
    results.main(["add", str(out.parent / "run"), "--csv", f"{out}.csv"])


def fuse(out):
  paths = [out.with_name(name) for name in ("a.npz", "b.npz")]
  for scale, path in enumerate(paths, 1):
    write_scores(path, scale)
  line = ["--scores", *map(str, paths), "--weights", "1", "1"]
  with small_files():
    ensemble.main([*line, "--out", str(out)])


def convert(out):
  raw = out.parent / "raw"
  synthetic.write(raw, num_classes=2, clips_per_class=1, seed=0)
  with small_files(2000):
    ntu60.main(["--raw", str(raw), "--out", str(out), "--workers", "1"])


@pytest.mark.parametrize(
  "write",
  [
    write_scores,
    write_table,
    fuse,
    trial.write_data,
    convert,
    lambda out: synthetic.write(out, num_classes=1, clips_per_class=1, seed=0),
    lambda out: files.write_json(out, {"a": "b" * 200}),
    lambda out: embeddings.write(
      out, embeddings.Embeddings(*[np.zeros((2, 30))] * 5)
    ),
  ],
  ids=[
    *("scores", "results", "ensemble", "data set", "ntu60", "synthetic"),
    *("JSON", "embeddings"),
  ],
)
def test_a_file_that_is_too_large_is_named(write, tmp_path):
  out = tmp_path / "here" / "out.npz"
  out.parent.mkdir()
  with (
    pytest.raises(errors.DiskError, match=TOO_LARGE) as caught,
    contextlib.ExitStack() as stack,
  ):
    if write not in (write_table, fuse, convert):
      stack.enter_context(small_files())
    write(out)
  assert "\n" not in str(caught.value)
  assert str(out.parent) in str(caught.value)
  assert not out.exists()
  # A conversion keeps the shards that are whole, and goes on from them.
  assert not [
    path
    for path in out.parent.rglob("*")
    if ".open-" in path.name or "incomplete-" in path.name
  ]


def test_what_was_there_stays(tmp_path):
  path = tmp_path / "scores" / "x.npz"
  write_scores(path)
  before = list_files(tmp_path)
  with pytest.raises(errors.DiskError, match="x.npz was not"), small_files():
    write_scores(path)
  assert list_files(tmp_path) == before
  with (
    pytest.raises(errors.DiskError, match="too many open files; raise"),
    limited(resource.RLIMIT_NOFILE, 0),
  ):
    write_scores(path)
  assert list_files(tmp_path) == before


def test_an_error_that_names_another_file_stays_one(tmp_path):
  with (
    pytest.raises(FileNotFoundError, match="absent"),
    files.replacing(tmp_path / "x"),
  ):
    (tmp_path / "absent").read_bytes()


@pytest.mark.parametrize("size", [10, 700, 3000])
def test_a_checkpoint_that_is_too_large(size, tmp_path, tiny, capfd):
  """The older one stays, and nothing half-written does."""
  current = test_train.init_state(tiny())
  found = checkpoint.Checkpoints(tmp_path, writable=True)
  with contextlib.closing(found) as checkpoints:
    checkpoints.save(current.replace(step=np.int32(3)), {})
    before = list_files(tmp_path)
    with (
      pytest.raises(errors.DiskError, match=f"checkpoints/5 {TOO_LARGE}"),
      small_files(size),
    ):
      checkpoints.save(current.replace(step=np.int32(5)), {})
    assert list_files(tmp_path) == before
    checkpoints.save(current.replace(step=np.int32(5)), {})
  assert capfd.readouterr().err == ""


def test_a_training_says_what_is_left(tmp_path, tiny, monkeypatch):
  """The log may not grow in the second epoch."""
  parts = tiny("gcl=false", **{"optim.num_epochs": 2})
  write = record.Recorder.write

  def write_limited(self, split, step, epoch, **values):
    with small_files(0) if step == 15 else contextlib.nullcontext():
      write(self, split, step, epoch, **values)

  with monkeypatch.context() as patch:
    patch.setattr(record.Recorder, "write", write_limited)
    with pytest.raises(errors.DiskError) as caught:
      train.run(parts, tmp_path / "run")
  assert str(caught.value) == (
    f"{tmp_path / 'run' / record.NAME} was not written: file too large; raise"
    " the limit of the size of a file: ulimit -f unlimited. The checkpoint of"
    " step 12 is kept; afterwards the same command goes on from here"
  )
  train.run(parts, tmp_path / "run")
  train.run(parts, tmp_path / "whole")
  assert trial.find_difference(tmp_path / "run", tmp_path / "whole") is None


def test_tensorboard_events_that_cannot_be_written(tmp_path):
  """A thread of tensorboardX waited for ever there."""
  recorder = record.Recorder(tmp_path, 0, 0)
  with (
    pytest.raises(errors.DiskError, match=rf"tfevents.* {TOO_LARGE}"),
    small_files(2000),
  ):
    for step in range(1, 200):
      recorder.write("train", step, 1, **{f"value_{i}": 1.0 for i in range(9)})
      (tmp_path / record.NAME).write_text("")
  with contextlib.suppress(errors.DiskError):
    recorder.close()


@pytest.mark.parametrize("is_moved", [True, False], ids=["moved", "removed"])
def test_a_workdir_that_is_taken_away(is_moved, tmp_path):
  path = tmp_path / "run"
  path.mkdir()
  recorder = record.Recorder(path, 0, 0)
  recorder.write("train", 1, 1, loss=1.0)
  recorder.flush()
  path.rename(tmp_path / "moved")
  if not is_moved:
    shutil.rmtree(tmp_path / "moved")
  with pytest.raises(errors.WorkdirError, match="was moved or removed while"):
    recorder.flush()
  with pytest.raises(errors.WorkdirError):
    recorder.close()
  assert not path.exists()


def test_a_changed_digit_of_the_log_is_noticed(tmp_path, tiny, capsys):
  recorder = record.Recorder(tmp_path, 0, 0)
  recorder.write("train", 1, 1, loss=1.25)
  found = checkpoint.Checkpoints(tmp_path, writable=True)
  current = test_train.init_state(tiny("gcl=false"))
  with contextlib.closing(found) as checkpoints:
    current = current.replace(step=np.int32(1))
    checkpoints.save(current, recorder.seal())
  recorder.write("train", 2, 1, loss=0.5)  # The checkpoint is older.
  recorder.close()
  assert len(record.read(tmp_path)) == 2
  assert capsys.readouterr().err == ""
  path = tmp_path / record.NAME
  path.write_text(path.read_text().replace("1.25", "1.75"))
  record.read(tmp_path)
  assert "metrics.jsonl is not as it was saved" in capsys.readouterr().err
  record.Recorder(tmp_path, 1, 1).close()
  assert "metrics.jsonl is not as it was saved" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("number", "text"),
  [
    (errno.ENOSPC, "x: no space left on device; free some space"),
    (errno.EROFS, "x: read-only file system; name a place"),
    (errno.EMFILE, "x: too many open files; raise the limit"),
    (errno.EACCES, "x: permission denied"),
  ],
)
def test_an_error_of_the_system_has_a_remedy(number, text):
  error = OSError(number, os.strerror(number), "x")
  assert command.describe(error).startswith(text)
  with (
    pytest.raises(errors.DiskError, match="y was not written: "),
    files.writing("y", "x"),
  ):
    raise error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_under_standard_output():
  program = (
    "from sgcl_jax import command\ncommand.run(lambda: print('x' * 9999))\n"
  )
  with open("/dev/full", "w") as full:
    done = subprocess.run(
      [sys.executable, "-c", program],
      cwd=ROOT,
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
    )
  assert done.returncode == 1
  assert done.stderr == (
    "error: standard output: no space left on device; free some space there,"
    " or name another place\n"
  )
