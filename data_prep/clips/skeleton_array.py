# SPDX-License-Identifier: Apache-2.0
"""Checks the array of a clip, and finds the joints that are absent from it."""

import math
from typing import Any

import numpy as np

from sgcl_jax import errors, skeletons
from sgcl_jax.terminal import wording

NUM_CHANNELS = 3
# More persons than this are rather frames, in another order of the axes.
MAX_PERSONS = 10
_AXES = "(frames, persons, joints, channels)"


def parse(
  value: Any, layout: skeletons.Skeleton, *, any_persons: bool = False
) -> np.ndarray:
  """Checks the skeleton of a file.

  In 2D a joint at x = y = 0 is absent, whatever its score: detectors write this
  for what they do not find. In 3D, 0 is a position, and a joint is absent where
  it is NaN, or where all joints of its person are 0.

  Args:
    value: Array or nested lists, [T, M, V, C] or, for one person, [T, V, C].
    layout: Joints of the clip.
    any_persons: Whether more than `MAX_PERSONS` persons are accepted.

  Returns:
    [T, M, V, 3] float32 of the recorded joints; absent ones are NaN in all
    channels. Of 2D joints without scores, the score is 1.

  Raises:
    DataError: The value is not of this form; says why.
  """
  skeleton = _to_array(value)
  _check_shape(skeleton, layout, any_persons)
  if skeleton.ndim == 3:
    skeleton = skeleton[:, None]
  size = layout.dimensions
  absent = np.isnan(skeleton[..., :size]).all(axis=-1)  # [T, M, V]
  if size == 2:
    absent |= (skeleton[..., :2] == 0).all(axis=-1)
  else:
    zero = (skeleton == 0).all(axis=-1)
    absent |= (zero | absent).all(axis=-1, keepdims=True)
  _check_numbers(skeleton, absent, layout)
  if skeleton.shape[-1] < NUM_CHANNELS:
    skeleton = np.concatenate(
      [skeleton, np.ones_like(skeleton[..., :1])], axis=-1
    )
  return np.where(absent[..., None], np.float32(np.nan), skeleton)


def find_zeros(
  skeleton: np.ndarray, layout: skeletons.Skeleton
) -> dict[str, str]:
  """Finds joints in space that are exactly 0, which may be meant as absent.

  Args:
    skeleton: [T, M, V, 3], returned by `parse`.
    layout: Joints of the clip.

  Returns:
    Name of the joint -> `all` or `some`, the frames in which it is 0.
  """
  if layout.dimensions == 2:
    return {}
  zero = (skeleton == 0).all(axis=-1).sum(axis=(0, 1))  # [V]
  present = np.isfinite(skeleton[..., 0]).sum(axis=(0, 1))
  return {
    (layout.recorded or layout.joints)[v]: "all"
    if zero[v] == present[v]
    else "some"
    for v in np.flatnonzero(zero)
  }


def _to_array(value):
  try:
    if isinstance(value, np.ndarray) and value.dtype.kind == "c":
      raise TypeError("they are complex")
    with np.errstate(over="ignore"):  # Infinity is refused later.
      return np.asarray(value, np.float32)  # None becomes NaN.
  except (OverflowError, TypeError, ValueError) as error:
    problem = _find_uneven(value)
    if problem is None:
      problem = f"skeleton is no array of numbers ({error})"
    raise errors.DataError(problem) from error


def _find_uneven(frames):
  """Returns which frame of nested lists differs from the first, or None."""
  if not isinstance(frames, list):
    return None
  first = None
  for t, frame in enumerate(frames):
    try:
      shape = np.asarray(frame, np.float32).shape
    except (OverflowError, TypeError, ValueError):
      return (
        f"frame {t} is no array of numbers: its persons or joints are of"
        " unequal lengths, or a value is no number (an absent joint is [NaN,"
        " NaN, NaN])"
      )
    advice = "a person who is absent is 0 in all joints"
    if 0 in (*shape, len(shape)):
      return f"frame {t} is empty: {advice}"
    first = first or shape
    if shape == first:
      continue
    if len(shape) == len(first) == 3 and shape[1:] == first[1:]:
      counts = f"{shape[0]} persons, but frame 0 has {first[0]}"
      return f"frame {t} has {counts}: {advice}"
    return f"frame {t} has shape {shape}, but frame 0 has {first}"
  return None


