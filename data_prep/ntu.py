# SPDX-License-Identifier: Apache-2.0
"""Raw NTU RGB+D text files to clean clips: parse, denoise, assign, translate.

The rules are those of the preprocessing every published GCN uses (SGN's, as
shipped with CTR-GCN), to the bit.
"""

import re
from typing import NamedTuple

import numpy as np

from data_prep import decimals
from sgcl_jax import errors

NUM_JOINTS = 25
NUM_COLUMNS = 12
NUM_PERSONS = 2

# Of a count; Python refuses to read numbers of thousands of digits.
MAX_DIGITS = 9

# Bodies seen in so few frames are noise, if there is another body.
MAX_NOISE_FRAMES = 11
# A frame is too wide for a person where width > 0.8 * height; a body with so
# large a share of such frames is noise (a chair, a table).
MAX_WIDTH_TO_HEIGHT = 0.8
MIN_NOISE_RATIO = 0.69754

NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")


class Name(NamedTuple):
  """The five numbers of a file's name, each from 1."""

  setup: int
  camera: int
  performer: int
  replication: int
  action: int


class Body(NamedTuple):
  """All frames of one body ID.

  Attributes:
    start: Its first frame, among the frames with a body. Its other frames are
      taken to follow without a gap, as in the reference.
    joints: [F, 25, 3] float32, metres.
  """

  start: int
  joints: np.ndarray


class Recording(NamedTuple):
  """A parsed file.

  Attributes:
    num_frames: Frames with a body, T.
    dropped: Numbers of the file's frames without a body, from 0.
    bodies: By body ID, in order of appearance.
  """

  num_frames: int
  dropped: list[int]
  bodies: dict[str, Body]


def parse_name(name: str) -> Name:
  """Reads `S001C002P003R002A013`.

  Raises:
    DataError: `name` is not of this form.
  """
  match = NAME.fullmatch(name)
  if not match:
    raise errors.DataError(
      f"the name {name} is not of the form S001C002P003R002A013"
    )
  return Name(*map(int, match.groups()))


def parse_clip(data: bytes) -> tuple[np.ndarray, list[str]]:
  """Turns one raw file into a clean clip.

  Args:
    data: Content of the file.

  Returns:
    [T, M, 25, 3] float32, metres from the first actor's joint 2, M is 1 if one
    body was left, otherwise 2; and what was unusual, for a report.

  Raises:
    DataError: The file is not sound; names the line.
  """
  recording = parse_recording(data)
  notes = []
  if recording.dropped:
    notes.append(f"{len(recording.dropped)} frames without a body dropped")
  bodies = recording.bodies.values()
  if len(bodies) > 1 and all(map(_is_short, bodies)):
    notes.append("all bodies are short, the longest is kept")
  actors = assign_actors(recording)
  if len(actors) < recording.num_frames:
    num_cut = recording.num_frames - len(actors)
    notes.append(f"{num_cut} frames without an actor dropped")
  return translate(actors), notes


def pad_persons(joints: np.ndarray) -> np.ndarray:
  """Adds zeros for absent persons: [T, M, 25, 3] to [T, 2, 25, 3]."""
  absent = NUM_PERSONS - joints.shape[1]
  return np.pad(joints, [(0, 0), (0, absent), (0, 0), (0, 0)])


