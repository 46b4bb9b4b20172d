# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests for accuracies: over clips, and over seeds.

All accuracies, differences and intervals are in percent. Intervals cover 95 %.
"""

from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
NUM_RESAMPLES = 2000
# Clips that change hands when resampled; only a fixed seed prints twice alike.
RESAMPLING_SEED = 0


class Interval(NamedTuple):
  """Bounds of a 95 % interval, in percent."""

  low: float
  high: float


def clip_interval(correct: np.ndarray) -> Interval:
  """Returns the interval of an accuracy, with the clips drawn again.

  It is the percentile bootstrap (`scipy.stats.bootstrap`). Where all values are
  equal, every draw is the same: then it is the exact interval of the binomial
  distribution (Clopper and Pearson, 1934).

  Args:
    correct: [n] bool, whether each clip was classified correctly.
  """
  from scipy import stats

  correct = np.asarray(correct, bool)
  if correct.all() or not correct.any():
    exact = stats.binomtest(int(correct.sum()), len(correct))
    bounds = exact.proportion_ci(LEVEL)
    return Interval(100 * float(bounds.low), 100 * float(bounds.high))
  return _bootstrap(correct.astype(float))


def compare_clips(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
  """Compares two classifiers on the same clips.

  Args:
    ours: [n] bool, whether each clip was classified correctly.
    theirs: [n] bool, likewise for the other one.

  Returns:
    `difference` of the accuracies and its bootstrap `interval`, None if the two
    are right on the same clips; `only_ours` and `only_theirs`, the clips that
    one alone got right; `p`, two-sided, of McNemar's exact test on them.
  """
  from scipy import stats

  gain = np.asarray(ours, float) - np.asarray(theirs, float)
  only_ours, only_theirs = int((gain > 0).sum()), int((gain < 0).sum())
  differing = only_ours + only_theirs
  p = stats.binomtest(only_ours, differing).pvalue if differing else 1.0
  return {
    "difference": float(100 * gain.mean()),
    "interval": _bootstrap(gain) if differing else None,
    "only_ours": only_ours,
    "only_theirs": only_theirs,
    "p": float(p),
  }


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
