# SPDX-License-Identifier: Apache-2.0
"""The steps of one epoch, their record and what the terminal shows of them."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import tqdm

from sgcl_jax import errors, experiment, input_pipeline, state
from sgcl_jax.devices import parallel
from sgcl_jax.runs import record
from sgcl_jax.terminal import progress

# A training that learns is above chance by this share of it after a fifth of
# its epochs; with few classes, by this share of 20 %.
LEARNED = 0.5


class Epoch:
  """The steps of one epoch, with their record and the progress bar."""

  def __init__(
    self,
    parts: experiment.Experiment,
    number: int,
    num_clips: int,
    recorder: record.Recorder,
    name_kept: Callable[[], str],
    partial: dict[str, Any] | None = None,
  ):
    """Prepares an epoch.

    Args:
      parts: Parts of the run.
      number: Number of the epoch, from 0 on.
      num_clips: Number of training clips.
      recorder: Record of the run.
      name_kept: Says which checkpoint is kept if the epoch cannot go on.
      partial: What `partial` returned, to go on after these steps.
    """
    self._source = parts.source
    self._seed = parts.seed
    self._schedule = parts.schedule
    self._epoch = number
    self._recorder = recorder
    self._name_kept = name_kept
    self._remedy = parts.optimizer.remedy()
    self._steps_per_epoch = parts.source.num_steps(num_clips)
    self._rate = float(parts.schedule.rates()[number])
    self._start = time.monotonic()
    self._pending = None
    partial = partial or {"steps": 0, "seconds": 0.0, "sums": {}}
    # Steps whose values are recorded, and their sums.
    self.num_steps = self._done = partial["steps"]
    self._sums = dict(partial["sums"])
    self._seconds = partial["seconds"]
    self._contrast_terms = ()
    self._last = {}

  @property
  def is_over(self) -> bool:
    """Whether all steps are done."""
    return self._done == self._steps_per_epoch

  def partial(self) -> dict[str, Any]:
    """Returns what to save of a part of an epoch, after `settle`."""
    seconds = self._seconds + time.monotonic() - self._start
    return {"steps": self.num_steps, "seconds": seconds, "sums": self._sums}

  def train(
    self,
    train_step: Callable[..., Any],
    current: state.TrainState,
    clips: input_pipeline.Clips,
  ) -> Iterator[state.TrainState]:
    """Runs the steps that are left.

    Args:
      train_step: See `steps.make_train_step`.
      current: State before the epoch.
      clips: Training clips.

    Yields:
      The state after each step. The values of the last steps may not be
      recorded yet: `settle` does it.

    Raises:
      TrainingError: If a value of a step is not finite.
    """
    batches = input_pipeline.train_batches(
      clips,
      seed=self._seed,
      epoch=self._epoch,
      repeats=self._source.repeats,
      batch_size=self._source.batch_size,
      first=self._done,
      rows=parallel.own_rows(self._source.batch_size),
    )
    batch_size = self._source.batch_size
    self._bar = progress.bar(
      description=self._title(),
      total=self._steps_per_epoch * batch_size,
      initial=self._done * batch_size,
      unit="clips",
    )
    with self._bar:
      for batch in batches:
        current, metrics = train_step(current, batch)
        # Record the values of the step before: waiting for those of this step
        # would make the device wait for the next batch.
        self.settle()
        self._pending = metrics
        self._done += 1
        yield current
      self.settle()
    self._seconds += time.monotonic() - self._start

  def settle(self) -> None:
    """Records the values of the last step, which may have to finish first."""
    metrics, self._pending = self._pending, None
    if metrics is not None:
      self._record(metrics)

  def describe(self, test: dict[str, float]) -> str:
    """Returns a line that sums up the epoch.

    Args:
      test: Accuracy on the test clips, empty if they were not evaluated.
    """
    left = (self._schedule.num_epochs - self._epoch - 1) * self._seconds
    rate = self.num_steps * self._source.batch_size / self._seconds
    parts = [self._title(), *self._values()]
    if "positive_similarity" in self._sums:
      own, other = (
        self._sums[f"{kind}_similarity"] / self.num_steps
        for kind in ("positive", "negative")
      )
      parts.append(f"similarity {own:.2f}, others {other:.2f}")
    if "bank_fill" in self._last:
      parts.append(f"banks {self._last['bank_fill'] * 100:.0f} % full")
    if test:
      parts.append(f"test top-1 {test['top1']:.2f} %")
    parts += [f"lr {self._rate:g}", f"{rate:,.3g} clips/s"]
    return "  ".join([*parts, f"{tqdm.tqdm.format_interval(left)} left"])

  def notices(self) -> list[str]:
    """Returns a line if a fifth of the training has passed without learning.

    The epoch is at least the second one at the full rate.
    """
    schedule, number = self._schedule, self._epoch + 1
    due = max(math.ceil(schedule.num_epochs / 5), schedule.warmup_epochs + 2)
    chance = 1 / self._source.num_classes
    accuracy = self._sums["accuracy"] / self.num_steps
    if number != due or accuracy > chance + LEARNED * min(chance, 0.2):
      return []
    return [
      f"after epoch {number} of {schedule.num_epochs} the training accuracy is"
      f" {accuracy * 100:.1f} %, near chance ({chance * 100:.1f} %): the"
      f" training has collapsed. {self._remedy} may help, or another"
      " --config.seed"
    ]

  def _record(self, metrics):
    self.num_steps += 1
    step = self._epoch * self._steps_per_epoch + self.num_steps
    # The terms of the loss come first, so that the error names the cause.
    values = {name: float(x) for name, x in metrics.flatten().items()}
    for name, value in values.items():
      if not math.isfinite(value):
        raise errors.TrainingError(
          f"step {step} (epoch {self._epoch + 1}): {name} is {value};"
          f" {self._name_kept()}. {self._remedy} may help"
        )
      self._sums[name] = self._sums.get(name, 0.0) + value
    self._contrast_terms = tuple(metrics.contrast_terms)
    self._last = values
    self._recorder.write(
      "train", step, self._epoch + 1, **values, learning_rate=self._rate
    )
    self._bar.set_postfix_str(" ".join(self._values()), refresh=False)
    self._bar.update(self._source.batch_size)

  def _title(self):
    return f"epoch {self._epoch + 1}/{self._schedule.num_epochs}"

  def _values(self):
    mean = {name: total / self.num_steps for name, total in self._sums.items()}
    parts = [f"loss {mean['loss']:.3f}"]
    if self._contrast_terms:
      contrast = sum(mean[name] for name in self._contrast_terms)
      parts.append(f"contrast {contrast:.3f}")
    if "active_anchors" in mean:
      parts.append(f"active {mean['active_anchors'] * 100:.1f} %")
    return [*parts, f"accuracy {mean['accuracy'] * 100:.1f} %"]
