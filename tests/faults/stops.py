# SPDX-License-Identifier: Apache-2.0
"""Faults that end a process: kills and signals."""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable

from sgcl_jax.runs import checkpoint, workdir
from tests.faults import process
from tests.faults import trial as trials

EVERY_STEP = "--config.save_every_minutes=1e-9"
MAX_ATTEMPTS = 8


def at_random_time(
  trial: trials.Trial, hit: Callable[[process.Run], object], *more: str
) -> tuple[object, process.Ended]:
  """Starts the run and calls `hit` at a random moment of its life.

  Returns:
    What `hit` returned, and how the run ended.
  """
  for attempt in range(MAX_ATTEMPTS):
    shutil.rmtree(trial.workdir, ignore_errors=True)
    run = trial.begin(lambda: None, *more)
    delay = trial.rng.uniform(0, trial.seconds * 0.8**attempt)
    if run.wait_for(delay):
      try:
        found = hit(run)
      except trials.Unsuited:  # Nobody else would end it.
        run.hit(signal.SIGKILL)
        run.end()
        raise
      return found, run.end()
    run.end()
  raise trials.Unsuited("the run was always faster")


def draw_saving(rng: random.Random) -> tuple[str, ...]:
  """Returns options: a checkpoint each epoch, or each step."""
  return rng.choice([(), (EVERY_STEP,)])


def kill(trial: trials.Trial) -> trials.Outcome:
  """SIGKILL at a random moment."""
  _, ended = at_random_time(
    trial, lambda run: run.hit(signal.SIGKILL), *draw_saving(trial.rng)
  )
  if ended.code == 0:
    raise trials.Unsuited("the run was over")
  return trial.resume(trials.find_newest(trial.workdir))


def kill_in_save(trial: trials.Trial) -> trials.Outcome:
  """SIGKILL while a checkpoint is being saved."""
  number = trial.rng.randrange(1, 24)
  delay = trial.rng.uniform(0, 0.12)
  done = trial.root / "saved"

  def before():
    save, calls = checkpoint.Checkpoints.save, []

    def watched(self, current, metadata):
      calls.append(None)
      if len(calls) == number:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        timer.start()
      save(self, current, metadata)
      done.write_text(str(int(current.step)))

    checkpoint.Checkpoints.save = watched

  ended = trial.begin(before, EVERY_STEP).end()
  if ended.code == 0:
    raise trials.Unsuited("the run was over")
  # What `save` has returned from, and what is on the disk.
  returned = int(done.read_text() or 0) if done.exists() else 0
  newest = trials.find_newest(trial.workdir)
  if newest < returned:
    return trials.Outcome("lost", f"{newest} on the disk, {returned} saved")
  return trial.resume(newest)


def _judge_stop(trial, number, ended, is_over):
  """Judges how a run ended after a signal, and resumes it."""
  if ended.hung:
    return trials.Outcome("hung", "after a signal", ended.waited)
  if ended.code == 0:
    if is_over:
      raise trials.Unsuited("the run was over")
    return trials.Outcome("ignored", signal.Signals(number).name, ended.waited)
  if ended.code not in (128 + number, -number):
    return trials.Outcome(
      "unclear", f"{ended.code} {ended.err[-300:]}", ended.waited
    )
  if "Traceback" in ended.err:
    return trials.Outcome("unclear", ended.err[-300:], ended.waited)
  outcome = trial.resume(trials.find_newest(trial.workdir))
  outcome.waited = ended.waited
  return outcome


def stop(trial: trials.Trial) -> trials.Outcome:
  """SIGTERM, SIGINT or SIGHUP at a random moment."""
  number = trial.rng.choice(process.SIGNALS)

  def hit(run):
    is_over = (trial.workdir / workdir.SUMMARY).exists()
    run.hit(number)
    return is_over

  is_over, ended = at_random_time(trial, hit, *draw_saving(trial.rng))
  return _judge_stop(trial, number, ended, is_over)


def stop_in_compilation(trial: trials.Trial) -> trials.Outcome:
  """A signal to a new process that traces and compiles, without a cache."""
  number = trial.rng.choice(process.SIGNALS)
  arguments = process.list_arguments(trial.data, trial.workdir)
  run = process.start(arguments, JAX_ENABLE_COMPILATION_CACHE="false")
  run.wait_until(lambda: process.COMPILING in run.read()[0])
  moment = time.monotonic() + trial.rng.uniform(0, 1.5 * trial.seconds)
  if not run.wait_until(lambda: time.monotonic() >= moment):
    run.end()
    raise trials.Unsuited("the run was over")
  is_over = (trial.workdir / workdir.SUMMARY).exists()
  run.hit(number)
  return _judge_stop(trial, number, run.end(), is_over)


def stop_after(count: int) -> None:
  """Makes this process send itself SIGTERM once so many steps are saved."""
  save = checkpoint.Checkpoints.save

  def watched(self, current, metadata):
    save(self, current, metadata)
    if int(current.step) == count:
      os.kill(os.getpid(), signal.SIGTERM)

  checkpoint.Checkpoints.save = watched
