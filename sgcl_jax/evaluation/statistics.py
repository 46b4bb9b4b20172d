# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests: differences on the same clips, and spread over seeds.

The interval of a single accuracy is `sgcl_jax/evaluation/metrics.py:interval`.
All accuracies, differences and intervals are in percent. Intervals cover 95 %.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
NUM_RESAMPLES = 2000
SMALLEST_P = 1e-16
# Fixed, so that the same scores give the same interval.
RESAMPLING_SEED = 0


class Interval(NamedTuple):
  """Bounds of a 95 % interval, in percent."""

  low: float
  high: float


def compare_clips(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
  """Compares two classifiers on the same clips.

  Args:
    ours: [n] bool, whether each clip was classified correctly.
    theirs: [n] bool, likewise for the other one.

  Returns:
    What `mcnemar` returns, and the `interval` of the difference with the clips
    drawn again (`scipy.stats.bootstrap`, percentile), None if the two are right
    on the same clips.
  """
  found = mcnemar(ours, theirs)
  differ = found["only_ours"] + found["only_theirs"] > 0
  gain = np.asarray(ours, float) - np.asarray(theirs, float)
  return {**found, "interval": _bootstrap(gain) if differ else None}


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
  """Tests whether two classifiers differ on the same clips (McNemar).

  Args:
    ours: [n] bool, whether each clip was classified correctly.
    theirs: [n] bool, likewise for the other one.

  Returns:
    `difference` of the accuracies; `only_ours` and `only_theirs`, the clips
    that one alone got right; `p` of the exact test on these, two-sided.
  """
  from scipy import stats

  ours, theirs = np.asarray(ours, bool), np.asarray(theirs, bool)
  only_ours, only_theirs = (
    int((ours & ~theirs).sum()),
    int((theirs & ~ours).sum()),
  )
  differing = only_ours + only_theirs
  p = stats.binomtest(only_ours, differing).pvalue if differing else 1.0
  return {
    "difference": 100 * (only_ours - only_theirs) / len(ours),
    "only_ours": only_ours,
    "only_theirs": only_theirs,
    "p": float(p),
  }


def format_p(p: float, digits: int = 2) -> str:
  """Returns `= 0.03`, or `< 1e-16` where it is too small to be exact."""
  return f"= {p:.{digits}g}" if p >= SMALLEST_P else f"< {SMALLEST_P:g}"


def _bootstrap(values):
  from scipy import stats

  found = stats.bootstrap(
    (values,),
    np.mean,
    n_resamples=NUM_RESAMPLES,
    batch=100,  # 50,000 clips take 40 MB, not 800.
    confidence_level=LEVEL,
    method="percentile",
    rng=np.random.default_rng(RESAMPLING_SEED),
  )
  low, high = found.confidence_interval
  return Interval(100 * float(low), 100 * float(high))


def summarize_seeds(values: Sequence[float]) -> dict[str, Any]:
  """Returns the spread of a figure over seeds.

  Args:
    values: One for each seed, in percent.

  Returns:
    `num`, `mean`, sample `std` and the `interval` of the mean (Student's t);
    the last two are None for one seed.
  """
  from scipy import stats

  values = np.asarray(values, float)
  num, mean = len(values), float(values.mean())
  if num == 1:
    return {"num": 1, "mean": mean, "std": None, "interval": None}
  std = float(values.std(ddof=1))
  half = float(stats.t.ppf((1 + LEVEL) / 2, num - 1)) * std / math.sqrt(num)
  interval = Interval(mean - half, mean + half)
  return {"num": num, "mean": mean, "std": std, "interval": interval}


def compare_seeds(
  ours: Sequence[float], theirs: Sequence[float]
) -> dict[str, Any]:
  """Compares two methods by their seeds, with variances of their own (Welch).

  Args:
    ours: One figure for each seed, in percent.
    theirs: Likewise for the other method; the numbers of seeds may differ.

  Returns:
    `difference` of the means, its `interval`, `p` (two-sided), and `std`, the
    root of the mean of the two variances. All but the first are None where a
    method has one seed; `p` and `interval` also where no seed differs.
  """
  from scipy import stats

  ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
  found = {
    "difference": float(ours.mean() - theirs.mean()),
    "interval": None,
    "p": None,
    "std": None,
  }
  if min(len(ours), len(theirs)) < 2:
    return found
  variances = ours.var(ddof=1), theirs.var(ddof=1)
  found["std"] = math.sqrt(sum(variances) / 2)
  if found["std"] > 0:
    with warnings.catch_warnings():
      # Of equal values, whose variance of 0 is exact.
      warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
      test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(LEVEL)
    found["interval"] = Interval(float(low), float(high))
    found["p"] = float(test.pvalue)
  return found


def find_num_seeds(
  std: float, difference: float = 0.5, power: float = 0.8
) -> int:
  """Returns how many seeds of each of two methods would show a difference.

  It is the smallest number for which a two-sided t-test at 5 % finds the
  difference with the given power.

  Args:
    std: Standard deviation over the seeds of one method, above 0, in points.
    difference: Of the methods' means, in points.
    power: Probability to find it.
  """
  from scipy import optimize, stats

  def excess(num):
    degrees, shift = 2 * num - 2, difference / std * math.sqrt(num / 2)
    limit = stats.t.ppf((1 + LEVEL) / 2, degrees)
    missed = stats.nct.cdf(limit, degrees, shift)
    return 1 - missed + stats.nct.cdf(-limit, degrees, shift) - power

  if excess(2) >= 0:
    return 2
  high = 4
  while excess(high) < 0:
    high *= 2
  return math.ceil(optimize.brentq(excess, 2, high))
