# SPDX-License-Identifier: Apache-2.0
"""Tests of cleaning recordings."""

import gzip
import json

import numpy as np
import pytest

from data_prep.ntu import actors, skeleton_file
from tests.data_prep.ntu import raw_text
from tests.data_prep.ntu.raw_text import (
  make_frames,
  make_joints,
  make_text,
  merge,
)


def clean(data):
  return actors.clean(skeleton_file.parse(data))


def test_single_person_keeps_empty_frames():
  joints = make_joints(0)
  joints[[0, 4]] = 0
  clip, _ = clean(make_text(make_frames(joints)))
  np.testing.assert_array_equal(clip[:, 0], joints - joints[1, 1])
  assert not clip[1, 0, 1].any()
  padded = actors.pad(clip)
  assert padded.shape == (12, 2, 25, 3)
  assert padded.dtype == np.float32
  assert not padded[:, 1].any()


def test_larger_motion_is_first_and_absence_is_zero():
  calm = make_joints(0, 20)
  lively = make_joints(1, 14)
  lively[:, :, 2] += np.linspace(0, 2, 14)[:, None]
  frames = merge(("a", 0, calm), ("b", 3, lively))
  clip, _ = clean(make_text(frames))
  origin = lively[0, 1]
  assert clip.shape == (20, 2, 25, 3)
  np.testing.assert_array_equal(clip[3:17, 0], lively - origin)
  np.testing.assert_array_equal(clip[:, 1], calm - origin)
  assert not clip[:3, 0].any()
  assert not clip[17:, 0].any()


def test_noise_is_dropped():
  person = make_joints(0, 30)
  short = make_joints(1, actors.MAX_NOISE_FRAMES)
  wide = make_joints(2, 30, wide=True)
  frames = merge(("w", 0, wide), ("s", 4, short), ("p", 0, person))
  joints = actors.assign(skeleton_file.parse(make_text(frames)))
  np.testing.assert_array_equal(joints, person[:, None])


def test_of_short_bodies_the_longest_is_kept():
  """The reference fails here."""
  short, long = make_joints(0, 4), make_joints(1, 5)
  frames = merge(("a", 0, short), ("b", 2, long))
  clip, notes = clean(make_text(frames))
  np.testing.assert_array_equal(clip[:, 0], long - long[0, 1])
  assert notes == [
    "all bodies are short, the longest is kept",
    "2 frames without an actor dropped",
  ]


def test_notes_count_dropped_frames():
  frames = [{}, *make_frames(make_joints(0)), {}]
  _, notes = clean(make_text(frames))
  assert notes == ["2 frames without a body dropped"]
  _, notes = clean(make_text(make_frames(make_joints(0))))
  assert notes == []


def test_third_person_is_lost():
  tracks = [(str(i), 0, make_joints(i, 20)) for i in range(3)]
  for i, (_, _, joints) in enumerate(tracks):
    joints[:, :, 2] += i * np.linspace(0, 1, 20)[:, None]
  recording = skeleton_file.parse(make_text(merge(*tracks)))
  assigned = actors.assign(recording)
  np.testing.assert_array_equal(assigned[:, 0], tracks[2][2])
  np.testing.assert_array_equal(assigned[:, 1], tracks[1][2])


def test_agrees_with_the_reference(golden):
  expected = golden("H_ntu_raw.npz")
  counts = zip(
    expected["ntu120/names"],
    expected["ntu120/frames_after_drop"],
    expected["ntu120/frames_after_denoise"],
    strict=True,
  )
  for name, after_drop, after_denoise in counts:
    data = gzip.decompress(
      (raw_text.GOLDEN / f"{name}.skeleton.gz").read_bytes()
    )
    recording = skeleton_file.parse(data)
    assert recording.num_frames == after_drop, name
    assert recording.dropped == expected[f"frames_dropped/{name}"].tolist()
    bodies = json.loads(str(expected[f"bodies/{name}"]))
    assert list(recording.bodies) == list(bodies)
    for key, body in recording.bodies.items():
      length = len(body.joints)
      assert length == bodies[key]["length"]
      assert bodies[key]["interval"] == [body.start, body.start + length - 1]
      if bodies[key]["motion"] is not None:
        motion = actors.compute_motion(body.joints)
        assert motion == pytest.approx(bodies[key]["motion"], rel=1e-4)
    assigned = actors.assign(recording)
    assert len(assigned) == after_denoise, name
    for key, joints in (
      ("denoised", assigned),
      ("translated", actors.translate(assigned)),
    ):
      np.testing.assert_array_equal(
        joints.reshape(len(joints), -1), expected[f"{key}/{name}"], name
      )
    if f"ntu60/aligned/{name}" in expected:
      aligned = actors.pad(actors.translate(assigned))
      np.testing.assert_array_equal(
        aligned.reshape(len(aligned), -1),
        expected[f"ntu60/aligned/{name}"][: len(aligned)],
      )
