# SPDX-License-Identifier: Apache-2.0
"""A training run: build, restore, epochs, evaluate, save."""

import math
import os
import time
from typing import Any

import numpy as np
import tqdm
from ml_collections import ConfigDict

from sgcl_jax import (
  build,
  checkpoint,
  errors,
  evaluate,
  input_pipeline,
  metrics,
  optim,
  parallel,
)
from sgcl_jax import workdir as workdir_lib
from sgcl_jax.contrast import feasibility

# The terms of the loss: of the backbone, and of what is done with its graph.
TERMS = ("ce", "latent_prior", "latent_mean")
GRAPH_TERMS = ("instance", "semantic", "batch", "graph_ce")


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
  """Trains, or goes on training, and evaluates the last epoch.

  Args:
    config: Of `configs/`.
    workdir: Where everything is written; a run found there is resumed, and
      its result is that of an uninterrupted one.

  Returns:
    The content of `summary.json`.

  Raises:
    UserError: If the config, the data, the workdir or a checkpoint is not
      usable, or a loss is not finite.
  """
  build.resolve(config)
  build.check(config)
  workdir_lib.check_resume(config, workdir)
  clips = build.load_clips(config, "train")
  test_clips = build.load_clips(config, "test")
  steps_per_epoch = _steps_per_epoch(config, clips)
  _check_clips(config, clips, steps_per_epoch)
  optimizer = build.make_optimizer(config, steps_per_epoch)
  state = build.init_state(
    config, optimizer, num_rows=config.data.repeats * len(clips)
  )
  if config.init_from:
    state = _start_from(config, state)
  plural = "s" if config.optim.num_epochs > 1 else ""
  with workdir_lib.claim(config, workdir):
    print(
      f"{len(clips):,} clips to train, {len(test_clips):,} to test;"
      f" {config.optim.num_epochs} epoch{plural}"
      f" of {steps_per_epoch} steps on"
      f" {parallel.describe_devices()};"
      " the first step takes longer, as it is compiled",
      flush=True,
    )
    _train(config, workdir, clips, test_clips, optimizer, state)
    return evaluate.run(config, workdir)


def _train(config, workdir, clips, test_clips, optimizer, state):
  """Runs the epochs that a workdir does not have yet."""
  metadata = {
    "model": build.model_identity(config),
    "seed": config.seed,
    "data": clips.digest(),
    "classes": list(clips.class_names),
  }
  checkpoints = checkpoint.Checkpoints(workdir, writable=True)
  first_epoch = 0
  if checkpoints.latest() is not None:
    first_epoch = _check_progress(config, checkpoints.metadata(), metadata)
    state = checkpoints.restore(state, metadata["model"])
    print(f"resumed after epoch {first_epoch}")

  train_step = build.make_train_step(config, optimizer)
  evaluator = evaluate.make_evaluator(config, test_clips)
  recorder = metrics.Recorder(workdir, int(state.step))
  try:
    for epoch in range(first_epoch, config.optim.num_epochs):
      loop = _Epoch(config, epoch, _steps_per_epoch(config, clips), recorder)
      state = loop.train(train_step, state, clips)
      test = {}
      if _is_due(epoch, config):
        logits = evaluator(state.variables())
        test = evaluate.accuracy(logits, test_clips.labels)
        recorder.write("test", int(state.step), epoch + 1, **test)
      # First the record, then the checkpoint: a kill between the two repeats
      # the epoch and drops its lines.
      recorder.flush()
      checkpoints.save(state, {**metadata, "epoch": epoch + 1})
      print(loop.describe(test), flush=True)
  finally:
    recorder.close()
    checkpoints.close()


def _check_progress(config, saved, current):
  """Returns how many epochs a run has, of this data and not too many."""
  if "imported_from" in saved:
    raise errors.WorkdirError(
      "the workdir holds imported weights; train from them with"
      " --config.init_from=<it> and another --workdir"
    )
  if saved["data"] != current["data"]:
    raise errors.WorkdirError(
      f"{config.data.dir} is not the data that this run began with; use another"
      " --workdir"
    )
  if saved["epoch"] > config.optim.num_epochs:
    raise errors.WorkdirError(
      f"the run already has {saved['epoch']} epochs, more than"
      f" config.optim.num_epochs={config.optim.num_epochs}; use another"
      " --workdir, or --mode=evaluate"
    )
  return saved["epoch"]


