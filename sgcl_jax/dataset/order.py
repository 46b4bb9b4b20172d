# SPDX-License-Identifier: Apache-2.0
"""The order of the clips in a training, which follows from (seed, epoch)."""

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
  """The clips that a whole training draws, by class.

  Attributes:
    repeats: Passes over the clips in an epoch.
    clips: [L] training clips.
    visits: [L] how often one of these clips is in a batch.
    rows: [L] different (repeat, clip) that are in a batch.
  """

  repeats: int
  clips: np.ndarray
  visits: np.ndarray
  rows: np.ndarray


def draw_epoch(
  num_clips: int, *, seed: int, epoch: int, repeats: int, batch_size: int
) -> np.ndarray:
  """Returns the order of one epoch, repeat * num_clips + clip, by batches.

  Returns:
    [steps, batch_size]; the rest that fills no batch is dropped.
  """
  order = np.random.default_rng((seed, epoch)).permutation(repeats * num_clips)
  num_steps = len(order) // batch_size
  return order[: num_steps * batch_size].reshape(num_steps, batch_size)


def count_drawn(
  labels: np.ndarray,
  num_classes: int,
  *,
  seed: int,
  num_epochs: int,
  repeats: int,
  batch_size: int,
) -> Drawn:
  """Counts what a whole training draws of each class.

  It draws the epochs themselves: each drops other clips with its rest.

  Args:
    labels: [n] classes of the clips.
    num_classes: L.
    seed: Seed of the training.
    num_epochs: Epochs of the training.
    repeats: Passes over the clips in an epoch.
    batch_size: Clips of a batch.
  """
  times = np.zeros(repeats * len(labels), np.int64)  # Of each (repeat, clip).
  for epoch in range(num_epochs):
    drawn = draw_epoch(
      len(labels),
      seed=seed,
      epoch=epoch,
      repeats=repeats,
      batch_size=batch_size,
    )
    times[drawn] += 1  # They are distinct.

  def count(weights):
    counts = np.bincount(np.tile(labels, repeats), weights, num_classes)
    return counts.astype(np.int64)

  return Drawn(
    repeats=repeats,
    clips=np.bincount(labels, minlength=num_classes),
    visits=count(times),
    rows=count(times > 0),
  )
