# SPDX-License-Identifier: Apache-2.0
"""Parses the raw `.skeleton` files of NTU RGB+D, and their names."""

import re
from typing import NamedTuple

import numpy as np

from data_prep.ntu import joint_lines
from sgcl_jax import errors
from sgcl_jax.terminal import wording

NUM_JOINTS = 25

# Digits of a count; Python refuses to read numbers of thousands of digits.
MAX_DIGITS = 9

NAME = re.compile("".join(rf"{letter}([0-9]{{3}})" for letter in "SCPRA"))


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
      f"the name {wording.show(name)} is not of the form S001C002P003R002A013"
    )
  return Name(*map(int, match.groups()))


def parse(data: bytes) -> Recording:
  """Parses the text of one file.

  A frame count; per frame the number of bodies; per body a line that starts
  with its ID, the number of joints, and a line of 12 numbers per joint, of
  which the first three are x, y, z. The other nine are ignored, and so is
  everything after the last frame.

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
      body = _parse_body(lines, line)
      if body in present:
        raise errors.DataError(
          f"line {line + 1}: body {body} is twice in one frame"
        )
      present.add(body)
      starts.setdefault(body, frame - len(dropped))
      owners.append(body)
      blocks.append(line + 2)
      line += 2 + NUM_JOINTS
  if total == len(dropped):
    raise errors.DataError(f"none of its {total} frames has a body")
  _line(lines, line - 1)
  joints = _parse_blocks(lines, blocks)
  owners = np.array(owners)
  bodies = {
    body: Body(start, joints[owners == body]) for body, start in starts.items()
  }
  return Recording(total - len(dropped), dropped, bodies)


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


def _parse_body(lines, index):
  """Returns the ID of a body, and checks the number of joints after it."""
  fields = _line(lines, index).split(None, 1)
  if not fields:
    raise errors.DataError(f"line {index + 1}: empty, not a body's line")
  # Skips the parse for the expected line: there is one per body and frame.
  if _line(lines, index + 1).strip() != b"%d" % NUM_JOINTS:
    num_joints = _parse_count(lines, index + 1, "joints")
    if num_joints != NUM_JOINTS:
      raise errors.DataError(
        f"line {index + 2}: {wording.count(num_joints, 'joint')}, not"
        f" {NUM_JOINTS}"
      )
  return fields[0].decode("ascii", "replace")


def _parse_blocks(lines, blocks):
  """Returns [blocks, 25, 3] float32."""
  chosen = []
  for start in blocks:
    chosen += lines[start : start + NUM_JOINTS]
  numbers = np.add.outer(blocks, np.arange(NUM_JOINTS)).ravel()
  joints = joint_lines.parse(chosen, numbers)
  return joints.reshape(-1, NUM_JOINTS, 3)