class _Epoch:
  """The steps of one epoch, with their record and the progress bar."""

  def __init__(self, config, epoch, steps_per_epoch, recorder):
    self._config = config
    self._epoch = epoch
    self._recorder = recorder
    self._steps_per_epoch = steps_per_epoch
    self._rate = float(optim.learning_rates(config.optim)[epoch])
    self._start = time.monotonic()
    self._sums = {}
    self._last = {}
    self._num_steps = 0
    self._seconds = 0.0

  def train(self, train_step, state, clips):
    """Runs the epoch and returns the state after it."""
    config = self._config
    batches = input_pipeline.train_batches(
      clips,
      seed=config.seed,
      epoch=self._epoch,
      repeats=config.data.repeats,
      batch_size=config.batch_size,
    )
    bar = tqdm.tqdm(
      desc=self._title(),
      total=self._steps_per_epoch * config.batch_size,
      unit=" clips",
      leave=False,
      disable=None,
      dynamic_ncols=True,
    )
    pending = None
    with bar:
      for batch in batches:
        state, logged = train_step(state, batch)
        # The values of the step before: reading this one's would make the
        # device wait for the next batch.
        if pending is not None:
          self._record(pending, bar)
        pending = logged
      self._record(pending, bar)
    self._seconds = time.monotonic() - self._start
    return state

  def describe(self, test):
    """Returns the epoch in one line."""
    left = (self._config.optim.num_epochs - self._epoch - 1) * self._seconds
    rate = self._num_steps * self._config.batch_size / self._seconds
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

  def _record(self, logged, bar):
    values = {name: float(value) for name, value in logged.items()}
    self._num_steps += 1
    step = self._epoch * self._steps_per_epoch + self._num_steps
    # The terms of the loss first: what follows from them says less.
    terms = (*TERMS, *GRAPH_TERMS)
    for name, value in sorted(values.items(), key=lambda v: v[0] not in terms):
      if not math.isfinite(value):
        raise errors.TrainingError(
          f"step {step} (epoch {self._epoch + 1}): {name} is {value}; the"
          " last good checkpoint is kept. A lower config.optim.base_lr or a"
          " longer config.optim.warmup_epochs may help"
        )
      self._sums[name] = self._sums.get(name, 0.0) + value
    self._last = values
    values["learning_rate"] = self._rate
    self._recorder.write("train", step, self._epoch + 1, **values)
    bar.set_postfix_str(" ".join(self._values()), refresh=False)
    bar.update(self._config.batch_size)

  def _title(self):
    return f"epoch {self._epoch + 1}/{self._config.optim.num_epochs}"

  def _values(self):
    mean = {name: total / self._num_steps for name, total in self._sums.items()}
    parts = [f"loss {mean['loss']:.3f}"]
    if self._config.gcl:
      graph_terms = [mean[name] for name in GRAPH_TERMS if name in mean]
      parts.append(f"contrast {sum(graph_terms):.3f}")
    if "active_anchors" in mean:
      parts.append(f"active {mean['active_anchors'] * 100:.1f} %")
    return [*parts, f"accuracy {mean['accuracy'] * 100:.1f} %"]


def _steps_per_epoch(config, clips):
  return config.data.repeats * len(clips) // config.batch_size


def _is_due(epoch, config):
  last = epoch + 1 == config.optim.num_epochs
  return last or (epoch + 1) % config.eval_every_epochs == 0


def _check_clips(config, clips, steps_per_epoch):
  if not steps_per_epoch:
    raise errors.TrainingError(
      f"{len(clips)} clips repeated {config.data.repeats} times do not fill"
      f" one batch of {config.batch_size}; lower config.batch_size"
    )
  if config.gcl:
    feasibility.check(
      np.bincount(clips.labels, minlength=config.num_classes),
      clips.class_names,
      num_epochs=config.optim.num_epochs,
      repeats=config.data.repeats,
      config=config.contrast,
    )


def _start_from(config, state):
  """Replaces the initial backbone by that of another run."""
  source = checkpoint.Checkpoints(config.init_from)
  variables = source.restore_model(
    state.variables(), build.model_identity(config)
  )
  source.close()
  return state.replace(
    params={**state.params, "backbone": variables["params"]},
    batch_stats=variables["batch_stats"],
    constants=variables["constants"],
  )
