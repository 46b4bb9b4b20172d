# SPDX-License-Identifier: Apache-2.0
"""Tests of parsing and cleaning raw NTU files, and of the NTU60 converter."""

import gzip
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from data_prep import ntu, ntu60
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


def test_single_person_keeps_empty_frames():
  joints = make_joints(0)
  joints[[0, 4]] = 0
  clip = ntu.parse_clip(make_text(make_frames(joints)))
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
  clip = ntu.parse_clip(make_text(frames))
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


def test_short_bodies_alone_are_kept():
  # The reference fails here.
  first, second = make_joints(0, 5), make_joints(1, 4)
  frames = merge(("a", 0, first), ("b", 0, second))
  actors = ntu.assign_actors(ntu.parse_recording(make_text(frames)))
  assert actors.shape == (5, 2, 25, 3)


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


def test_splits_as_the_reference(golden):
  expected = golden("H_ntu_raw.npz")
  names = [ntu.parse_name(str(name)) for name in expected["ntu60/names"]]
  cells = [ntu60.get_cell(name) for name in names]
  for protocol, prefix in (("CS", "xsub"), ("CV", "xview")):
    for part in ("train", "test"):
      rows = expected[f"ntu60/{protocol}/{part}_index"]
      ours = [i for i, cell in enumerate(cells) if f"{prefix}_{part}" in cell]
      assert ours == sorted(rows.tolist())
      np.testing.assert_array_equal(
        [names[row].action - 1 for row in rows],
        expected[f"ntu60/{protocol}/{part}_label"],
      )


@pytest.mark.parametrize("name", ["S1C2P3R1A58", NAME + "x", "", NAME.lower()])
def test_refuses_a_name(name):
  with pytest.raises(errors.DataError, match="not of the form"):
    ntu.parse_name(name)


def test_actions():
  assert len(set(ntu.ACTIONS)) == 60
  assert ntu.ACTIONS[0] == "drink water"
  assert ntu.ACTIONS[42] == "falling"
  assert ntu.ACTIONS[49] == "punching/slapping other person"
  assert ntu.ACTIONS[59] == "walking apart from each other"


FILES = {
  # name -> cell
  "S001C001P001R001A060": "xsub_train_xview_test",
  "S001C002P001R001A001": "xsub_train_xview_train",
  "S017C003P040R002A007": "xsub_test_xview_train",
  "S001C001P003R001A001": "xsub_test_xview_test",
}


def write_raw(root):
  for i, name in enumerate(FILES):
    path = root / ("nested" if i % 2 else "") / f"{name}.skeleton"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_text(make_frames(make_joints(i, 12 + i))))


def test_converts(tmp_path, capsys):
  import tensorflow_datasets as tfds

  raw = tmp_path / "raw"
  write_raw(raw)
  for name in ("S018C001P001R001A001", "S001C001P001R001A061"):
    (raw / f"{name}.skeleton").touch()  # NTU RGB+D 120 alone.
  (raw / "._S001C001P001R001A060.skeleton").touch()
  ntu60.convert(raw, tmp_path / "out")
  builder = tfds.builder_from_directory(tmp_path / "out")
  assert tuple(builder.info.features["label"].names) == ntu.ACTIONS
  assert set(builder.info.splits) == set(FILES.values())
  for i, (name, cell) in enumerate(FILES.items()):
    (clip,) = tfds.as_numpy(builder.as_dataset(split=cell))
    assert clip["name"].decode() == name
    assert clip["label"] == int(name[-3:]) - 1
    joints = make_joints(i, 12 + i)
    np.testing.assert_array_equal(clip["skeleton"][:, 0], joints - joints[0, 1])
    assert not clip["skeleton"][:, 1].any()
  printed = capsys.readouterr().out.split("\n")
  assert "2 files of NTU RGB+D 120" in printed[0]
  assert "4 clips, the official set 56,578" in printed[1]
  assert ["xsub_train", "2"] in [line.split() for line in printed]
  assert "--config configs/ctrgcn_ntu60.py" in printed[-2]


def test_reports_all_broken_files_and_leaves_nothing(tmp_path):
  raw = tmp_path / "raw"
  write_raw(raw)
  (raw / f"{NAME}.skeleton").write_bytes(BROKEN["joints"][0])
  (raw / "S001C001P001R001A002.skeleton").touch()
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(errors.DataError) as error:
    ntu60.convert(raw, tmp_path / "out")
  lines = str(error.value).splitlines()
  assert "2 files are broken" in lines[0]
  assert "S001C001P001R001A002.skeleton: line 1" in lines[1]
  assert f"{NAME}.skeleton: line 32: 24 joints" in lines[2]
  assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("x/S001C001P001R001A060.skeleton", "a second file of this name"),
    ("notes.skeleton", "the name notes is not"),
  ],
)
def test_reports_a_wrong_file(tmp_path, path, message):
  write_raw(tmp_path)
  (tmp_path / path).parent.mkdir(exist_ok=True)
  (tmp_path / path).touch()
  with pytest.raises(errors.DataError, match=message):
    ntu60.find_files(tmp_path)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_refuses_what_holds_no_clips(tmp_path, name):
  (tmp_path / "empty").mkdir()
  with pytest.raises(errors.DataError, match=f"{name}.*--raw"):
    ntu60.convert(tmp_path / name, tmp_path / "out")


def test_parsing_needs_no_tensorflow():
  code = (
    "import sys, data_prep.ntu60, data_prep.nw_ucla;"
    "assert 'tensorflow' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)
