# SPDX-License-Identifier: Apache-2.0
"""The loop of a training: epochs, tests, checkpoints, and stopping."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any

from sgcl_jax import errors, evaluate, experiment, input_pipeline, state
from sgcl_jax.runs import history, saving, scores, shared, stop
from sgcl_jax.terminal import output
from sgcl_jax.training import epoch

AGAIN = "the same command goes on from here"


@dataclasses.dataclass
class Loop:
  """What the loop needs besides the state.

  Attributes:
    parts: Parts of the run.
    directory: Its workdir.
    checkpoints: Its checkpoints.
    metadata: Metadata of all its checkpoints.
    clips: Training clips.
    evaluator: See `evaluate.make_evaluator`.
    train_step: See `steps.make_train_step`.
    flag: Set by a signal to stop.
  """

  parts: experiment.Experiment
  directory: str | os.PathLike
  checkpoints: shared.Checkpoints
  metadata: dict[str, Any]
  clips: input_pipeline.Clips
  evaluator: evaluate.Evaluator
  train_step: Callable[..., Any]
  flag: stop.Flag

  def run(
    self, current: state.TrainState, saved: dict[str, Any] | None
  ) -> scores.Scores | None:
    """Trains the epochs that the run does not have yet.

    Args:
      current: State to go on from.
      saved: Metadata of the checkpoint of this state, None at the beginning.

    Returns:
      The scores of the test clips after the last epoch, None if the run had
      them all.

    Raises:
      TrainingError: If a value of a step is not finite.
      DiskError: If a file could not be written; names it, and what is left.
      WorkdirError: If the workdir was moved or removed.
      Stopped: If a signal asked for it, after the state was saved.
    """
    try:
      return self._run(current, saved)
    except errors.DiskError as error:
      raise errors.DiskError(
        f"{error}. {self._name_kept().capitalize()}; afterwards {AGAIN}"
      ) from error

  def _run(self, current, saved):
    self._past = history.follow(saved)
    self._clock = saving.Clock(self.parts.saving)
    saved = saved or {"epoch": 0}
    first, is_untested = saved["epoch"], saved.get("untested", False)
    self._recorder = shared.open_record(
      self.directory, int(current.step), first - is_untested
    )
    with contextlib.closing(self._recorder):
      self.flag.check(f"stopped before a step; {AGAIN}")
      found = self._test(current, first - 1) if is_untested else None
      partial = saved.get("partial")
      for number in range(first, self.parts.schedule.num_epochs):
        current, found = self._train(current, number, partial)
        partial = None
    return found

  def _train(self, current, number, partial):
    """Trains one epoch, or the rest of it.

    Returns:
      The state after it, and the scores if it is evaluated.
    """
    progress = epoch.Epoch(
      self.parts,
      number,
      len(self.clips),
      self._recorder,
      self._name_kept,
      partial,
    )
    states = progress.train(self.train_step, current, self.clips)
    for current in states:
      is_asked, is_due = self.flag.poll(self._clock.is_due())
      if progress.is_over or not (is_asked or is_due):
        continue
      progress.settle()
      self._save(current, epoch=number, partial=progress.partial())
      if is_asked:
        done = f"step {progress.num_steps} of epoch {number + 1}"
        self.flag.end(f"saved after {done}; {AGAIN}")
    found = self._test(current, number)
    self._save(current, epoch=number + 1)
    print(progress.describe(found.accuracy() if found else {}), flush=True)
    for notice in progress.notices():
      output.notice(notice)
    self.flag.check(f"saved after epoch {number + 1}; {AGAIN}")
    return current, found

  def _test(self, current, number):
    """Evaluates the test clips after an epoch, if it is due."""
    if not self.parts.schedule.is_evaluated(number):
      return None
    try:
      found, _ = self.evaluator(current.variables(), self.flag.interrupt)
    except stop.Stopped:
      if self.checkpoints.latest() != int(current.step):
        self._save(current, epoch=number + 1, untested=True)
      self.flag.end(f"saved after the last step of epoch {number + 1}; {AGAIN}")
    self._recorder.write(
      "test", int(current.step), number + 1, **found.accuracy()
    )
    return found

  def _name_kept(self):
    step = self.checkpoints.latest()
    if step is None or not (self.checkpoints.path / str(step)).is_dir():
      return "no checkpoint was saved before it"
    return f"the checkpoint of step {step} is kept"

  def _save(self, current, **fields):
    # The record is written before the checkpoint: after a kill between the two,
    # the next run drops these lines and repeats the steps.
    log = self._recorder.seal()
    self.checkpoints.save(
      current, {**self.metadata, **self._past(), **log, **fields}
    )
    self._clock.reset()