def parse_recording(data: bytes) -> Recording:
  """Parses the text of one file.

  A frame count; per frame the number of bodies; per body a line that starts
  with its ID, the number of joints, and a line of 12 numbers per joint, of
  which the first three are x, y, z. The other nine are not looked at, nor is
  what follows the last frame.

  Args:
    data: Content of the file, lines ending in LF or CRLF.

  Returns:
    The bodies, with x, y, z of all joints.

  Raises:
    DataError: The text is not of this form or ends early, a coordinate is not
      a finite number, or no frame has a body; names the line, from 1.
  """
  lines = data.split(b"\n")
  if not lines[-1].strip():  # The last line of a whole file ends in a newline.
    lines.pop()
  total = _parse_count(lines, 0, "frames")
  line = 1
  dropped = []
  starts = {}  # body ID -> first frame
  owners = []  # per block of 25 joints, its body
  blocks = []  # per block, the line of its first joint
  for frame in range(total):
    num_bodies = _parse_count(lines, line, "bodies")
    line += 1
    if not num_bodies:
      dropped.append(frame)
    present = set()
    for _ in range(num_bodies):
      fields = _line(lines, line).split(None, 1)
      if not fields:
        raise errors.DataError(f"line {line + 1}: empty, not a body's line")
      body = fields[0].decode("ascii", "replace")
      if body in present:
        raise errors.DataError(
          f"line {line + 1}: body {body} is twice in one frame"
        )
      present.add(body)
      # The expected line is not worth a parse, there is one per body and frame.
      if _line(lines, line + 1).strip() != b"%d" % NUM_JOINTS:
        num_joints = _parse_count(lines, line + 1, "joints")
        if num_joints != NUM_JOINTS:
          raise errors.DataError(
            f"line {line + 2}: {num_joints} joints, not {NUM_JOINTS}"
          )
      starts.setdefault(body, frame - len(dropped))
      owners.append(body)
      blocks.append(line + 2)
      line += 2 + NUM_JOINTS
  if total == len(dropped):
    raise errors.DataError(f"none of its {total} frames has a body")
  joints = _parse_joints(data, lines, blocks)
  owners = np.array(owners)
  bodies = {
    body: Body(start, joints[owners == body]) for body, start in starts.items()
  }
  return Recording(total - len(dropped), dropped, bodies)


def compute_motion(joints: np.ndarray) -> np.float32:
  """Returns the sum of the variances of x, y and z over [..., 3] points."""
  return np.var(joints.reshape(-1, 3), axis=0).sum()


def assign_actors(recording: Recording) -> np.ndarray:
  """Removes noise and gives each body left to one of two actors.

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
    joints = np.zeros((recording.num_frames, 1, NUM_JOINTS, 3), np.float32)
    _place(joints, 0, bodies[0])
    return joints
  bodies = _sort_by_motion(_drop_short(bodies))
  num_actors = 1 if len(bodies) == 1 else 2
  joints = np.zeros(
    (recording.num_frames, num_actors, NUM_JOINTS, 3), np.float32
  )
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


def _line(lines, index):
  if index >= len(lines):
    raise errors.DataError(f"line {len(lines) + 1}: the file ends before it")
  return lines[index]


def _parse_count(lines, index, what):
  text = _line(lines, index).strip()
  if not text.isdigit() or len(text) > MAX_DIGITS:
    raise errors.DataError(
      f"line {index + 1}: {text[:40].decode('ascii', 'replace')!r}, not a "
      f"number of {what}"
    )
  return int(text)


def _parse_joints(data, lines, blocks):
  """Returns [blocks, 25, 3] float32."""
  _line(lines, blocks[-1] + NUM_JOINTS - 1)
  text = np.frombuffer(data, np.uint8)
  starts, ends = decimals.tokenize(text)
  line_ends = np.append(np.flatnonzero(text == ord("\n")), len(text))
  rows = (np.array(blocks)[:, None] + np.arange(NUM_JOINTS)).ravel()
  # Per line, the word that opens it, and how many there are.
  first = np.searchsorted(starts, line_ends[rows - 1])
  num_columns = np.searchsorted(starts, line_ends[rows]) - first
  for i in np.flatnonzero(num_columns != NUM_COLUMNS)[:1]:
    raise errors.DataError(
      f"line {rows[i] + 1}: {num_columns[i]} columns, not {NUM_COLUMNS}"
    )
  words = (first[:, None] + np.arange(3)).ravel()
  starts, ends = starts[words], ends[words]
  with np.errstate(over="ignore"):
    joints = decimals.parse(text, starts, ends).astype(np.float32)
  for i in np.flatnonzero(~np.isfinite(joints))[:1]:
    word = data[starts[i] : ends[i]][:40].decode("ascii", "replace")
    raise errors.DataError(
      f"line {rows[i // 3] + 1}: {word!r}, not a finite number"
    )
  return joints.reshape(-1, NUM_JOINTS, 3)


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
  """Tells whether at most one frame is in both."""
  start, end = _interval(body)
  return min(interval[1], end) - max(interval[0], start) <= 0


def _join(a, b):
  return min(a[0], b[0]), max(a[1], b[1])
