# SPDX-License-Identifier: Apache-2.0
"""Which arrays are clips, what is absent, and why others are refused."""

import numpy as np
import pytest

from data_prep.clips import skeleton_array
from sgcl_jax import errors, skeletons

ARM = skeletons.Skeleton("arm", ("shoulder", "elbow", "wrist"), (0, 0, 1), (0,))
FLAT = skeletons.Skeleton("flat", ARM.joints, ARM.parents, (0,), dimensions=2)


def make_array(*shape):
  return np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)


def refuse(value, layout=ARM, **options):
  with pytest.raises(errors.DataError) as error:
    skeleton_array.parse(value, layout, **options)
  return str(error.value)


def test_a_joint_at_the_origin_is_a_position_in_3d():
  clip = make_array(5, 2, 3, 3)
  clip[:, 0, 0] = 0  # Relative to the shoulder.
  clip[2, 1] = 0
  clip[3, 1, 2] = np.nan
  found = skeleton_array.parse(clip, ARM)
  expected = clip.copy()
  expected[2, 1] = np.nan
  np.testing.assert_array_equal(found, expected)
  assert skeleton_array.find_zeros(found, ARM) == {"shoulder": "some"}
  clip[:, 1, 0] = 0
  found = skeleton_array.parse(clip, ARM)
  assert skeleton_array.find_zeros(found, ARM) == {"shoulder": "all"}


def test_undetected_joints_are_absent_in_2d_whatever_their_score():
  clip = make_array(5, 1, 3, 3)
  clip[1, 0, 2, :2] = 0
  clip[2, 0, 2] = (0, 1.5, 0.5)  # On the border of the picture.
  clip[3, 0, 1] = (np.nan, np.nan, 0.9)
  clip[4, 0, 1] = (0, 0, -1)
  found = skeleton_array.parse(clip, FLAT)
  absent = np.zeros(clip.shape, bool)
  absent[1, 0, 2] = absent[3, 0, 1] = absent[4, 0, 1] = True
  np.testing.assert_array_equal(np.isnan(found), absent)
  np.testing.assert_array_equal(found[~absent], clip[~absent])
  assert not skeleton_array.find_zeros(found, FLAT)


def test_null_in_json_is_absent():
  clip = make_array(4, 1, 3, 3).tolist()
  clip[2][0][1] = [None, None, None]
  assert np.isnan(skeleton_array.parse(clip, ARM)[2, 0, 1]).all()


@pytest.mark.parametrize(
  ("shape", "order"),
  [
    ((1, 124, 20, 3), "1, 0, 2, 3"),  # As pyskl saves.
    ((3, 124, 20, 2), "1, 3, 2, 0"),  # As ST-GCN saves.
    ((20, 124, 3), "1, 0, 2"),
  ],
)
def test_axes_in_another_order_are_asked_for(shape, order):
  joints = tuple(map(str, range(20)))
  chain = skeletons.Skeleton("chain", joints, (0, *range(19)), (0,))
  message = refuse(make_array(*shape), chain)
  assert str(shape) in message
  assert f"skeleton.transpose({order})" in message


def test_more_persons_than_frames():
  message = refuse(make_array(1, 124, 3, 3))
  assert "1 frame of 124 persons: are the axes in the order" in message
  assert "transpose" not in message  # Which axis has the joints is not clear.


def test_many_persons_are_asked_for():
  crowd = make_array(30, 12, 3, 3)
  message = refuse(crowd)
  assert "30 frames of 12 persons" in message and "--max_persons" in message
  assert skeleton_array.parse(crowd, ARM, any_persons=True).shape == crowd.shape
  swapped = crowd.transpose(1, 0, 2, 3)
  assert "are the axes" in refuse(swapped, any_persons=True)


@pytest.mark.parametrize(
  ("shape", "new"),
  [((40, 9), "(40, 1, 3, 3)"), ((40, 18), "(40, 2, 3, 3)")]
  + [((40, 2, 9), "(40, 2, 3, 3)"), ((40, 10), None)],
)
def test_flat_rows_are_told_their_shape(shape, new):
  message = refuse(make_array(*shape))
  assert str(shape) in message
  assert new is None or f"skeleton.reshape{new}" in message


def change(clip, frame, value):
  return [*clip[:frame], value, *clip[frame + 1 :]]


def test_an_uneven_frame_is_named():
  clip = make_array(5, 1, 3, 3).tolist()
  two = make_array(2, 3, 3).tolist()
  assert "frame 3 is empty" in refuse(change(clip, 3, []))
  assert "frame 0 is empty" in refuse(change(clip, 0, []))
  message = refuse(change(clip, 3, two))
  assert "frame 3 has 2 persons, but frame 0 has 1" in message
  message = refuse(change(clip, 2, [two[0][:2]]))
  assert "frame 2 has shape (1, 2, 3), but frame 0 has (1, 3, 3)" in message
  assert "frame 1 is no array" in refuse(change(clip, 1, [[[1], [1, 2], [1]]]))
  assert "frame 4 is no array" in refuse(change(clip, 4, "none"))
  assert "no array of numbers" in refuse({"a": 1})
  assert "no array of numbers" in refuse(np.ones((2, 1, 3, 3), complex))


def test_a_clip_without_frames():
  assert "shape (0, 1, 3, 3): without frames" in refuse(make_array(0, 1, 3, 3))
  assert "without frames" in refuse([])


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_a_number_that_is_not_finite_is_located(value):
  clip = make_array(5, 2, 3, 3).astype(float)
  clip[4, 1, 2, 1] = value
  message = refuse(clip)
  assert "frame 4, wrist of person 1 is [" in message
  assert "means absent" in message
  clip = make_array(5, 1, 3, 3)
  clip[1, 0, 0, 2] = np.nan
  assert "frame 1, shoulder is [" in refuse(clip, FLAT)


def test_huge_numbers_of_json():
  clip = make_array(2, 1, 3, 3).tolist()
  clip[1][0][2][0] = 10**400
  assert "frame 1 is no array of numbers" in refuse(clip)
