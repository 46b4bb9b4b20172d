# SPDX-License-Identifier: Apache-2.0
"""A training run: restores, trains its epochs, evaluates and saves."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import optax
import tqdm

from sgcl_jax import (
  errors,
  evaluate,
  experiment,
  input_pipeline,
  state,
  steps,
)
from sgcl_jax.devices import parallel
from sgcl_jax.runs import checkpoint, history, record, workdir


def run(
  parts: experiment.Experiment, directory: str | os.PathLike
) -> dict[str, Any]:
  """Trains, or goes on training, and evaluates the last epoch.

  Args:
    parts: Parts of the run.
    directory: Workdir of the run, which holds all that it writes. A run that is
      already there is resumed; the result is the same as without interruption.

  Returns:
    The content of `summary.json`.

  Raises:
    UserError: If the data, the workdir or a checkpoint is not usable, or if a
      loss is not finite.
  """
  source, schedule = parts.source, parts.schedule
  parallel.check_batch_size(source.batch_size, "config.batch_size")
  saved = checkpoint.read_metadata(directory)
  _check_trained_here(saved, directory)
  workdir.check_resume(parts.record, directory)
  clips, test_clips = source.load_train(), source.load_test()
  steps_per_epoch = source.num_steps(len(clips))
  if parts.contrast is not None:
    drawn = input_pipeline.count_drawn(
      clips.labels,
      source.num_classes,
      seed=parts.seed,
      num_epochs=schedule.num_epochs,
      repeats=source.repeats,
      batch_size=source.batch_size,
    )
    parts.contrast.check_data(drawn, clips.class_names)
  optimizer = parts.optimizer.follow(schedule, steps_per_epoch)
  start = init_state(parts, optimizer, source.repeats * len(clips))
  # Only the first step needs the other run: it may be gone on resume.
  if parts.init_from is not None and saved is None:
    start = _take_backbone(parts, start)
  evaluator = evaluate.make_evaluator(parts, test_clips)
  for notice in schedule.notices():
    print(f"notice: {notice}", file=sys.stderr, flush=True)
  plural = "s" if schedule.num_epochs > 1 else ""
  with workdir.claim(parts.record, directory):
    print(
      f"{len(clips):,} clips to train, {len(test_clips):,} to test;"
      f" {schedule.num_epochs} epoch{plural} of {steps_per_epoch} steps on"
      f" {parallel.describe_devices()};"
      " the first step takes longer, as it is compiled",
      flush=True,
    )
    with contextlib.closing(
      checkpoint.Checkpoints(directory, writable=True)
    ) as checkpoints:
      _train(parts, directory, checkpoints, clips, evaluator, optimizer, start)
    return evaluate.finish(parts, directory, test_clips, evaluator)


def make_train_step(
  parts: experiment.Experiment, optimizer: optax.GradientTransformation
) -> Callable[..., Any]:
  """Builds the training step, mapped over the devices."""
  step = steps.make_train_step(
    seed=parts.seed,
    model=parts.model,
    transform=parts.transform,
    weights=parts.weights,
    contrast=parts.contrast,
    optimizer=optimizer,
  )
  return parallel.map_train_step(step)


def init_state(
  parts: experiment.Experiment,
  optimizer: optax.GradientTransformation,
  num_rows: int,
) -> state.TrainState:
  """Draws the initial state.

  Args:
    parts: Parts of the run.
    optimizer: Optimizer of the training.
    num_rows: Clips of an epoch, repeats included.
  """
  with parallel.on_host():
    return state.init(
      parts.model,
      parts.contrast,
      optimizer,
      clip=parts.clip,
      seed=parts.seed,
      num_rows=num_rows,
    )


def _take_backbone(parts, start):
  """Replaces the initial backbone by the one of the run `init_from`."""
  with contextlib.closing(checkpoint.Checkpoints(parts.init_from)) as origin:
    try:
      variables = origin.restore_model(start.variables(), parts.identity)
    except errors.CheckpointError as error:
      raise errors.CheckpointError(f"config.init_from: {error}") from error
  params = {**start.params, "backbone": variables.pop("params")}
  return start.replace(params=params, **variables)


def _train(parts, directory, checkpoints, clips, evaluator, optimizer, current):
  """Runs the epochs that the workdir does not have yet."""
  metadata = {
    "model": parts.identity,
    "seed": parts.seed,
    "data": clips.digest(),
    "classes": list(clips.class_names),
    "prepared": clips.metadata,
  }
  first_epoch, saved = 0, None
  if checkpoints.latest() is not None:
    saved = checkpoints.metadata()
    _check_progress(parts, saved, metadata)
    first_epoch = saved["epoch"]
    current = checkpoints.restore(current, parts.identity)
    print(f"resumed after epoch {first_epoch}")

  describe_past = history.follow(saved)
  train_step = make_train_step(parts, optimizer)
  recorder = record.Recorder(directory, int(current.step))
  with contextlib.closing(recorder):
    for epoch in range(first_epoch, parts.schedule.num_epochs):
      progress = _Epoch(parts, epoch, len(clips), recorder)
      current = progress.train(train_step, current, clips)
      test = {}
      if parts.schedule.is_evaluated(epoch):
        found, _ = evaluator(current.variables())
        test = found.accuracy()
        recorder.write("test", int(current.step), epoch + 1, **test)
      # The record is written before the checkpoint: after a kill between the
      # two, the next run drops these lines and repeats the epoch.
      recorder.flush()
      past = {**describe_past(), "epoch": epoch + 1}
      checkpoints.save(current, {**metadata, **past})
      print(progress.describe(test), flush=True)


def _check_trained_here(saved, directory):
  """Refuses a workdir that holds imported weights."""
  if saved and "imported_from" in saved:
    raise errors.WorkdirError(
      f"{directory} holds imported weights; train from them with"
      f" --config.init_from={directory} and another --workdir"
    )


def _check_progress(parts, saved, metadata):
  """Refuses a run on other data, or with more epochs than the schedule."""
  if saved["data"] != metadata["data"]:
    raise errors.WorkdirError(
      f"{parts.source.data_dir} is not the data that this run began with; use"
      " another --workdir"
    )
  if saved["epoch"] > parts.schedule.num_epochs:
    raise errors.WorkdirError(
      f"the run already has {saved['epoch']} epochs, more than"
      f" config.optim.num_epochs={parts.schedule.num_epochs}; use another"
      " --workdir, or --mode=evaluate"
    )


class _Epoch:
  """The steps of one epoch, with their record and the progress bar."""

  def __init__(self, parts, epoch, num_clips, recorder):
    self._source = parts.source
    self._seed = parts.seed
    self._schedule = parts.schedule
    self._epoch = epoch
    self._recorder = recorder
    self._steps_per_epoch = parts.source.num_steps(num_clips)
    self._rate = float(parts.schedule.rates()[epoch])
    self._start = time.monotonic()
    self._sums = {}
    self._contrast_terms = ()
    self._last = {}
    self._num_steps = 0
    self._seconds = 0.0

  def train(self, train_step, current, clips):
    """Runs the epoch and returns the state after it."""
    batches = input_pipeline.train_batches(
      clips,
      seed=self._seed,
      epoch=self._epoch,
      repeats=self._source.repeats,
      batch_size=self._source.batch_size,
    )
    bar = tqdm.tqdm(
      desc=self._title(),
      total=self._steps_per_epoch * self._source.batch_size,
      unit=" clips",
      leave=False,
      disable=None,
      dynamic_ncols=True,
    )
    pending = None
    with bar:
      for batch in batches:
        current, metrics = train_step(current, batch)
        # Read the values of the step before: reading those of this step would
        # make the device wait for the next batch.
        if pending is not None:
          self._record(pending, bar)
        pending = metrics
      self._record(pending, bar)
    self._seconds = time.monotonic() - self._start
    return current

  def describe(self, test):
    """Returns a line that sums up the epoch."""
    left = (self._schedule.num_epochs - self._epoch - 1) * self._seconds
    rate = self._num_steps * self._source.batch_size / self._seconds
    parts = [self._title(), *self._values()]
    if "positive_similarity" in self._sums:
      own, other = (
        self._sums[f"{kind}_similarity"] / self._num_steps
        for kind in ("positive", "negative")
      )
      parts.append(f"similarity {own:.2f}, others {other:.2f}")
    if "bank_fill" in self._last:
      parts.append(f"banks {self._last['bank_fill'] * 100:.0f} % full")
    if test:
      parts.append(f"test top-1 {test['top1']:.2f} %")
    parts += [f"lr {self._rate:g}", f"{rate:,.3g} clips/s"]
    return "  ".join([*parts, f"{tqdm.tqdm.format_interval(left)} left"])

  def _record(self, metrics, bar):
    self._num_steps += 1
    step = self._epoch * self._steps_per_epoch + self._num_steps
    # The terms of the loss come first, so that the error names the cause.
    values = {name: float(x) for name, x in metrics.flatten().items()}
    for name, value in values.items():
      if not math.isfinite(value):
        raise errors.TrainingError(
          f"step {step} (epoch {self._epoch + 1}): {name} is {value}; the"
          " last good checkpoint is kept. A lower config.optim.base_lr or a"
          " longer config.optim.warmup_epochs may help"
        )
      self._sums[name] = self._sums.get(name, 0.0) + value
    self._contrast_terms = tuple(metrics.contrast_terms)
    self._last = values
    self._recorder.write(
      "train", step, self._epoch + 1, **values, learning_rate=self._rate
    )
    bar.set_postfix_str(" ".join(self._values()), refresh=False)
    bar.update(self._source.batch_size)

  def _title(self):
    return f"epoch {self._epoch + 1}/{self._schedule.num_epochs}"

  def _values(self):
    mean = {name: total / self._num_steps for name, total in self._sums.items()}
    parts = [f"loss {mean['loss']:.3f}"]
    if self._contrast_terms:
      contrast = sum(mean[name] for name in self._contrast_terms)
      parts.append(f"contrast {contrast:.3f}")
    if "active_anchors" in mean:
      parts.append(f"active {mean['active_anchors'] * 100:.1f} %")
    return [*parts, f"accuracy {mean['accuracy'] * 100:.1f} %"]
