# SPDX-License-Identifier: Apache-2.0
"""Frames and joints that are absent, and which persons of many are kept."""

from collections.abc import Callable

import numpy as np

# What becomes of frames in which nobody is seen.
EMPTY_FRAMES = ("keep", "drop", "interpolate")


def find_empty(skeleton: np.ndarray) -> np.ndarray:
  """Returns which frames [T] of [T, M, V, C] hold nobody; absent is NaN."""
  return np.isnan(skeleton[..., 0]).all(axis=(1, 2))


def treat_empty(skeleton: np.ndarray, how: str) -> np.ndarray:
  """Treats the frames in which nobody is seen.

  Args:
    skeleton: [T, M, V, C], NaN where a joint is absent.
    how: `keep`; `drop`, which shortens the clip; or `interpolate`, linearly
      between the frames before and after, which drops them at both ends alone.

  Returns:
    [T or less, M, V, C].
  """
  empty = find_empty(skeleton)
  if how == "keep" or not empty.any():
    return skeleton
  if how == "drop":
    return skeleton[~empty]
  seen = np.flatnonzero(~empty)
  inside = slice(seen[0], seen[-1] + 1)
  empty = empty[inside]
  return _interpolate(
    skeleton[inside], lambda left, right: empty[left + 1 : right].all()
  )


def fill_gaps(skeleton: np.ndarray, longest: int) -> np.ndarray:
  """Interpolates joints that are absent for a few frames.

  Args:
    skeleton: [T, M, V, C], NaN where a joint is absent.
    longest: Frames of the longest gap that is filled. A joint that is absent at
      the start or the end of the clip stays absent there.

  Returns:
    [T, M, V, C].
  """
  return _interpolate(skeleton, lambda left, right: right - left - 1 <= longest)


def drop_unseen(skeleton: np.ndarray) -> np.ndarray:
  """Returns the persons of [T, M, V, C] who are seen in some frame."""
  return skeleton[:, np.isfinite(skeleton[..., 0]).any(axis=(0, 2))]


def keep_moving(
  skeleton: np.ndarray, num_persons: int, dimensions: int
) -> np.ndarray:
  """Keeps the persons that move most, in their order.

  Motion is the sum, over frames and joints, of the squared distance from the
  mean place of the joint. So a body that is seen in few frames counts less.

  Args:
    skeleton: [T, M, V, C], NaN where a joint is absent.
    num_persons: How many are kept.
    dimensions: How many channels are coordinates.

  Returns:
    [T, M or num_persons, V, C].
  """
  if skeleton.shape[1] <= num_persons:
    return skeleton
  place = skeleton[..., :dimensions].astype(np.float64)
  seen = np.isfinite(place)
  count = np.maximum(seen.sum(axis=0), 1)
  mean = np.where(seen, place, 0).sum(axis=0) / count
  moved = np.where(seen, place - mean, 0)
  motion = np.square(moved).sum(axis=(0, 2, 3))  # [M]
  # Whoever is never seen comes last.
  motion[~seen.any(axis=(0, 2, 3))] = -1
  kept = np.argsort(-motion, kind="stable")[:num_persons]
  return skeleton[:, np.sort(kept)]


def _interpolate(skeleton, is_filled: Callable[[int, int], bool]):
  """Fills joints between frames that have them, where `is_filled` allows it."""
  filled = skeleton.copy()
  present = np.isfinite(skeleton[..., 0])
  for m, v in np.argwhere(~present.all(axis=0)):
    frames = np.flatnonzero(present[:, m, v])
    for gap in np.flatnonzero(np.diff(frames) > 1):
      left, right = frames[gap : gap + 2]
      if is_filled(left, right):
        share = np.arange(1, right - left)[:, None] / (right - left)
        ends = skeleton[left, m, v], skeleton[right, m, v]
        filled[left + 1 : right, m, v] = (1 - share) * ends[0] + share * ends[1]
  return filled
