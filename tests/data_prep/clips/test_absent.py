# SPDX-License-Identifier: Apache-2.0
"""Empty frames, gaps and persons."""

import numpy as np
import pytest

from data_prep.clips import absent


def make_line(num_frames, persons=1):
  """Returns [T, M, 2, 3], joints on straight lines."""
  frames = np.arange(num_frames, dtype=np.float32)[:, None, None, None]
  speed = 1 + np.arange(persons * 6, dtype=np.float32)
  return frames * speed.reshape(1, persons, 2, 3) + 5


def test_empty_frames():
  line = make_line(10)
  clip = line.copy()
  clip[[0, 4, 5, 9]] = np.nan
  np.testing.assert_array_equal(absent.treat_empty(clip, "keep"), clip)
  dropped = absent.treat_empty(clip, "drop")
  np.testing.assert_array_equal(dropped, line[[1, 2, 3, 6, 7, 8]])
  filled = absent.treat_empty(clip, "interpolate")
  np.testing.assert_allclose(filled, line[1:9], rtol=1e-6)


def test_only_empty_frames_are_interpolated():
  """A person who left does not come back for one empty frame."""
  line = make_line(10, persons=2)
  clip = line.copy()
  clip[3:7, 1] = np.nan
  clip[5] = np.nan
  filled = absent.treat_empty(clip, "interpolate")
  np.testing.assert_allclose(filled[5, 0], line[5, 0], rtol=1e-6)
  assert np.isnan(filled[3:7, 1]).all()


def test_gaps():
  line = make_line(12)
  clip = line.copy()
  clip[0, 0, 0] = clip[2:4, 0, 0] = clip[5:8, 0, 0] = clip[11, 0, 0] = np.nan
  filled = absent.fill_gaps(clip, 2)
  expected = line.copy()
  expected[0, 0, 0] = expected[5:8, 0, 0] = expected[11, 0, 0] = np.nan
  np.testing.assert_allclose(filled, expected, rtol=1e-6)
  np.testing.assert_array_equal(absent.fill_gaps(clip, 0), clip)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_those_who_move_most_are_kept_in_their_order(dimensions):
  rng = np.random.default_rng(0)
  clip = np.zeros((50, 5, 4, 3), np.float32)
  for person, size in enumerate((0.5, 0.0, 2.0, 1.0, 0.1)):
    place = 100.0 * person
    clip[:, person] = place + size * rng.normal(size=(50, 4, 3))
  clip[:49, 4] = np.nan  # Seen once, far from everything.
  clip[:, 1, :, 2] = 1000 * rng.uniform(size=(50, 4))  # Scores in 2D.
  kept = absent.keep_moving(clip, 2, dimensions)
  persons = [2, 3] if dimensions == 2 else [1, 2]
  np.testing.assert_array_equal(kept, clip[:, persons])
  assert absent.keep_moving(clip, 5, dimensions) is clip
