# SPDX-License-Identifier: Apache-2.0
"""Signals at every point of a run: it saves, ends, and goes on bit for bit."""

import contextlib
import dataclasses
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sgcl_jax import evaluate, input_pipeline, train
from sgcl_jax.runs import checkpoint, record, saving, stop
from tests import test_train
from tests.conftest import ROOT

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
FIELDS = {"optim.num_epochs": 2, "eval_batch_size": 4}


def send(number):
  os.kill(os.getpid(), number)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny):
  """Returns the workdir of a whole run; `printed` in it is what it printed."""
  path = tmp_path_factory.mktemp("uninterrupted") / "run"
  with contextlib.redirect_stdout(io.StringIO()) as text:
    train.run(tiny(**FIELDS), path)
  (path / "printed").write_text(text.getvalue())
  return path


@pytest.fixture
def before_step(monkeypatch):
  """Returns a function that calls another before a step of the next run."""

  def patch(count, function):
    make, calls = train.make_train_step, []

    def make_watched(*args):
      step = make(*args)

      def run(*args):
        calls.append(None)
        if len(calls) == count:
          function()
        return step(*args)

      return run

    monkeypatch.setattr(train, "make_train_step", make_watched)
    return lambda: monkeypatch.setattr(train, "make_train_step", make)

  return patch


def assert_stops(parts, workdir, number):
  before = [signal.getsignal(number) for number in SIGNALS]
  with pytest.raises(stop.Stopped) as caught:
    train.run(parts, workdir)
  assert caught.value.code == 128 + number
  assert before == [signal.getsignal(number) for number in SIGNALS]


def assert_equals(workdir, uninterrupted):
  assert record.read(workdir) == record.read(uninterrupted)
  test_train.assert_same_state(
    test_train.read_state(workdir), test_train.read_state(uninterrupted)
  )
  ours, theirs = map(test_train.read_scores, (workdir, uninterrupted))
  assert (ours["logits"] == theirs["logits"]).all()
  metadata = checkpoint.read_metadata(workdir)
  assert metadata["epoch"] == 2 and "partial" not in metadata


def get_lines(text):
  """Returns the lines of the epochs up to what depends on time."""
  lines = [line for line in text.splitlines() if line.startswith("epoch ")]
  return [line.split("  lr ")[0] for line in lines]


# Numbers of steps; the 12th is the last of its epoch.
@pytest.mark.parametrize(
  ("steps", "number"),
  [
    ((5, 3), signal.SIGTERM),
    ((12,), signal.SIGINT),
    pytest.param((1, 20), signal.SIGHUP, marks=pytest.mark.slow),
  ],
)
def test_a_signal_at_a_step(
  steps, number, uninterrupted, tmp_path, tiny, before_step, capsys
):
  """Stops after that step of each start, and resumes there."""
  done = 0
  for count in steps:
    undo = before_step(count, lambda: send(number))
    assert_stops(tiny(**FIELDS), tmp_path / "run", number)
    undo()
    done += count
    epoch, step = (done - 1) // 12, (done - 1) % 12 + 1
    where = f"step {step}" if step < 12 else "the last step"
    assert (
      f"saved after {where} of epoch {epoch + 1}; the same command goes on from"
      " here" in capsys.readouterr().err
    )
    assert len(record.read(tmp_path / "run")) == done + epoch
  train.run(tiny(**FIELDS), tmp_path / "run")
  text = capsys.readouterr().out
  where = f"step {step} of epoch" if step < 12 else "epoch"
  assert f"resumed after {where} {epoch + 1}\n" in text
  # The means of an epoch count the steps before the stop as well.
  lines = get_lines(text)
  expected = get_lines((uninterrupted / "printed").read_text())
  assert lines == expected[-len(lines) :]
  assert_equals(tmp_path / "run", uninterrupted)


def test_a_signal_while_python_collects_garbage_in_tracing(
  uninterrupted, tmp_path, tiny, capsys
):
  """A handler that raises there is ignored, and the run goes on."""
  parts, sent = tiny(**FIELDS), []

  def collected(*_):
    if not sent:
      sent.append(None)
      send(signal.SIGHUP)

  def transform(skeleton, num_frames, keys):
    if keys is not None:  # The training step is traced.
      gc.callbacks.append(collected)
      gc.collect()
      gc.callbacks.remove(collected)
    return parts.transform(skeleton, num_frames, keys)

  signalled = dataclasses.replace(parts, transform=transform)
  assert_stops(signalled, tmp_path / "run", signal.SIGHUP)
  assert "saved after step 1 of epoch 1" in capsys.readouterr().err
  train.run(parts, tmp_path / "run")
  assert_equals(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
  "count",
  [1, pytest.param(6, marks=pytest.mark.slow)],
  ids=["first epoch", "last epoch"],
)
def test_a_signal_in_an_evaluation(
  count, uninterrupted, tmp_path, tiny, monkeypatch, capsys
):
  """The evaluation is broken off and done again; 13 clips make 4 batches."""
  with monkeypatch.context() as patch:
    signal_at_batch(patch, count)
    assert_stops(tiny(**FIELDS), tmp_path / "run", signal.SIGTERM)
  text = capsys.readouterr().err
  assert f"saved after the last step of epoch {1 + count // 4}" in text
  train.run(tiny(**FIELDS), tmp_path / "run")
  assert_equals(tmp_path / "run", uninterrupted)


