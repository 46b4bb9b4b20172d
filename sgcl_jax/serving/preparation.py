# SPDX-License-Identifier: Apache-2.0
"""Prepares clips as the converters do, inside of an exported model.

The converters themselves work in NumPy (`data_prep`). A clip that is centered
already, and has its second person, stays as it is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sgcl_jax import skeletons

# NTU RGB+D: the ends of the lower spine, and the hips.
SPINE_BASE, SPINE_MIDDLE, LEFT_HIP, RIGHT_HIP = 0, 1, 12, 16


def make(
  prepared: dict[str, Any], layout: skeletons.Skeleton, transform: str
) -> Callable[[jax.Array], jax.Array]:
  """Builds the preparation of one clip.

  Args:
    prepared: Metadata of the training's data set, such as `aligned` and
      `lone_person`.
    layout: Joint layout.
    transform: Name of the transform; `ucla` moves the origin itself.

  Returns:
    f(clip [T, M, num_recorded, C]) -> [T, M, V, C]. What is absent from a clip:
    see `center`.
  """

  def prepare(clip):
    clip = derive(clip, layout)
    if transform != "ucla":
      clip = center(clip, layout)
    if prepared.get("lone_person") == "repeat":
      clip = repeat_lone(clip)
    if prepared.get("aligned"):
      clip = align(clip, as_released=prepared.get("alignment") == "released")
    return clip

  return prepare


def derive(clip: jax.Array, layout: skeletons.Skeleton) -> jax.Array:
  """Computes the joints of a layout from the recorded ones.

  Args:
    clip: [T, M, num_recorded, C], see `center`.
    layout: Joint layout.

  Returns:
    [T, M, V, C]. Without one of its joints, a mean is absent.
  """
  if not layout.recorded:
    return clip
  if layout.dimensions == 2:
    undetected = (clip[..., :2] == 0).all(axis=-1, keepdims=True)
    clip = jnp.where(undetected, jnp.nan, clip)
  means = [clip[:, :, list(part)].mean(axis=2) for part in layout.parts]
  return jnp.stack(means, axis=2)


def center(clip: jax.Array, layout: skeletons.Skeleton) -> jax.Array:
  """Moves the origin to the first person's center, in its first frame.

  If the first person never has it, the origin is the mean of all joints in the
  first frame in which somebody is seen.

  Args:
    clip: [T, M, V, C]. A joint is absent where it is NaN; in space, also where
      its person is 0 in all joints; in the plane, where x and y are 0, whatever
      the score. In a clip with negative x or y, which is centered already, the
      score must be 0 as well.
    layout: Has the center, and how many channels are coordinates.

  Returns:
    [T, M, V, C], absent joints 0.
  """
  size, joints = layout.dimensions, list(layout.center)
  known = jnp.isfinite(clip[..., :size]).all(axis=-1, keepdims=True)
  seen = known & jnp.any(clip != 0, axis=-1, keepdims=True)  # [T, M, V, 1]
  if size == 2:
    place = clip[..., :size]
    detected = jnp.any(place != 0, axis=-1, keepdims=True)
    # Pixels are not negative: this clip is centered, its center may be at 0.
    is_centered = jnp.any(place < 0)
    present = seen & (detected | is_centered)
  else:
    present = known & seen.any(axis=2, keepdims=True)
  clip = jnp.where(present, clip, 0)
  has_center = present[:, 0, joints, 0].all(axis=-1)  # [T]
  centers = clip[:, 0, joints].mean(axis=1)  # [T, C]
  count = jnp.maximum(present.sum(axis=(1, 2)), 1)
  means = clip.sum(axis=(1, 2)) / count
  origin = jnp.where(
    has_center.any(),
    _take_first(centers, has_center),
    _take_first(means, present.any(axis=(1, 2, 3))),
  )
  origin = jnp.where(jnp.arange(len(origin)) < size, origin, 0)
  return jnp.where(present, clip - origin, 0)


def repeat_lone(clip: jax.Array) -> jax.Array:
  """Puts a copy of the first person in the place of an absent second one."""
  lone = ~jnp.any(clip[:, 1:] != 0)
  return jnp.where(lone, clip[:, :1], clip)


def align(clip: jax.Array, *, as_released: bool = False) -> jax.Array:
  """Turns each person by the axes of its first frame, as `data_prep` does.

  Spine upwards, hips along the first axis: `data_prep/ntu/align.py`, in single
  precision.

  Args:
    clip: [T, M, 25, 3].
    as_released: Set a person who is absent in the clip's first frame to zero.
  """

  def turn(body):  # [T, 25, 3]
    present = jnp.any(body != 0, axis=(1, 2))
    joints = _take_first(body, present)
    spine, has_spine = _unit(joints[SPINE_MIDDLE] - joints[SPINE_BASE])
    hips = joints[LEFT_HIP] - joints[RIGHT_HIP]
    hips, has_hips = _unit(hips - (spine @ hips) * spine)
    third, _ = _unit(jnp.cross(hips, spine))
    turned = body @ jnp.stack([hips, third, spine], axis=1)
    turned = jnp.where(has_spine & has_hips, turned, body)
    return jnp.where(present[0], turned, 0) if as_released else turned

  return jax.vmap(turn, in_axes=1, out_axes=1)(clip)


def _take_first(x, chosen):
  """Returns the first row of x [T, ...] that is chosen, 0 without one."""
  # A sum instead of an index: jax2onnx converts this one.
  is_first = chosen & (jnp.cumsum(chosen) == 1)
  is_first = is_first.reshape(-1, *[1] * (x.ndim - 1))
  return jnp.where(is_first, x, 0).sum(axis=0)


def _unit(vector):
  length = jnp.sqrt(jnp.square(vector).sum())
  # A length of rounding error alone has no direction.
  found = length > 1e-6
  return vector / jnp.where(found, length, 1), found
