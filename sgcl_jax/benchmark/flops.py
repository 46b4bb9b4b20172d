# SPDX-License-Identifier: Apache-2.0
"""Counts the operations per clip of the architectures as published.

Only products and convolutions count, with 2 operations per multiply-add. Our
own forward pass needs fewer: it applies some products to smaller arrays.
"""

from collections.abc import Iterator, Sequence

from sgcl_jax import skeletons
from sgcl_jax.models import blocks, infogcn

NUM_SUBGRAPHS = 3
COORDINATES = 3


def forward(
  backbone: str,
  *,
  num_classes: int,
  skeleton: str | skeletons.Skeleton,
  num_persons: int,
  num_frames: int,
) -> int | None:
  """Returns the operations of the forward pass of one clip.

  Args:
    backbone: `ctrgcn`, `agcn` or `infogcn`, at full width.
    num_classes: L.
    skeleton: A layout or its name.
    num_persons: M.
    num_frames: T.

  Returns:
    The number of operations, None for another backbone.
  """
  if backbone not in _SPATIAL:
    return None
  v = skeletons.get(skeleton).num_joints
  total, stack = 0, blocks.TEN_BLOCKS
  if backbone == "infogcn":
    stack = infogcn.STACK
    # Subtraction of the ancestors, and the embedding.
    total += num_frames * v * (v * COORDINATES + COORDINATES * 64)
  for t, c, f, stride in _shapes(stack, num_frames, backbone):
    total += _SPATIAL[backbone](t, v, c, f)
    kept = -(-t // stride) * v
    if backbone == "agcn":
      total += kept * 9 * f * f
    else:
      # Three entries at full rate and one at the stride, then two convolutions
      # of width 5.
      total += t * v * 3 * f * f // 4 + kept * f * f // 4
      total += kept * 2 * 5 * (f // 4) ** 2
    spanned = c != COORDINATES
    if spanned and (c, stride) != (f, 1):
      total += kept * c * f
  total *= num_persons
  if backbone == "infogcn":
    total += 3 * 256 * 256
  return 2 * (total + 256 * num_classes)


def _shapes(
  stack: Sequence[tuple[int, int]], num_frames: int, backbone: str
) -> Iterator[tuple[int, int, int, int]]:
  """Yields (frames, channels, features, stride) of each block."""
  channels = 64 if backbone == "infogcn" else COORDINATES
  for features, stride in stack:
    yield num_frames, channels, features, stride
    num_frames, channels = -(-num_frames // stride), features


def _ctrgcn(t, v, c, f):
  r = 8 if c == COORDINATES else c // 8
  per_graph = t * v * c * (2 * r + f) + v * v * r * f + t * v * v * f
  return NUM_SUBGRAPHS * per_graph + _match(t, v, c, f)


def _agcn(t, v, c, f):
  return _attention(t, v, c, f, r=f // 4)


def _infogcn(t, v, c, f):
  return _attention(t, v, c, f, r=c // 8)


def _attention(t, v, c, f, r):
  per_graph = t * v * c * (2 * r + f) + t * v * v * (r + c)
  return NUM_SUBGRAPHS * per_graph + _match(t, v, c, f)


def _match(t, v, c, f):
  """Returns the products of the shortcut around a graph convolution."""
  return t * v * c * f if c != f else 0


_SPATIAL = {"ctrgcn": _ctrgcn, "agcn": _agcn, "infogcn": _infogcn}
