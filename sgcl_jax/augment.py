# SPDX-License-Identifier: Apache-2.0
"""Turns whole clips into network inputs: crop, resize, rotate, modality.

Pure functions of one clip, mapped over the batch inside the jitted step. Each
transform has two parts: one draws its random numbers, one applies them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sgcl_jax import errors, modalities, skeletons

# Longest clip for which the test frames of UCLA are the reference's.
MAX_ROUNDED = 4096


class NtuDraw(NamedTuple):
  """A crop and a rotation.

  Attributes:
    start: [] first frame of the crop.
    length: [] number of frames.
    angles: [3] about x, y and z, radians.
  """

  start: jax.Array
  length: jax.Array
  angles: jax.Array


class UclaDraw(NamedTuple):
  """Frame numbers and a rotation.

  Attributes:
    frames: [window] ascending, repetitions allowed.
    angles: [3] about x, y and z, radians.
  """

  frames: jax.Array
  angles: jax.Array


def count_frames(skeleton: jax.Array) -> jax.Array:
  """Counts the frames of [T, M, V, C] that are not all zero, at least 1."""
  return jnp.maximum(jnp.any(skeleton != 0, axis=(1, 2, 3)).sum(), 1)


def draw_ntu(
  key: jax.Array, num_frames: jax.Array, *, min_length: int, max_angle: float
) -> NtuDraw:
  """Draws a crop of half the clip or more, and a rotation.

  Args:
    key: PRNG key.
    num_frames: [] frames of the clip.
    min_length: Shortest crop in frames; a shorter clip is taken whole.
    max_angle: Largest angle about each axis, radians.
  """
  keys = jax.random.split(key, 3)
  share = jax.random.uniform(keys[0], minval=0.5, maxval=1.0)
  length = jnp.floor(num_frames * share).astype(jnp.int32)
  length = jnp.minimum(jnp.maximum(length, min_length), num_frames)
  start = jax.random.randint(keys[1], (), 0, num_frames - length + 1)
  angles = jax.random.uniform(
    keys[2], (3,), minval=-max_angle, maxval=max_angle
  )
  return NtuDraw(start, length, angles)


def center_ntu(num_frames: jax.Array) -> NtuDraw:
  """Returns the test crop: the middle 95 %, without rotation.

  Args:
    num_frames: [] frames of the clip.
  """
  # 5 % are a fortieth at each end. As a float32 product, it may fall on the
  # wrong side of a whole number.
  margin = num_frames // 40
  return NtuDraw(margin, num_frames - 2 * margin, jnp.zeros(3))


def apply_ntu(skeleton: jax.Array, draw: NtuDraw, window: int) -> jax.Array:
  """Crops, resizes to `window` frames by linear interpolation, and rotates.

  Frames are sampled at half-pixel centres. As in the reference, the crop takes
  the `length` frames from `start` on, with any all-zero frames among them.

  Args:
    skeleton: [T, M, V, 3].
    draw: Returned by `draw_ntu` or `center_ntu`.
    window: Frames of the result.

  Returns:
    [window, M, V, 3].
  """
  scale = draw.length.astype(skeleton.dtype) / window
  place = jnp.maximum((jnp.arange(window) + 0.5) * scale - 0.5, 0.0)
  left = place.astype(jnp.int32)
  right = jnp.minimum(left + 1, draw.length - 1)
  weight = (place - left).astype(skeleton.dtype)[:, None, None, None]
  first = skeleton[draw.start + left]
  clip = first + weight * (skeleton[draw.start + right] - first)
  return clip @ rotation_matrix(draw.angles).T.astype(skeleton.dtype)


def draw_ucla(
  key: jax.Array, num_frames: jax.Array, *, window: int, max_degrees: int
) -> UclaDraw:
  """Draws `window` frames in order, and whole degrees about x and y.

  Args:
    key: PRNG key.
    num_frames: [] frames of the clip.
    window: Frames to draw.
    max_degrees: Largest angle about x and y.
  """
  frame_key, angle_key = jax.random.split(key)
  frames = jnp.sort(jax.random.randint(frame_key, (window,), 0, num_frames))
  degrees = jax.random.randint(angle_key, (3,), -max_degrees, max_degrees + 1)
  return UclaDraw(frames, jnp.deg2rad(degrees.at[2].set(0)))


def spread_ucla(num_frames: jax.Array, *, window: int) -> UclaDraw:
  """Returns the test draw: `window` evenly spread frames, without rotation.

  Args:
    num_frames: [] frames of the clip. Up to `MAX_ROUNDED` the frames are the
      reference's; in longer clips some may be the next one.
    window: Frames to take.
  """
  places = np.arange(window)
  frames = places * (num_frames - 1) // (window - 1)
  # The reference computes in double precision: some whole quotients end below
  # themselves, and it takes the frame before.
  lengths, below = _find_below(window)
  early = (lengths == num_frames)[:, None] & (below[:, None] == places)
  return UclaDraw(frames - early.any(axis=0), jnp.zeros(3))


@functools.lru_cache
def _find_below(window):
  """Returns the lengths and places whose quotient ends below itself."""
  last = np.arange(1, MAX_ROUNDED)  # Frame; without 0, which linspace treats
  spread = np.linspace(0, last, window, axis=-1).astype(np.int64)  # otherwise.
  exact = np.arange(window) * last[:, None] // (window - 1)
  rows, places = np.nonzero(spread != exact)
  return last[rows] + 1, places


def apply_ucla(
  skeleton: jax.Array,
  num_frames: jax.Array,
  draw: UclaDraw,
  center: Sequence[int],
) -> jax.Array:
  """Rotates, scales every axis of the clip to [-1, 1], and takes frames.

  The reference also scales at random before. That has no effect on the result,
  so it is left out.

  Args:
    skeleton: [T, M, V, 3]; frames from `num_frames` on are padding.
    num_frames: [] frames of the clip.
    draw: Returned by `draw_ucla` or `spread_ucla`.
    center: Joints whose mean is the origin of the rotation.

  Returns:
    [window, M, V, 3].
  """
  clip = skeleton - skeleton[0, 0, np.array(center)].mean(axis=0)
  # Here the reference multiplies row vectors by the matrix, for NTU the matrix
  # by column vectors. So there is no transpose.
  clip = clip @ rotation_matrix(draw.angles).astype(skeleton.dtype)
  inside = (jnp.arange(clip.shape[0]) < num_frames)[:, None, None, None]
  low = jnp.min(clip, axis=(0, 1, 2), where=inside, initial=jnp.inf)
  high = jnp.max(clip, axis=(0, 1, 2), where=inside, initial=-jnp.inf)
  extent = jnp.where(high > low, high - low, 1.0)
  return (clip[draw.frames] - low) / extent * 2 - 1


def rotation_matrix(angles: jax.Array) -> jax.Array:
  """Returns Rz Ry Rx [3, 3] for angles [3]; positive ones turn clockwise."""
  (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
  one, zero = jnp.ones_like(cx), jnp.zeros_like(cx)
  about_x = jnp.array([[one, zero, zero], [zero, cx, sx], [zero, -sx, cx]])
  about_y = jnp.array([[cy, zero, -sy], [zero, one, zero], [sy, zero, cy]])
  about_z = jnp.array([[cz, sz, zero], [-sz, cz, zero], [zero, zero, one]])
  return about_z @ about_y @ about_x


def to_modality(
  clip: jax.Array, modality: str, layout: skeletons.Skeleton
) -> jax.Array:
  """Turns joints into a stream (paper Sec. 4.3).

  A bone is a joint minus its parent. Motion is the next frame minus this one,
  and 0 in the last frame. The score of a difference of 2D joints is the mean of
  their scores.

  Args:
    clip: [T, M, V, C] coordinates of the joints.
    modality: One of `modalities.NAMES`.
    layout: Joint layout.

  Returns:
    [T, M, V, C].
  """

  def subtract(a, b):
    if layout.dimensions == a.shape[-1]:
      return a - b
    size = layout.dimensions
    difference = a[..., :size] - b[..., :size]
    score = (a[..., size:] + b[..., size:]) / 2
    return jnp.concatenate([difference, score], axis=-1)

  if modality.startswith("bone"):
    clip = subtract(clip, clip[:, :, np.array(layout.parents)])
  if modality.endswith("motion"):
    last = jnp.zeros_like(clip[:1])
    clip = jnp.concatenate([subtract(clip[1:], clip[:-1]), last])
  return clip


def make_transform(
  name: str,
  *,
  modality: str,
  window: int,
  layout: skeletons.Skeleton,
  max_angle: float,
) -> Callable[..., jax.Array]:
  """Builds the function from padded clips to network inputs.

  Args:
    name: `ntu` (crop, resize, rotate), `ucla` (rotate, scale, sample), or
      `whole`: as `ntu`, but all-zero frames count as frames of the clip.
    modality: One of `modalities.NAMES`.
    window: Frames of the network input.
    layout: Joint layout.
    max_angle: Largest rotation in training, radians (ntu) or degrees (ucla).

  Returns:
    transform(skeleton [N, T, M, V, C], num_frames [N], keys [N] or None) ->
    [N, M, window, V, C]; without keys, the test transform.

  Raises:
    ConfigError: If the transform or the modality is unknown.
  """
  for what, value, known in (
    ("transform", name, TRANSFORMS),
    ("modality", modality, modalities.NAMES),
  ):
    if value not in known:
      raise errors.ConfigError(
        f"unknown {what} {value!r}; known: {', '.join(known)}"
      )
  if name == "ucla" and layout.dimensions == 2:
    raise errors.ConfigError(
      "config.data.transform=ucla turns clips in space; 2D joints need"
      " transform=whole"
    )

  def transform(skeleton, num_frames, keys):
    def one(clip, num_frames, key):
      clip = TRANSFORMS[name](clip, num_frames, key, window, layout, max_angle)
      clip = to_modality(clip, modality, layout)
      return clip.transpose(1, 0, 2, 3)  # [M, window, V, C]

    if keys is None:
      one = functools.partial(one, key=None)
      return jax.vmap(one)(skeleton, num_frames)
    return jax.vmap(one)(skeleton, num_frames, keys)

  return transform


def _transform_ntu(clip, num_frames, key, window, layout, max_angle):
  del num_frames
  # As released: where inner frames are all zero, the last ones are lost.
  num_frames = count_frames(clip)
  return _transform_whole(clip, num_frames, key, window, layout, max_angle)


def _transform_whole(clip, num_frames, key, window, layout, max_angle):
  if key is None:
    draw = center_ntu(num_frames)
  else:
    # As in the reference, the shortest crop is 64 frames for any window.
    draw = draw_ntu(key, num_frames, min_length=64, max_angle=max_angle)
    if layout.dimensions == 2:  # A rotation in the plane keeps the score.
      draw = draw._replace(angles=draw.angles.at[:2].set(0))
  return apply_ntu(clip, draw, window)


def _transform_ucla(clip, num_frames, key, window, layout, max_angle):
  if key is None:
    draw = spread_ucla(num_frames, window=window)
  else:
    draw = draw_ucla(key, num_frames, window=window, max_degrees=int(max_angle))
  return apply_ucla(clip, num_frames, draw, layout.center)


TRANSFORMS = {
  "ntu": _transform_ntu,
  "ucla": _transform_ucla,
  "whole": _transform_whole,
}
