# SPDX-License-Identifier: Apache-2.0
"""Turns a parsed recording into a clean clip of one or two actors.

The rules are those of the preprocessing every published GCN uses (SGN's, as
shipped with CTR-GCN), to the bit.
"""

import numpy as np

from data_prep.ntu import skeleton_file
from sgcl_jax import errors

NUM_PERSONS = 2

# Bodies seen in so few frames are noise, if there is another body.
MAX_NOISE_FRAMES = 11
# A frame is too wide for a person where width > 0.8 * height; a body with so
# large a share of such frames is noise (a chair, a table).
MAX_WIDTH_TO_HEIGHT = 0.8
MIN_NOISE_RATIO = 0.69754


def clean(recording: skeleton_file.Recording) -> tuple[np.ndarray, list[str]]:
  """Turns a recording into a clean clip.

  Args:
    recording: A parsed file.

  Returns:
    joints: [T, M, 25, 3] float32, metres from the first actor's joint 2; M is
      1 if one body was left, otherwise 2.
    notes: What was unusual, for a report.

  Raises:
    DataError: No frame is left.
  """
  notes = []
  if recording.dropped:
    notes.append(f"{len(recording.dropped)} frames without a body dropped")
  bodies = recording.bodies.values()
  if len(bodies) > 1 and all(map(_is_short, bodies)):
    notes.append("all bodies are short, the longest is kept")
  joints = assign(recording)
  if len(joints) < recording.num_frames:
    num_cut = recording.num_frames - len(joints)
    notes.append(f"{num_cut} frames without an actor dropped")
  return translate(joints), notes


def assign(recording: skeleton_file.Recording) -> np.ndarray:
  """Removes noise and gives each remaining body to one of two actors.

  Args:
    recording: A parsed file.

  Returns:
    [T, M, 25, 3] float32, metres in camera space. M is 1 if one body is left,
    otherwise 2: first the actor who moves most, zeros in the frames an actor is
    absent from. With several bodies, frames without an actor are cut.

  Raises:
    DataError: No frame is left.
  """
  bodies = list(recording.bodies.values())
  if len(bodies) == 1:
    joints = _make_empty(recording.num_frames, 1)
    _place(joints, 0, bodies[0])
    return joints
  bodies = _sort_by_motion(_drop_short(bodies))
  joints = _make_empty(recording.num_frames, 1 if len(bodies) == 1 else 2)
  # An actor's interval only grows. The second's starts as the first frame, as
  # in the reference: a body before its first one is lost.
  first = _place(joints, 0, bodies[0])
  second = (0, 0)
  for body in bodies[1:]:
    if _overlaps_little(first, body):
      first = _join(first, _place(joints, 0, body))
    elif _overlaps_little(second, body):
      second = _join(second, _place(joints, 1, body))
  present = joints.reshape(len(joints), -1).sum(axis=1) != 0
  if not present.any():
    raise errors.DataError("all joints of all frames are zero")
  return joints[present]


def translate(joints: np.ndarray) -> np.ndarray:
  """Moves the origin to the first actor's joint 2 in its first frame.

  Args:
    joints: [T, M, 25, 3], metres in camera space. An actor's first frame is the
      first that is not all zero.

  Returns:
    [T, M, 25, 3]. Of two actors an absent one stays zero; the all-zero frames
    of a single one become minus the origin, as in the reference.

  Raises:
    DataError: The first actor is zero throughout.
  """
  real = (joints[:, 0] != 0).any(axis=(1, 2))
  if not real.any():
    raise errors.DataError("all joints of all frames are zero")
  moved = joints - joints[real.argmax(), 0, 1]
  num_frames, num_actors = joints.shape[:2]
  if num_actors == 2:
    moved[joints.reshape(num_frames, 2, -1).sum(axis=2) == 0] = 0
  return moved


def pad(joints: np.ndarray) -> np.ndarray:
  """Adds zeros for absent persons: [T, M, 25, 3] to [T, 2, 25, 3]."""
  absent = NUM_PERSONS - joints.shape[1]
  return np.pad(joints, [(0, 0), (0, absent), (0, 0), (0, 0)])


def compute_motion(joints: np.ndarray) -> np.float32:
  """Returns the sum of the variances of x, y and z over [..., 3] points."""
  return np.var(joints.reshape(-1, 3), axis=0).sum()


def _make_empty(num_frames, num_actors):
  shape = num_frames, num_actors, skeleton_file.NUM_JOINTS, 3
  return np.zeros(shape, np.float32)


def _is_short(body):
  return len(body.joints) <= MAX_NOISE_FRAMES


def _drop_short(bodies):
  kept = [body for body in bodies if not _is_short(body)]
  # The reference fails on a clip of short bodies only.
  return kept or [max(bodies, key=lambda body: len(body.joints))]


def _sort_by_motion(bodies):
  """Drops bodies too wide for a person; most motion first."""
  if len(bodies) == 1:
    return bodies
  kept = []
  for i, body in enumerate(bodies):
    motion = compute_motion(body.joints)
    # The last one left is always kept.
    if kept or i < len(bodies) - 1:
      extent = np.ptp(body.joints, axis=1)  # [F, 3]
      narrow = extent[:, 0] <= MAX_WIDTH_TO_HEIGHT * extent[:, 1]
      num_wide = len(narrow) - np.count_nonzero(narrow)
      if num_wide / len(narrow) >= MIN_NOISE_RATIO:
        continue
      if num_wide:
        motion = min(motion, compute_motion(body.joints[narrow]))
    kept.append((motion, body))
  kept.sort(key=lambda pair: pair[0], reverse=True)
  return [body for _, body in kept]


def _interval(body):
  return body.start, body.start + len(body.joints) - 1


def _place(joints, actor, body):
  """Writes a body's frames over an actor's; returns its interval."""
  start, end = _interval(body)
  joints[start : end + 1, actor] = body.joints
  return start, end


def _overlaps_little(interval, body):
  """Returns whether at most one frame is in both."""
  start, end = _interval(body)
  return min(interval[1], end) - max(interval[0], start) <= 0


def _join(a, b):
  return min(a[0], b[0]), max(a[1], b[1])
