# SPDX-License-Identifier: Apache-2.0
"""Figures of classified clips, from logits and labels; NumPy only.

Shares are in percent. The predicted class is the one with the highest logit;
among equal logits, the lower class.
"""

import math

import numpy as np

# Two-sided 95 % quantile of the normal distribution.
QUANTILE = 1.959963984540054
NUM_BINS = 15


def summarize(
  logits: np.ndarray, labels: np.ndarray
) -> dict[str, float | list[float]]:
  """Returns the figures of an evaluation.

  Args:
    logits: [n, L], finite.
    labels: [n], 0-based; n is 1 or more.

  Returns:
    `top1`, `top1_interval` (low, high), `top5`, `mean_class_accuracy` and
    `calibration_error`.
  """
  matrix = confusion(logits, labels)
  return {
    "top1": top_k(logits, labels, 1),
    "top1_interval": list(interval(int(np.trace(matrix)), len(labels))),
    "top5": top_k(logits, labels, 5),
    "mean_class_accuracy": float(np.nanmean(class_accuracy(matrix))),
    "calibration_error": calibration_error(logits, labels),
  }


def top_k(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
  """Returns the share of clips whose label is among the k best classes.

  Args:
    logits: [n, L].
    labels: [n].
    k: Number of classes; among equal logits, the lower class comes first.
  """
  return float(in_top_k(logits, labels, k).mean() * 100)


def in_top_k(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
  """Returns [n] bool, whether each label is among the k best classes."""
  order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
  return (order == labels[:, None]).any(axis=1)


def interval(num_correct: int, num_clips: int) -> tuple[float, float]:
  """Returns the 95 % interval of an accuracy (Wilson, 1927).

  It covers what other clips of the same kind would give, not other seeds.
  """
  share, square = num_correct / num_clips, QUANTILE**2 / num_clips
  center = share + square / 2
  width = QUANTILE * math.sqrt(
    share * (1 - share) / num_clips + square / (4 * num_clips)
  )
  low, high = center - width, center + width
  return max(low / (1 + square), 0.0) * 100, min(high / (1 + square), 1.0) * 100


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns [L, L] numbers of clips: row true class, column predicted class."""
  num_classes = logits.shape[1]
  matrix = np.zeros((num_classes, num_classes), np.int64)
  np.add.at(matrix, (labels, logits.argmax(axis=1)), 1)
  return matrix


def class_accuracy(matrix: np.ndarray) -> np.ndarray:
  """Returns [L] the accuracy of each class, NaN for a class without a clip.

  Args:
    matrix: [L, L], see `confusion`.
  """
  clips = matrix.sum(axis=1)
  accuracy = np.full(len(matrix), np.nan)
  np.divide(np.diag(matrix) * 100.0, clips, out=accuracy, where=clips > 0)
  return accuracy


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the expected calibration error (Guo et al., 2017, Eq. 3).

  Clips are sorted into 15 bins of equal width by the probability of their
  predicted class. The error is the mean over the clips of the difference
  between the accuracy and the mean probability of their bin.
  """
  shifted = logits.astype(np.float64)
  shifted -= shifted.max(axis=1, keepdims=True)
  confidence = 1 / np.exp(shifted).sum(axis=1)  # Of the highest logit.
  correct = logits.argmax(axis=1) == labels
  # Bins are open below and closed above, as in the paper.
  bins = np.ceil(confidence * NUM_BINS).astype(int) - 1
  gap = np.bincount(bins, correct - confidence, NUM_BINS)
  return float(np.abs(gap).sum() / len(labels) * 100)


def find_dominating(matrix: np.ndarray) -> int | None:
  """Returns a class with over 90 % of the answers and under half of the clips.

  Such a model has learned to give one answer; None without such a class.

  Args:
    matrix: [L, L], see `confusion`.
  """
  answers, clips = matrix.sum(axis=0), matrix.sum(axis=1)
  label, total = int(answers.argmax()), matrix.sum()
  dominates = answers[label] > 0.9 * total and clips[label] < 0.5 * total
  return label if dominates else None
