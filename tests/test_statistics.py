# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests of accuracies, against textbook values."""

import math

import numpy as np
import pytest

from sgcl_jax import statistics


def make_correct(right, total):
  return np.random.default_rng(3).permutation(np.arange(total) < right)


def test_the_interval_of_an_accuracy():
  """Close to the normal approximation, and printed twice alike."""
  correct = make_correct(360, 400)
  low, high = statistics.clip_interval(correct)
  half = 196 * math.sqrt(0.9 * 0.1 / 400)
  np.testing.assert_allclose([low, high], [90 - half, 90 + half], atol=0.4)
  assert statistics.clip_interval(correct) == (low, high)


@pytest.mark.parametrize("right", [0, 20])
def test_the_interval_where_all_clips_are_alike(right):
  """Never of no width: the exact bound for n equal draws is (a/2)^(1/n)."""
  low, high = statistics.clip_interval(make_correct(right, 20))
  bound = 100 * 0.025 ** (1 / 20)
  expected = (bound, 100) if right else (0, 100 - bound)
  np.testing.assert_allclose([low, high], expected)


def test_mcnemar():
  """13 clips against 2: twice the lower tail of 15 fair coins."""
  ours, theirs = np.ones(100, bool), np.ones(100, bool)
  theirs[:13], ours[13:15] = False, False
  found = statistics.compare_clips(ours, theirs)
  assert (found["only_ours"], found["only_theirs"]) == (13, 2)
  assert found["p"] == pytest.approx(2 * (1 + 15 + 105) / 2**15)
  assert found["difference"] == pytest.approx(11)
  low, high = found["interval"]
  assert 3 < low < 11 < high < 20
  other = statistics.compare_clips(theirs, ours)
  assert other["difference"] == -found["difference"]
  assert other["p"] == found["p"]


def test_no_difference_has_no_interval():
  correct = make_correct(5, 10)
  found = statistics.compare_clips(correct, correct)
  assert found["interval"] is None
  assert (found["difference"], found["p"]) == (0, 1)