def _check_shape(skeleton, layout, any_persons):
  shape = skeleton.shape
  if not skeleton.size:
    raise errors.DataError(
      f"skeleton has shape {shape}: without frames there is no clip"
    )
  channels = (2, 3) if layout.dimensions == 2 else (3,)
  if skeleton.ndim not in (3, 4):
    hint = _suggest_reshape(shape, layout.num_recorded, channels)
    raise errors.DataError(f"skeleton has shape {shape}, not {_AXES}{hint}")
  hint = _suggest_transpose(shape, layout.num_recorded, channels)
  joints, size = shape[-2:]
  if joints != layout.num_recorded:
    hint = hint or _suggest_reshape(shape, layout.num_recorded, channels)
    raise errors.DataError(
      f"{joints} joints, but the layout {layout.name} has {layout.num_recorded}"
      f" (skeleton has shape {shape}){hint}"
    )
  if size not in channels:
    raise errors.DataError(
      f"{size} channels, not {' or '.join(map(str, channels))} as a layout of"
      f" {layout.dimensions} dimensions has (skeleton has shape {shape}){hint}"
    )
  if skeleton.ndim == 3:
    return
  frames, persons = shape[:2]
  if persons > frames or (persons > MAX_PERSONS and not any_persons):
    read = (
      f"{wording.count(frames, 'frame')} of {wording.count(persons, 'person')}"
    )
    if persons <= frames:
      hint = "; if there are so many, --max_persons keeps those that move most"
    raise errors.DataError(
      f"skeleton has shape {shape}, {read}: are the axes in the order"
      f" {_AXES}?{hint}"
    )


def _suggest_transpose(shape, num_joints, channels):
  """Returns the transpose that makes sense of a shape, if there is one."""
  found = []
  for joint_axis, joints in enumerate(shape):
    for channel_axis, size in enumerate(shape):
      if joint_axis == channel_axis or joints != num_joints:
        continue
      if size in channels:
        others = {*range(len(shape))} - {joint_axis, channel_axis}
        # There are more frames than persons.
        rest = sorted(others, key=lambda axis: -shape[axis])
        found.append((*rest, joint_axis, channel_axis))
  if len(found) != 1 or found[0] == (*range(len(shape)),):
    return ""
  order = ", ".join(map(str, found[0]))
  return f"; perhaps skeleton.transpose({order}) is meant"


def _suggest_reshape(shape, num_joints, channels):
  """Returns the reshape that makes sense of flat rows, if there is one."""
  rows = math.prod(shape[1:])
  for size in reversed(channels):
    persons, rest = divmod(rows, num_joints * size)
    if persons and not rest and shape[-1] % (num_joints * size) == 0:
      new = (shape[0], persons, num_joints, size)
      return f"; perhaps skeleton.reshape{new} is meant"
  return ""


def _check_numbers(skeleton, absent, layout):
  size = layout.dimensions
  bad = ~np.isfinite(skeleton).all(axis=-1) & ~absent
  # Absent joints may be NaN, but nothing is infinite.
  bad |= np.isinf(skeleton).any(axis=-1)
  if bad.any():
    raise errors.DataError(
      f"{_locate(bad, layout)} is {skeleton[bad][0].tolist()}: NaN in all of"
      f" {'x and y' if size == 2 else 'x, y and z'} means absent, other numbers"
      " are finite"
    )
  if absent.all():
    raise errors.DataError(
      "nobody is seen: all joints of all frames are absent"
    )
  if size == 2 and skeleton.shape[-1] > 2:
    bad = (skeleton[..., 2] < 0) & ~absent
    if bad.any():
      raise errors.DataError(
        f"a score is negative ({_locate(bad, layout)}), but the layout"
        f" {layout.name} has 2 dimensions: x, y and a score"
      )


def _locate(where, layout):
  """Names the first place of [T, M, V]."""
  frame, person, joint = np.argwhere(where)[0]
  whose = f" of person {person}" if where.shape[1] > 1 else ""
  return f"frame {frame}, {(layout.recorded or layout.joints)[joint]}{whose}"
