# SPDX-License-Identifier: Apache-2.0
"""The figures of one clip that show wrong units, gaps and copies."""

import hashlib
from typing import NamedTuple

import numpy as np

from sgcl_jax import skeletons


class Measured(NamedTuple):
  """The figures of one clip.

  Attributes:
    name: Name of the clip.
    label: Its class.
    cell: Cell of the data set that holds it, such as `train`.
    num_frames: T.
    num_empty: Frames in which nobody is present.
    num_bodies: Persons that are present, summed over the frames.
    absent: [V] how often a joint is absent from one of these bodies.
    extent: Size of a body: the largest of its extents along the axes, the
      median over the bodies; 0 if there is none.
    moves: Whether any frame differs from the first.
    finite: Whether all numbers are finite.
    last_channel: Smallest and largest value of the third channel.
    digest: Equal for equal skeletons.
  """

  name: str
  label: int
  cell: str
  num_frames: int
  num_empty: int
  num_bodies: int
  absent: np.ndarray
  extent: float
  moves: bool
  finite: bool
  last_channel: tuple[float, float]
  digest: bytes


def measure(
  clip: dict, cell: str, layout: skeletons.Skeleton | None
) -> Measured:
  """Measures a clip as `input_pipeline.read_clips` yields it.

  Args:
    clip: `name`, `label` and `skeleton` [T, M, V, 3], 0 where a joint is
      absent.
    cell: Cell of the clip.
    layout: Has the center and the number of channels that are coordinates.
  """
  skeleton = clip["skeleton"]
  size = layout.dimensions if layout else 3
  present = find_present(skeleton, layout)
  bodies = present.any(axis=-1)  # [T, M]
  missing = bodies[..., None] & ~present
  finite = bool(np.isfinite(skeleton).all())
  return Measured(
    name=clip["name"],
    label=clip["label"],
    cell=cell,
    num_frames=len(skeleton),
    num_empty=int((~bodies.any(axis=-1)).sum()),
    num_bodies=int(bodies.sum()),
    absent=missing.sum(axis=(0, 1)),
    extent=_measure_extent(skeleton[..., :size], present) if finite else 0.0,
    moves=bool(np.any(skeleton != skeleton[0])),
    finite=finite,
    last_channel=(float(skeleton[..., 2].min()), float(skeleton[..., 2].max())),
    digest=hashlib.blake2b(skeleton.tobytes(), digest_size=16).digest(),
  )


def find_present(
  skeleton: np.ndarray, layout: skeletons.Skeleton | None
) -> np.ndarray:
  """Returns which joints [T, M, V] of [T, M, V, 3] are there.

  An absent joint is 0 in all channels. So is the center in space, but in the
  frame that the origin was taken from it is there.
  """
  present = np.any(skeleton != 0, axis=-1)
  frames = np.flatnonzero(present[:, 0].any(axis=-1))
  if layout and layout.dimensions == 3 and len(layout.center) == 1:
    present[frames[:1], 0, layout.center[0]] = True
  return present


def _measure_extent(points, present):
  """Returns the median extent of the bodies of [T, M, V, 2 or 3]."""
  bodies = present.any(axis=-1)
  if not bodies.any():
    return 0.0
  points, where = points[bodies], present[bodies][..., None]
  low = points.min(axis=1, where=where, initial=np.inf)
  high = points.max(axis=1, where=where, initial=-np.inf)
  return float(np.median((high - low).max(axis=-1)))
