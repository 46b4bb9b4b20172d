# SPDX-License-Identifier: Apache-2.0
"""Figures of an evaluation, against values by hand and a naive loop."""

import math

import numpy as np
import pytest
import scipy.stats

from sgcl_jax.evaluation import metrics


def test_top_k_by_hand():
  logits = np.array([[3.0, 2, 1], [1, 3, 2], [2, 2, 1], [0, 0, 0]])
  labels = np.array([0, 2, 1, 2])
  assert metrics.top_k(logits, labels, 1) == 25.0
  assert metrics.top_k(logits, labels, 2) == 75.0
  assert metrics.top_k(logits, labels, 5) == 100.0


def test_classes_by_hand():
  """Of class 0 one of two clips is right, of class 2 all; class 1 has none."""
  logits = np.eye(4, 3)[[0, 2, 2]] + np.eye(4, 3)[[0, 2, 2]]
  labels = np.array([0, 0, 2])
  matrix = metrics.confusion(logits, labels)
  assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
  accuracy = metrics.class_accuracy(matrix)
  np.testing.assert_array_equal(accuracy, [50, np.nan, 100])
  found = metrics.summarize(logits, labels)
  assert found["mean_class_accuracy"] == 75.0
  assert found["top1"] == pytest.approx(200 / 3)


@pytest.mark.parametrize("correct, clips", [(0, 9), (449, 464), (7, 7), (1, 2)])
def test_the_interval_is_the_one_of_scipy(correct, clips):
  expected = scipy.stats.binomtest(correct, clips).proportion_ci(
    method="wilson"
  )
  found = metrics.interval(correct, clips)
  assert found == pytest.approx((expected.low * 100, expected.high * 100))
  assert 0 <= found[0] <= correct / clips * 100 <= found[1] <= 100


def naive_calibration_error(logits, labels):
  bins = {}
  for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
    powers = [math.exp(x - max(row)) for x in row]
    confidence = max(powers) / sum(powers)
    for m in range(1, 16):
      if (m - 1) / 15 < confidence <= m / 15:
        correct = row.index(max(row)) == label
        bins.setdefault(m, []).append((confidence, correct))
  error = 0.0
  for members in bins.values():
    confidence = sum(c for c, _ in members) / len(members)
    correct = sum(right for _, right in members) / len(members)
    error += len(members) / len(labels) * abs(correct - confidence)
  return error * 100


@pytest.mark.parametrize("scale", [0.3, 3, 300])
def test_calibration_error_against_a_loop(scale):
  rng = np.random.default_rng(0)
  logits = (rng.normal(size=(200, 6)) * scale).astype(np.float32)
  labels = rng.integers(0, 6, 200)
  labels[:90] = logits[:90].argmax(axis=1)
  expected = naive_calibration_error(logits, labels)
  assert 1 < expected < 60
  assert metrics.calibration_error(logits, labels) == pytest.approx(expected)


def test_equal_logits_are_calibrated_as_chance():
  logits, labels = np.zeros((4, 2)), np.array([0, 1, 0, 1])
  assert metrics.calibration_error(logits, labels) == 0.0


def test_one_answer_for_almost_everything_is_found():
  def find(*rows):
    return metrics.find_dominating(np.array(rows))

  assert find([0, 30], [2, 10]) == 1
  assert find([30, 1], [10, 0]) is None  # Three quarters of the clips have it.
  assert find([9, 91], [0, 0]) == 1
  assert find([10, 90], [0, 0]) is None  # Not over 90 %.
