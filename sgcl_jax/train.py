# SPDX-License-Identifier: Apache-2.0
"""A training run: restores, trains its epochs, evaluates and saves."""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax

from sgcl_jax import errors, evaluate, experiment, state, steps
from sgcl_jax.dataset import order
from sgcl_jax.devices import hosts, parallel
from sgcl_jax.evaluation import provenance
from sgcl_jax.runs import checkpoint, history, shared, stop, workdir
from sgcl_jax.terminal import output, wording
from sgcl_jax.training import finetune, loop


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
    Stopped: After SIGTERM, SIGINT or SIGHUP; the state is saved.
  """
  source, schedule = parts.source, parts.schedule
  parallel.check_batch_size(source.batch_size, "config.batch_size")
  saved = hosts.on_first(_check_start, parts, directory)
  clips, test_clips = source.load_train(), source.load_test()
  steps_per_epoch = source.num_steps(len(clips))
  check_contrast(parts, clips.labels, clips.class_names)
  optimizer = parts.optimizer.follow(schedule, steps_per_epoch)
  start = init_state(parts, optimizer, source.repeats * len(clips))
  # Only the first step needs the other run: it may be gone on resume.
  if parts.init_from is not None and saved is None and hosts.is_first():
    start = finetune.take_backbone(
      start,
      parts.init_from,
      model=parts.model,
      clip=parts.clip,
      identity=parts.identity,
      class_names=clips.class_names,
      inputs=provenance.describe_inputs(parts),
    )
  evaluator = evaluate.make_evaluator(parts, test_clips)
  metadata = _describe(parts, clips, test_clips)
  shared.check_equal(metadata)
  if saved is not None:  # Before the workdir is changed in any way.
    _check_progress(parts, saved, metadata, clips)
  for notice in (*schedule.notices(), *source.notices(clips, test_clips)):
    output.notice(notice)
  with shared.claim(parts.record, directory), stop.listen() as flag:
    print(
      f"{wording.count(len(clips), 'clip')} to train,"
      f" {len(test_clips):,} to test;"
      f" {wording.count(schedule.num_epochs, 'epoch')} of"
      f" {wording.count(steps_per_epoch, 'step')} on"
      f" {parallel.describe_devices()};"
      " the first step takes longer, as it is compiled",
      flush=True,
    )
    with contextlib.closing(
      _open_checkpoints(parts, directory, steps_per_epoch)
    ) as checkpoints:
      current, saved = _restore(parts, checkpoints, metadata, start, clips)
      found = loop.Loop(
        parts=parts,
        directory=directory,
        checkpoints=checkpoints,
        metadata=metadata,
        clips=clips,
        evaluator=evaluator,
        train_step=make_train_step(parts, optimizer),
        flag=flag,
      ).run(current, saved)
    message = f"stopped in the last evaluation; {loop.AGAIN}"
    last = functools.partial(evaluator, between=lambda: flag.check(message))
    if found is not None:  # Of this state: the test after the last epoch.
      last = lambda variables: (found, None)
    return evaluate.finish(parts, directory, test_clips, last)


def check_contrast(
  parts: experiment.Experiment, labels: np.ndarray, class_names: Sequence[str]
) -> None:
  """Refuses clips on which some class could never become active.

  Args:
    parts: Parts of the run.
    labels: [n] classes of the clips to train on.
    class_names: [L] their names.

  Raises:
    ContrastError: Names the class and the remedy.
  """
  if parts.contrast is None:
    return
  drawn = order.count_drawn(
    labels,
    parts.source.num_classes,
    seed=parts.seed,
    num_epochs=parts.schedule.num_epochs,
    repeats=parts.source.repeats,
    batch_size=parts.source.batch_size,
  )
  parts.contrast.check_data(drawn, class_names)


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
    apply=finetune.make_apply(parts.optimizer.frozen),
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


def _check_start(parts, directory):
  """Checks what can be checked before the data are loaded.

  Returns:
    The metadata of the newest checkpoint, None without one.
  """
  workdir.check_free(directory)
  saved = checkpoint.read_metadata(directory)
  _check_trained_here(saved, directory)
  workdir.check_resume(parts.record, directory)
  if parts.init_from is not None and saved is None:
    finetune.check_origin(parts.init_from, parts.identity)
  return saved


def _describe(parts, clips, test_clips):
  """Returns the metadata of all checkpoints of the run."""
  return {
    "model": parts.identity,
    "seed": parts.seed,
    "temperature": parts.temperature,
    "config": parts.record,
    "data": clips.digest(content=True),
    "test": provenance.describe_test(parts, test_clips),
    "inputs": provenance.describe_inputs(parts),
    "prepared": clips.metadata,
    "classes": list(clips.class_names),
  }


def _open_checkpoints(parts, directory, steps_per_epoch):
  keep = parts.saving.keep_every_epochs
  return shared.Checkpoints(
    directory,
    writable=True,
    keep_every_steps=keep and keep * steps_per_epoch,
  )


def _restore(parts, checkpoints, metadata, start, clips):
  """Returns the state to go on from, and the metadata of its checkpoint."""
  if checkpoints.latest() is None:
    return parallel.broadcast(start), None
  saved = checkpoints.metadata()
  _check_progress(parts, saved, metadata, clips)
  for change in history.describe_changes(saved):
    output.notice(change)
  current = checkpoints.restore(start, parts.identity)
  done = saved.get("partial")
  step = saved["epoch"] * parts.source.num_steps(len(clips))
  step += done["steps"] if done else 0
  if int(current.step) != step:
    raise errors.CheckpointError(
      f"{checkpoints.path}: the checkpoint has {int(current.step)} steps, but"
      f" its epochs have {step}; use another --workdir"
    )
  where = f"step {done['steps']} of epoch" if done else "epoch"
  print(f"resumed after {where} {saved['epoch'] + bool(done)}", flush=True)
  if saved["epoch"] == parts.schedule.num_epochs:
    print("all epochs are trained already: the run is only evaluated")
  return current, saved


def _check_trained_here(saved, directory):
  """Refuses a workdir that holds imported weights."""
  if saved and "imported_from" in saved:
    raise errors.WorkdirError(
      f"{directory} holds imported weights; train from them with"
      f" --config.init_from={directory} and another --workdir"
    )


def _check_progress(parts, saved, metadata, clips):
  """Refuses a run on other data, or with more epochs than the schedule."""
  # The digest of older versions leaves the coordinates out.
  known = metadata["data"] if "config" in saved else clips.digest()
  if saved["data"] != known:
    raise errors.WorkdirError(
      f"{parts.source.data_dir} is not the data that this run began with; use"
      " another --workdir"
    )
  if (
    saved.get("test", metadata["test"])["digest"] != metadata["test"]["digest"]
  ):
    raise errors.WorkdirError(
      f"the test clips of {parts.source.data_dir} are not those that this run"
      " began with; use another --workdir, or --mode=evaluate for these"
    )
  num_epochs = saved["epoch"] + bool(saved.get("partial"))
  if num_epochs > parts.schedule.num_epochs:
    raise errors.WorkdirError(
      f"the run already has {wording.count(num_epochs, 'epoch')}, more than"
      f" config.optim.num_epochs={parts.schedule.num_epochs}; use another"
      " --workdir, or --mode=evaluate"
    )
