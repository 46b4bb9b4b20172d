# SPDX-License-Identifier: Apache-2.0
"""Tests of turning bodies as InfoGCN's data are."""

import numpy as np
import pytest

from data_prep import ntu60, synthetic
from data_prep.ntu import align
from sgcl_jax import input_pipeline


def make_bodies(num_frames=5, num_persons=2):
  rng = np.random.default_rng(0)
  return rng.normal(size=(num_frames, num_persons, 25, 3)).astype(np.float32)


def test_agrees_with_the_reference(golden):
  expected = golden("H_ntu_raw.npz")
  names = [
    key.split("/")[1] for key in expected if key.startswith("infogcn_aligned/")
  ]
  assert len(names) == 4
  for name in names:
    joints = expected[f"ntu60/aligned/{name}"].reshape(-1, 2, 25, 3)
    ours, _ = align.align(joints, as_released=True)
    theirs = expected[f"infogcn_aligned/{name}"]
    np.testing.assert_allclose(
      ours.reshape(theirs.shape), theirs, rtol=0, atol=1e-5
    )


def test_the_first_frame_stands_upright():
  joints = make_bodies()
  aligned, notes = align.align(joints)
  assert aligned.dtype == np.float32 and not notes
  first = aligned[0]
  spine = first[:, align.SPINE_MIDDLE] - first[:, align.SPINE_BASE]
  np.testing.assert_allclose(spine[:, :2], 0, atol=1e-5)
  assert (spine[:, 2] > 0).all()
  hips = first[:, align.LEFT_HIP] - first[:, align.RIGHT_HIP]
  np.testing.assert_allclose(hips[:, 1], 0, atol=1e-5)
  assert (hips[:, 0] > 0).all()
  # The whole clip is turned alike: distances stay.
  np.testing.assert_allclose(
    np.linalg.norm(np.diff(aligned, axis=0), axis=-1),
    np.linalg.norm(np.diff(joints, axis=0), axis=-1),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_person_who_comes_later():
  joints = make_bodies()
  joints[:2, 1] = 0
  aligned, notes = align.align(joints)
  alone, _ = align.align(joints[2:, 1:])
  np.testing.assert_array_equal(aligned[2:, 1:], alone)
  assert not aligned[:2, 1].any()
  assert notes == ["person 2 is absent at first"]
  released, notes = align.align(joints, as_released=True)
  assert not released[:, 1].any()
  np.testing.assert_array_equal(released[:, 0], aligned[:, 0])
  assert notes == ["person 2 is absent at first, set to zero"]


@pytest.mark.parametrize("as_released", [False, True])
def test_a_body_without_direction_is_kept(as_released):
  joints = make_bodies(num_persons=1)
  joints[0, 0, align.LEFT_HIP] = joints[0, 0, align.RIGHT_HIP]
  aligned, notes = align.align(joints, as_released=as_released)
  np.testing.assert_array_equal(aligned, joints)
  assert notes == ["person 1 has no direction of spine or hips"]


def test_an_absent_person_is_not_unusual():
  joints = make_bodies()
  joints[:, 1] = 0
  aligned, notes = align.align(joints)
  assert not aligned[:, 1].any() and not notes


def test_the_converter_records_it(tmp_path, capsys):
  synthetic.write(tmp_path / "raw", seed=0, num_classes=1, clips_per_class=3)
  plain, turned = tmp_path / "plain", tmp_path / "turned"
  raw = ["--raw", str(tmp_path / "raw"), "--workers=1"]
  ntu60.main([*raw, "--out", str(plain)])
  ntu60.main([*raw, "--out", str(turned), "--align"])
  assert "--config infogcn_ntu60 " in capsys.readouterr().out
  one, other = (
    input_pipeline.load(path, "xsub_train") for path in (plain, turned)
  )
  assert [clips.metadata["aligned"] for clips in (one, other)] == [False, True]
  expected, _ = align.align(one.skeletons[0])
  np.testing.assert_array_equal(other.skeletons[0], expected)
