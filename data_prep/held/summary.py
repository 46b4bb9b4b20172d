# SPDX-License-Identifier: Apache-2.0
"""What a conversion found, for the terminal."""

import collections
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep import tfrecord, training
from data_prep.ntu import raw_set
from sgcl_jax.dataset import splits
from sgcl_jax.terminal import wording


class Tally:
  """Counts clips on their way to the data set.

  Attributes:
    lengths: Frames of each clip.
    labels: Clips by class.
    splits: Of each split, its clips by class.
  """

  def __init__(self):
    self.lengths = []
    self.labels = collections.Counter()
    self.splits = collections.defaultdict(collections.Counter)

  def count(
    self, pairs: Iterator[tuple[str, tfrecord.Clip]]
  ) -> Iterator[tuple[str, tfrecord.Clip]]:
    """Yields the pairs of cell and clip, and counts them."""
    for cell, clip in pairs:
      self.lengths.append(len(clip.skeleton))
      self.labels[clip.label] += 1
      for split in splits.get_splits(cell):
        self.splits[split][clip.label] += 1
      yield cell, clip


def show(
  tally: Tally,
  out: pathlib.Path,
  config: str,
  class_names: Sequence[str],
  *,
  notices: list[str],
  wanted: raw_set.RawSet | None,
) -> None:
  """Prints the summary and the command that trains.

  Args:
    tally: The clips that were written.
    out: Directory of the data set.
    config: Name of a config, with its options.
    class_names: [L].
    notices: What is unusual, a line for each.
    wanted: The complete set, if the clips are of one.
  """
  labels, lengths = tally.labels, tally.lengths
  print(f"clips   {len(lengths):,} of {wording.count(len(labels), 'class')}")
  counts = {split: found.total() for split, found in tally.splits.items()}
  for split, count in sorted(counts.items()):
    print(f"        {split:11} {count:6,}")
  print(f"        {min(labels.values()):,} to {max(labels.values()):,} a class")
  print(
    f"frames  {min(lengths)} shortest, {np.median(lengths):g} median,"
    f" {max(lengths)} longest"
  )
  for notice in notices:
    print(f"notice  {notice}")
  for split, count in sorted(counts.items()):
    official = wanted.totals.get(split) if wanted else None
    if official not in (None, count):
      print(
        f"notice  the official {split} has {official:,} clips; figures will"
        " not compare with others'"
      )
  print(f"wrote   {out}")
  if len(class_names) == 1:
    print(f"problem {training.ONE_CLASS.format(*class_names)}")
    return
  # Sets of your own must not share a workdir.
  workdir = f"runs/{out.name}" if "custom" in config else None
  line = training.make_command(config, out, tally.splits, workdir)
  print(f"next    {line}")
