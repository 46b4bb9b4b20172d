# SPDX-License-Identifier: Apache-2.0
"""Makes texts of raw files, sound and broken."""

import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT.parent / "shared" / "golden" / "raw"


def make_joints(seed, num_frames=12, wide=False):
  """[F, 25, 3] of an upright person, 1.7 m high and, if wide, as broad."""
  rng = np.random.default_rng(seed)
  extent = np.array([1.7 if wide else 0.5, 1.7, 0.3])
  pose = np.linspace(-0.5, 0.5, 25)[:, None] * extent + [0.2, 0.1, 3.0]
  joints = pose + 0.02 * rng.normal(size=(num_frames, 25, 3))
  return joints.astype(np.float32)


def make_text(frames, newline="\r\n"):
  """Raw text of `frames`: per frame, body ID -> [25, 3] joints."""
  lines = [str(len(frames))]
  for frame in frames:
    lines.append(str(len(frame)))
    for body, joints in frame.items():
      lines += [f"{body} 0 1 1 1 0 0 0.05 -0.1 2", "25"]
      for x, y, z in joints:
        lines.append(f"{x!s} {y!s} {z!s} 274.2 235.1 1013 607 0.9 0.1 -0.1 0 2")
  return newline.join([*lines, ""]).encode()


def make_frames(joints, body="72057594038208266"):
  return [{body: frame} for frame in joints]


def merge(*tracks):
  """Frames of bodies given as (ID, first frame, joints)."""
  num_frames = max(start + len(joints) for _, start, joints in tracks)
  return [
    {
      body: joints[t - start]
      for body, start, joints in tracks
      if 0 <= t - start < len(joints)
    }
    for t in range(num_frames)
  ]


def edit(line, text):
  """The raw text of 2 frames with line `line` (from 1) replaced."""
  lines = make_text(make_frames(make_joints(0, 2)), "\n").split(b"\n")
  lines[line - 1] = text
  return b"\n".join(lines)


# The second frame is lines 30 to 57: 1 body, its line, 25, its joints.
BROKEN = {
  "no_data": (b"", "line 1:"),
  "binary": (bytes(range(256)), "line 1:"),
  "count": (edit(1, b"two"), "line 1: 'two', not a number of frames"),
  "negative": (edit(2, b"-1"), "line 2: '-1', not a number of bodies"),
  "more_frames": (edit(1, b"3"), "line 58: the file ends"),
  "no_frames": (b"0\n", "none of its 0 frames"),
  "no_bodies": (b"2\n0\n0\n", "none of its 2 frames has a body"),
  "bodies": (edit(30, b"x"), "line 30: 'x', not a number of bodies"),
  "more_bodies": (edit(30, b"2"), "line 58: the file ends"),
  "body": (edit(31, b""), "line 31: empty"),
  "joints": (edit(32, b"24"), "line 32: 24 joints, not 25"),
  "columns": (edit(40, b"1 2 3"), "line 40: 3 columns, not 12"),
  "missing_line": (
    edit(40, b"").replace(b"\n\n", b"\n"),
    "line 57: the file ends",
  ),
  "number": (edit(57, b"1 2 3x" + b" 4" * 9), "line 57: '3x', not a finite"),
  "nan": (edit(33, b"1 nan 3" + b" 4" * 9), "line 33: 'nan', not a finite"),
  "inf": (edit(33, b"1 2 -inf" + b" 4" * 9), "line 33: '-inf'"),
  "overflow": (edit(33, b"1e99 2 3" + b" 4" * 9), "line 33: '1e99'"),
  "underscore": (edit(33, b"1_0 2 3" + b" 4" * 9), "line 33: '1_0'"),
  "endless": (edit(1, b"9" * 5000), "line 1: '9999"),
  "zeros": (
    make_text(make_frames(np.zeros((3, 25, 3)))),
    "all joints of all frames are zero",
  ),
  "twice": (
    make_text([{"1": make_joints(0)[0], "2": make_joints(1)[0]}]).replace(
      b"\n2 0", b"\n1 0"
    ),
    "line 30: body 1 is twice",
  ),
}
