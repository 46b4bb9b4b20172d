# SPDX-License-Identifier: Apache-2.0
"""Moves the origin of a clip to its center."""

import numpy as np

from data_prep.clips import absent
from sgcl_jax import skeletons


def center(
  skeleton: np.ndarray, layout: skeletons.Skeleton
) -> tuple[np.ndarray, bool]:
  """Moves the origin to the first person's center, in its first frame.

  If the first person never has it, the origin is the mean of all joints
  in the first frame in which somebody is seen.

  Args:
    skeleton: [T, M, V, 3], NaN where a joint is absent; not everywhere.
    layout: Has the center, and the number of channels that are coordinates.

  Returns:
    [T, M, V, 3], absent joints 0; and whether the center was found.
  """
  size = layout.dimensions
  centers = skeleton[:, 0, list(layout.center), :size]  # [T, joints, 2 or 3]
  frames = np.flatnonzero(np.isfinite(centers).all(axis=(1, 2)))
  found = len(frames) > 0
  if found:
    place = centers[frames[0]].mean(axis=0)
  else:
    first = np.flatnonzero(~absent.find_empty(skeleton))[0]
    place = np.nanmean(skeleton[first, ..., :size], axis=(0, 1))
  origin = np.zeros(skeleton.shape[-1], np.float32)
  origin[:size] = place
  return np.nan_to_num(skeleton - origin, nan=0.0), found