def test_a_signal_in_the_evaluation_of_a_finished_training(
  uninterrupted, tmp_path, tiny, monkeypatch, capsys
):
  run = shutil.copytree(uninterrupted, tmp_path / "run")
  shutil.rmtree(run / "scores")
  with monkeypatch.context() as patch:
    calls = signal_at_batch(patch, 2)
    assert_stops(tiny(**FIELDS), run, signal.SIGTERM)
  assert len(calls) == 2
  assert "stopped in the last evaluation" in capsys.readouterr().err
  assert not (run / "scores").exists()
  train.run(tiny(**FIELDS), run)
  assert_equals(run, uninterrupted)


def test_each_state_is_evaluated_once(tmp_path, tiny, monkeypatch):
  """The scores are those of the test after the last epoch."""
  calls = signal_at_batch(monkeypatch, None)
  train.run(tiny(**FIELDS), tmp_path / "run")
  assert len(calls) == 2 * 4  # Two epochs.
  written = test_train.read_scores(tmp_path / "run")["logits"]
  evaluate.run(tiny(**FIELDS), tmp_path / "run")  # From the checkpoint.
  assert len(calls) == 3 * 4
  again = test_train.read_scores(tmp_path / "run")["logits"]
  assert (written == again).all()


def signal_at_batch(patch, count):
  """Sends SIGTERM at a batch of the evaluations; returns a list of batches."""
  batches, calls = input_pipeline.eval_batches, []

  def watched(*args):
    for rows, batch in batches(*args):
      calls.append(None)
      if len(calls) == count:
        send(signal.SIGTERM)
      yield rows, batch

  patch.setattr(input_pipeline, "eval_batches", watched)
  return calls


def test_a_checkpoint_is_due_by_the_clock(
  uninterrupted, tmp_path, tiny, before_step
):
  """A crash at step 4 loses the step alone, not the epoch."""

  def crash():
    raise RuntimeError("crash")

  undo = before_step(4, crash)
  with pytest.raises(RuntimeError, match="crash"):
    train.run(tiny(**FIELDS, save_every_minutes=1e-9), tmp_path / "run")
  undo()
  metadata = checkpoint.read_metadata(tmp_path / "run")
  assert (metadata["epoch"], metadata["partial"]["steps"]) == (0, 3)
  train.run(tiny(**FIELDS), tmp_path / "run")
  assert_equals(tmp_path / "run", uninterrupted)


def test_the_clock(monkeypatch):
  now = 0.0
  monkeypatch.setattr(time, "monotonic", lambda: now)
  clock = saving.Clock(saving.Saving(every_minutes=10.0))
  never = saving.Clock(saving.Saving(every_minutes=None))
  now = 599.0
  assert not clock.is_due()
  now = 600.0
  assert clock.is_due() and not never.is_due()
  clock.reset()
  assert not clock.is_due()


def test_checkpoints_of_every_nth_epoch_are_kept(tmp_path, tiny):
  current = test_train.init_state(tiny("gcl=false"))
  found = checkpoint.Checkpoints(tmp_path, writable=True, keep_every_steps=3)
  with contextlib.closing(found) as checkpoints:
    for step in range(1, 6):
      checkpoints.save(current.replace(step=np.int32(step)), {})
  assert {path.name for path in found.path.iterdir()} == {"3", "4", "5"}


def test_a_second_signal_ends_at_once():
  program = (
    "import signal\n"
    "from sgcl_jax.runs import stop\n"
    "stop.SAME_SECONDS = 0\n"
    "with stop.listen() as flag:\n"
    "  signal.raise_signal(signal.SIGTERM)\n"
    "  print(flag.number, flush=True)\n"
    "  signal.raise_signal(signal.SIGTERM)\n"
    "  print('alive')\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == -signal.SIGTERM
  assert done.stdout == "15\n"
  assert "SIGTERM: stops after this step" in done.stderr


def test_the_same_signal_twice_within_a_second_is_one(capfd):
  with pytest.raises(stop.Stopped) as caught, stop.listen() as flag:
    send(signal.SIGTERM)
    send(signal.SIGTERM)
    assert flag.number == signal.SIGTERM
  assert caught.value.code == 143
  assert capfd.readouterr().err.count("SIGTERM: stops") == 1


def test_an_ignored_signal_stays_ignored():
  """As SIGHUP under nohup."""
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with stop.listen() as flag:
      send(signal.SIGHUP)
    assert flag.number is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGHUP, before)


def test_other_threads_have_no_handlers():
  found = []

  def listen():
    with stop.listen() as flag:
      found.append(flag.number)

  thread = threading.Thread(target=listen)
  thread.start()
  thread.join()
  assert found == [None]
