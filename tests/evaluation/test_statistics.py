# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests of accuracies, against textbook values."""

import math

import numpy as np
import pytest
from scipy import stats

from sgcl_jax.evaluation import statistics


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
  correct = np.arange(10) < 5
  found = statistics.compare_clips(correct, correct)
  assert found["interval"] is None
  assert (found["difference"], found["p"]) == (0, 1)


def test_the_spread_over_seeds():
  """By hand: the variance of 1 to 5 is 2.5, and t is 2.776."""
  found = statistics.summarize_seeds([5, 1, 4, 2, 3])
  assert (found["num"], found["mean"]) == (5, 3)
  assert found["std"] == pytest.approx(math.sqrt(2.5))
  half = 2.7764 * math.sqrt(2.5 / 5)
  assert found["interval"] == pytest.approx((3 - half, 3 + half), abs=1e-3)
  one = statistics.summarize_seeds([90.5])
  assert one == {"num": 1, "mean": 90.5, "std": None, "interval": None}


def test_welch():
  """Welch's formulas, written out."""
  ours, theirs = [90.0, 91.0, 92.0, 95.0], [89.0, 89.5, 90.0]
  found = statistics.compare_seeds(ours, theirs)
  a, b = np.var(ours, ddof=1) / 4, np.var(theirs, ddof=1) / 3
  degrees = (a + b) ** 2 / (a**2 / 3 + b**2 / 2)
  assert found["difference"] == pytest.approx(2.5)
  half = stats.t.ppf(0.975, degrees) * math.sqrt(a + b)
  assert found["interval"] == pytest.approx((2.5 - half, 2.5 + half))
  tail = stats.t.sf(2.5 / math.sqrt(a + b), degrees)
  assert found["p"] == pytest.approx(2 * tail)
  assert found["std"] == pytest.approx(math.sqrt((4 * a + 3 * b) / 2))


def test_welch_with_too_few_seeds():
  found = statistics.compare_seeds([91.0], [90.0, 89.0])
  assert found["difference"] == 1.5
  assert found["interval"] is found["p"] is found["std"] is None
  same = statistics.compare_seeds([91.0, 91.0], [90.0, 90.0])
  assert (same["difference"], same["std"]) == (1, 0)
  assert same["interval"] is same["p"] is None


def test_welch_where_one_method_does_not_vary():
  """The variance is the other's alone: its t interval, moved."""
  found = statistics.compare_seeds([91.0, 91.0, 91.0], [89.0, 90.0])
  low, high = statistics.summarize_seeds([89.0, 90.0])["interval"]
  assert found["interval"] == pytest.approx((91 - high, 91 - low))


@pytest.mark.parametrize(
  ("effect", "num"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17), (20, 2)]
)
def test_the_seeds_that_a_difference_takes(effect, num):
  """Cohen (1988), Tab. 2.4.1: a2 = 0.05, power 0.80."""
  assert statistics.find_num_seeds(1.0, effect) == num
  assert statistics.find_num_seeds(2.0, 2 * effect) == num


def test_a_p_that_is_too_small():
  assert statistics.format_p(0.0314) == "= 0.031"
  assert statistics.format_p(0.0314, 3) == "= 0.0314"
  assert statistics.format_p(0.0) == "< 1e-16"
