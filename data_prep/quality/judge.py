# SPDX-License-Identifier: Apache-2.0
"""What is surely wrong with a data set, and what its owner should look at."""

import collections
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from data_prep.quality import measure
from sgcl_jax import skeletons
from sgcl_jax.dataset import splits

Clips = Sequence[measure.Measured]

# Factors between a clip's extent and the median. Bodies of one unit differ by
# less than the first; in pictures, those far from the camera are small.
ANOTHER_UNIT = 30.0
UNLIKE = 8.0
MOST_NAMES = 4


def find_problems(clips: Clips, class_names: Sequence[str]) -> list[str]:
  """Returns a line for each thing that is surely wrong.

  Args:
    clips: All clips of a data set.
    class_names: [L] in label order.
  """
  lines = [
    _line([c.name for c in clips if not c.finite], "not of finite numbers"),
    _line([c.name for c in clips if not c.num_bodies], "nobody in any frame"),
    _line(
      [c.name for c in clips if c.finite and c.num_bodies and not c.extent],
      "all joints at one place",
    ),
    _line(
      _find_extents(clips, ANOTHER_UNIT, np.inf),
      f"another unit: bodies over {ANOTHER_UNIT:g} times larger or smaller than"
      f" the median of {find_median(clips):.4g}",
    ),
    _line(
      [_join(c) for c in _find_copies(clips) if len({x.label for x in c}) > 1],
      "equal clips of different classes",
    ),
  ]
  if len(class_names) == 1:
    lines.append(_line(class_names, "one class: training needs two or more"))
  counts = count(clips, len(class_names))
  for train, test in find_pairs(counts):
    copies = [
      _join(copy) for copy in _find_copies(clips) if _meet(copy, train, test)
    ]
    lines.append(_line(copies, f"equal clips in {train} and {test}"))
    only = (counts[train] == 0) & (counts[test] > 0)
    names = [class_names[label] for label in np.flatnonzero(only)]
    lines.append(_line(names, f"classes of {test} without a clip in {train}"))
  return [line for line in lines if line]


def find_notices(
  clips: Clips,
  class_names: Sequence[str],
  layout: skeletons.Skeleton | None,
) -> list[str]:
  """Returns a line for each thing that may be meant so; see `find_problems`."""
  names = layout.joints if layout else None
  lines = [
    _line(
      _find_extents(clips, UNLIKE, ANOTHER_UNIT),
      f"bodies over {UNLIKE:g} times larger or smaller than the median of"
      f" {find_median(clips):.4g}",
    ),
    _line(
      [
        c.name for c in clips if c.num_bodies and 2 * c.num_empty > c.num_frames
      ],
      "nobody in more than half of the frames",
    ),
    _line([c.name for c in clips if c.num_frames == 1], "one frame long"),
    _line(
      [c.name for c in clips if c.num_frames > 1 and not c.moves],
      "the same in all frames",
    ),
    _line(
      [
        f"{names[joint] if names else joint} ({share:.0%})"
        for joint, share in enumerate(find_absent(clips))
        if share > 0.5
      ],
      "joints that are 0 in more than half of the bodies, so they are absent or"
      " the root of relative poses",
    ),
    _find_scores(clips, layout),
  ]
  counts = count(clips, len(class_names))
  for train, test in find_pairs(counts):
    only = (counts[train] > 0) & (counts[test] == 0)
    unseen = [class_names[label] for label in np.flatnonzero(only)]
    lines.append(_line(unseen, f"classes of {train} without a clip in {test}"))
  none = sum(counts.values()) == 0
  unused = [class_names[label] for label in np.flatnonzero(none)]
  lines.append(_line(unused, "classes without a clip"))
  lines.append(
    _line(
      [_join(copy) for copy in _find_copies(clips) if _is_in_one(copy)],
      "equal clips in one split",
    )
  )
  return [line for line in lines if line]


def count(clips: Clips, num_classes: int) -> dict[str, np.ndarray]:
  """Returns clips by class [L] for each split."""
  counts = {}
  for clip in clips:
    for split in splits.get_splits(clip.cell):
      counts.setdefault(split, np.zeros(num_classes, int))[clip.label] += 1
  return dict(sorted(counts.items()))


def find_pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
  """Yields the training split beside each other split of its protocol."""
  for name in names:
    train = name.rpartition("_")[0] + "_train" if "_" in name else "train"
    if name != train and train in names:
      yield train, name


def find_median(clips: Clips) -> float:
  """Returns the median extent of the clips in which there is a body."""
  return float(np.median([c.extent for c in clips if c.extent] or [0.0]))


def find_absent(clips: Clips) -> np.ndarray:
  """Returns the share [V] of bodies from which a joint is absent."""
  bodies = max(sum(clip.num_bodies for clip in clips), 1)
  return sum(clip.absent for clip in clips) / bodies


def _find_extents(clips, least, most):
  median = find_median(clips)
  found = []
  for clip in clips:
    if clip.extent:
      factor = max(clip.extent / median, median / clip.extent)
      if least < factor <= most:
        found.append(f"{clip.name} ({clip.extent:.4g})")
  return found


def _find_scores(clips, layout):
  low = min(clip.last_channel[0] for clip in clips)
  high = max(clip.last_channel[1] for clip in clips)
  if layout and layout.dimensions == 2:
    if high > 1:
      return f"scores reach {high:.4g}, not 1"
  # Minus the origin's, a score is within [-1, 1].
  elif low >= -1 and high <= 1 and find_median(clips) > 8:
    return (
      f"z is within [{low:.3g}, {high:.3g}] in bodies of size"
      f" {find_median(clips):.4g}: is it a score? Then dimensions is 2"
    )
  return None


def _find_copies(clips):
  """Returns the groups of equal clips."""
  groups = collections.defaultdict(list)
  for clip in clips:
    if clip.num_bodies:
      groups[clip.digest].append(clip)
  return [group for group in groups.values() if len(group) > 1]


def _meet(clips, train, test):
  found = {split for c in clips for split in splits.get_splits(c.cell)}
  return {train, test} <= found


def _is_in_one(clips):
  cells = [clip.cell for clip in clips]
  return len(set(cells)) < len(cells)


def _join(clips):
  return " = ".join(clip.name for clip in clips[:MOST_NAMES])


def _line(names, what):
  """Returns "what: 7 (a, b, c, d, ...)", None if there is no name."""
  if not names:
    return None
  rest = ", ..." if len(names) > MOST_NAMES else ""
  return f"{what}: {len(names):,} ({', '.join(names[:MOST_NAMES])}{rest})"
