# SPDX-License-Identifier: Apache-2.0
"""Tests of parsing and cleaning raw NTU files."""

import gzip
import json
import pathlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data_prep import ntu
from sgcl_jax import errors

REPO = pathlib.Path(__file__).resolve().parents[2]
RAW = REPO.parent / "shared" / "golden" / "raw"
NAME = "S001C002P003R001A058"


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


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", [b"", b"\r\n\r\n", None])
def test_parses(newline, ending):
  joints = make_joints(0)
  frames = [{}, *make_frames(joints[:5]), {}, *make_frames(joints[5:]), {}]
  data = make_text(frames, newline)
  data = data.rstrip() if ending is None else data + ending
  recording = ntu.parse_recording(data)
  assert recording.num_frames == 12
  assert recording.dropped == [0, 6, 14]
  (body,) = recording.bodies.values()
  assert body.start == 0
  np.testing.assert_array_equal(body.joints, joints)


def test_keeps_bodies_in_order_of_appearance():
  frames = merge(("9", 3, make_joints(0)), ("7", 0, make_joints(1)))
  recording = ntu.parse_recording(make_text(frames))
  assert [(k, v.start) for k, v in recording.bodies.items()] == [
    ("7", 0),
    ("9", 3),
  ]
  np.testing.assert_array_equal(recording.bodies["9"].joints, make_joints(0))


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


@pytest.mark.parametrize("kind", BROKEN)
def test_reports_a_broken_file(kind):
  data, message = BROKEN[kind]
  with pytest.raises(errors.DataError) as error:
    ntu.parse_clip(data)
  assert message in str(error.value)


def test_reports_truncation_anywhere():
  data = make_text(make_frames(make_joints(0, 2)), "\n")
  lines = data.splitlines(keepends=True)
  for count in range(len(lines)):
    with pytest.raises(errors.DataError, match=f"line {count + 1}: the file"):
      ntu.parse_recording(b"".join(lines[:count]))


LINES = make_text(make_frames(make_joints(0, 3)), "\n").splitlines(True)
NOISE = st.one_of(
  st.binary(max_size=20),
  st.sampled_from([b"25", b"1", b"0", b"-1", b"nan", b"1e999", b"\r\n", b" "]),
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.data())
def test_random_damage_is_told_or_harmless(data):
  """Whatever is done to a file, it parses to a clip or is refused."""
  lines = list(LINES)
  for _ in range(data.draw(st.integers(1, 3))):
    at = data.draw(st.integers(0, max(len(lines) - 1, 0)))
    kind = data.draw(st.sampled_from(["cut", "drop", "twice", "swap", "noise"]))
    if kind == "cut":
      del lines[at:]
    elif kind == "drop":
      del lines[at : at + data.draw(st.integers(1, 3))]
    elif not lines:
      break
    elif kind == "twice":
      lines.insert(at, lines[at])
    elif kind == "swap":
      other = data.draw(st.integers(0, len(lines) - 1))
      lines[at], lines[other] = lines[other], lines[at]
    else:
      column = data.draw(st.integers(0, len(lines[at])))
      noise = data.draw(NOISE)
      lines[at] = lines[at][:column] + noise + lines[at][column:]
  try:
    clip, _ = ntu.parse_clip(b"".join(lines))
  except errors.DataError as error:
    assert str(error)
    return
  assert clip.shape[0] >= 1 and clip.shape[2:] == (25, 3)
  assert clip.dtype == np.float32 and np.isfinite(clip).all()


def test_single_person_keeps_empty_frames():
  joints = make_joints(0)
  joints[[0, 4]] = 0
  clip, _ = ntu.parse_clip(make_text(make_frames(joints)))
  np.testing.assert_array_equal(clip[:, 0], joints - joints[1, 1])
  assert not clip[1, 0, 1].any()
  padded = ntu.pad_persons(clip)
  assert padded.shape == (12, 2, 25, 3)
  assert padded.dtype == np.float32
  assert not padded[:, 1].any()


def test_larger_motion_is_first_and_absence_is_zero():
  calm = make_joints(0, 20)
  lively = make_joints(1, 14)
  lively[:, :, 2] += np.linspace(0, 2, 14)[:, None]
  frames = merge(("a", 0, calm), ("b", 3, lively))
  clip, _ = ntu.parse_clip(make_text(frames))
  origin = lively[0, 1]
  assert clip.shape == (20, 2, 25, 3)
  np.testing.assert_array_equal(clip[3:17, 0], lively - origin)
  np.testing.assert_array_equal(clip[:, 1], calm - origin)
  assert not clip[:3, 0].any()
  assert not clip[17:, 0].any()


def test_noise_is_dropped():
  person = make_joints(0, 30)
  short = make_joints(1, ntu.MAX_NOISE_FRAMES)
  wide = make_joints(2, 30, wide=True)
  frames = merge(("w", 0, wide), ("s", 4, short), ("p", 0, person))
  actors = ntu.assign_actors(ntu.parse_recording(make_text(frames)))
  np.testing.assert_array_equal(actors, person[:, None])


def test_of_short_bodies_the_longest_is_kept():
  """The reference fails here."""
  short, long = make_joints(0, 4), make_joints(1, 5)
  frames = merge(("a", 0, short), ("b", 2, long))
  clip, notes = ntu.parse_clip(make_text(frames))
  np.testing.assert_array_equal(clip[:, 0], long - long[0, 1])
  assert notes == [
    "all bodies are short, the longest is kept",
    "2 frames without an actor dropped",
  ]


def test_notes_tell_of_dropped_frames():
  frames = [{}, *make_frames(make_joints(0)), {}]
  _, notes = ntu.parse_clip(make_text(frames))
  assert notes == ["2 frames without a body dropped"]
  _, notes = ntu.parse_clip(make_text(make_frames(make_joints(0))))
  assert notes == []


def test_third_person_is_lost():
  tracks = [(str(i), 0, make_joints(i, 20)) for i in range(3)]
  for i, (_, _, joints) in enumerate(tracks):
    joints[:, :, 2] += i * np.linspace(0, 1, 20)[:, None]
  actors = ntu.assign_actors(ntu.parse_recording(make_text(merge(*tracks))))
  np.testing.assert_array_equal(actors[:, 0], tracks[2][2])
  np.testing.assert_array_equal(actors[:, 1], tracks[1][2])


def test_agrees_with_the_reference(golden):
  expected = golden("H_ntu_raw.npz")
  counts = zip(
    expected["ntu120/names"],
    expected["ntu120/frames_after_drop"],
    expected["ntu120/frames_after_denoise"],
    strict=True,
  )
  for name, after_drop, after_denoise in counts:
    data = gzip.decompress((RAW / f"{name}.skeleton.gz").read_bytes())
    recording = ntu.parse_recording(data)
    assert recording.num_frames == after_drop, name
    assert recording.dropped == expected[f"frames_dropped/{name}"].tolist()
    bodies = json.loads(str(expected[f"bodies/{name}"]))
    assert list(recording.bodies) == list(bodies)
    for key, body in recording.bodies.items():
      length = len(body.joints)
      assert length == bodies[key]["length"]
      assert bodies[key]["interval"] == [body.start, body.start + length - 1]
      if bodies[key]["motion"] is not None:
        motion = ntu.compute_motion(body.joints)
        assert motion == pytest.approx(bodies[key]["motion"], rel=1e-4)
    actors = ntu.assign_actors(recording)
    assert len(actors) == after_denoise, name
    for key, joints in (
      ("denoised", actors),
      ("translated", ntu.translate(actors)),
    ):
      np.testing.assert_array_equal(
        joints.reshape(len(joints), -1), expected[f"{key}/{name}"], name
      )
    if f"ntu60/aligned/{name}" in expected:
      aligned = ntu.pad_persons(ntu.translate(actors))
      np.testing.assert_array_equal(
        aligned.reshape(len(aligned), -1),
        expected[f"ntu60/aligned/{name}"][: len(aligned)],
      )


@pytest.mark.parametrize("name", ["S1C2P3R1A58", NAME + "x", "", NAME.lower()])
def test_refuses_a_name(name):
  with pytest.raises(errors.DataError, match="not of the form"):
    ntu.parse_name(name)
