# SPDX-License-Identifier: Apache-2.0
"""The numbers of a report, from the arrays that an evaluation keeps.

NumPy only. Shares are in percent; the classes are 0-based labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sgcl_jax.evaluation import metrics

# Upper ends of the ranks that the paper's Tab. 10 puts together.
RANK_ENDS = (1, 5, 10, 20, 40, 60)


class Pair(NamedTuple):
  """Clips of one class that were taken for another.

  Attributes:
    label: Their class.
    predicted: The class that they were taken for.
    clips: Their number.
    share: Percent of the clips of `label`.
  """

  label: int
  predicted: int
  clips: int
  share: float


class Change(NamedTuple):
  """Accuracies of a class, in percent; `baseline` is None without one."""

  label: int
  clips: int
  accuracy: float
  baseline: float | None

  @property
  def gain(self) -> float | None:
    """Points that the run is ahead of the baseline."""
    return None if self.baseline is None else self.accuracy - self.baseline


def embed(graphs: np.ndarray) -> np.ndarray:
  """Returns [n, V * V] graph embeddings: the mean over the sub-graphs.

  They are not normalised (App. 6.4).

  Args:
    graphs: [n, S, V, V].
  """
  return graphs.mean(axis=1, dtype=np.float64).reshape(len(graphs), -1)


def distances(
  embeddings: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
  """Returns [n, L] squared distances to the centroid of each class (Eq. 9).

  Classes without a clip have no centroid: their column is NaN.

  Args:
    embeddings: [n, D], see `embed`.
    labels: [n] true classes.
    num_classes: L.
  """
  found = np.full((len(embeddings), num_classes), np.nan)
  for label in np.unique(labels):
    centroid = embeddings[labels == label].mean(axis=0)
    found[:, label] = np.square(embeddings - centroid).sum(axis=1)
  return found


def mean_distances(
  squared: np.ndarray, labels: np.ndarray, predicted: np.ndarray
) -> dict[str, dict[str, float | None]]:
  """Returns the means of Eqs. 10 to 12 over right and wrong clips (Tab. 9).

  Args:
    squared: [n, L], see `distances`.
    labels: [n] true classes.
    predicted: [n] predicted classes.

  Returns:
    For `incorrect` and `correct` clips their number `clips`, the squared
    distances `d_all`, `d_cor` and `d_mis`, and `root_all`, `root_cor` and
    `root_mis`, where each distance is replaced by its root before the means.
    None where nothing counts: correct clips have no misclassified class.
  """
  clips = np.arange(len(labels))
  wrong = predicted != labels
  found = {}
  for name, chosen in (("incorrect", wrong), ("correct", ~wrong)):
    row = {"clips": int(chosen.sum())}
    for kind, values in (("d", squared), ("root", np.sqrt(squared))):
      parts = {
        "all": np.nanmean(values, axis=1),
        "cor": values[clips, labels],
        "mis": np.where(wrong, values[clips, predicted], np.nan),
      }
      for ending, part in parts.items():
        # A class that no clip has can be predicted; it has no centroid.
        part = part[chosen & np.isfinite(part)]
        mean = float(part.mean()) if len(part) else None
        row[f"{kind}_{ending}"] = mean
    found[name] = row
  return found


def rank(squared: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns [n] the rank of the true class by graph distance, from 1 on.

  Among equal distances, the lower class comes first. Classes without a
  centroid have no rank.

  Args:
    squared: [n, L], see `distances`.
    labels: [n] true classes.
  """
  own = squared[np.arange(len(labels)), labels][:, None]
  lower = np.arange(squared.shape[1]) < labels[:, None]
  before = (squared < own) | (lower & (squared == own))
  return before.sum(axis=1) + 1


def accuracy_by_rank(
  ranks: np.ndarray, correct: np.ndarray, num_classes: int
) -> list[dict[str, Any]]:
  """Returns the accuracy of the clips of each group of ranks (Tab. 10).

  Args:
    ranks: [n], see `rank`.
    correct: [n] bool.
    num_classes: L; the groups end with it.

  Returns:
    A dict for each group: `first` and `last` rank, `clips`, and `accuracy`,
    None without clips.
  """
  ends = [end for end in RANK_ENDS if end < num_classes] + [num_classes]
  rows = []
  for first, last in zip([1, *(end + 1 for end in ends)], ends, strict=False):
    chosen = (ranks >= first) & (ranks <= last)
    accuracy = float(correct[chosen].mean() * 100) if chosen.any() else None
    rows.append(
      {
        "first": first,
        "last": last,
        "clips": int(chosen.sum()),
        "accuracy": accuracy,
      }
    )
  return rows


def compare_classes(
  matrix: np.ndarray, baseline: np.ndarray | None = None
) -> list[Change]:
  """Returns the accuracies of all classes with clips, in label order.

  Args:
    matrix: [L, L] confusion matrix of the run.
    baseline: [L, L] that of another run on the same clips.
  """
  clips, ours = matrix.sum(axis=1), metrics.class_accuracy(matrix)
  theirs = metrics.class_accuracy(matrix if baseline is None else baseline)
  return [
    Change(
      label,
      int(clips[label]),
      float(ours[label]),
      None if baseline is None else float(theirs[label]),
    )
    for label in np.flatnonzero(clips).tolist()
  ]


def hardest(changes: Sequence[Change], num: int = 10) -> list[Change]:
  """Returns the classes of the lowest accuracy, the hardest first (Tab. 21).

  As in the paper, it is the baseline's accuracy where there is a baseline.
  """

  def difficulty(change):
    known = change.accuracy if change.baseline is None else change.baseline
    return known, change.label

  return sorted(changes, key=difficulty)[:num]


def most_improved(changes: Sequence[Change], num: int = 10) -> list[Change]:
  """Returns the classes of the largest gain, the largest first (Tab. 22)."""
  gained = [change for change in changes if change.gain > 0]
  return sorted(gained, key=lambda change: (-change.gain, change.label))[:num]


def confused_pairs(matrix: np.ndarray, num: int = 10) -> list[Pair]:
  """Returns the pairs of classes that are confused most often.

  Args:
    matrix: [L, L] confusion matrix.
    num: Number of pairs.
  """
  pairs = [
    Pair(
      int(label),
      int(predicted),
      int(matrix[label, predicted]),
      float(matrix[label, predicted] / matrix[label].sum() * 100),
    )
    for label, predicted in np.argwhere(matrix)
    if label != predicted
  ]
  return sorted(pairs, key=lambda pair: (-pair.clips, -pair.share))[:num]


def choose_clips(
  logits: np.ndarray, labels: np.ndarray, pair: tuple[int, int], num: int = 3
) -> list[tuple[str, np.ndarray]]:
  """Chooses the clips whose graphs show a confusion (Fig. 1).

  Args:
    logits: [n, L].
    labels: [n] true classes.
    pair: The true class, and the class that its clips were taken for.
    num: Clips of each group.

  Returns:
    (`correct`, rows of the true class that are right), (`other`, rows of the
    other class that are right) and (`mistaken`, rows of the true class that
    were taken for the other). In each group the most certain clips come first.
  """
  shifted = logits - logits.max(axis=1, keepdims=True)
  certainty = 1 / np.exp(shifted.astype(np.float64)).sum(axis=1)
  predicted = logits.argmax(axis=1)
  label, other = pair
  groups = {
    "correct": (label, label),
    "other": (other, other),
    "mistaken": (label, other),
  }
  chosen = []
  for name, (true, answer) in groups.items():
    rows = np.flatnonzero((labels == true) & (predicted == answer))
    order = np.argsort(-certainty[rows], kind="stable")[:num]
    chosen.append((name, rows[order]))
  return chosen


def curves(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, list]]:
  """Returns the values of each epoch from the lines of `metrics.jsonl`.

  Returns:
    For `train`, means over the steps, and `test`: `epoch`, and a list for each
    name, None in epochs without it. A step without active anchors logs 0 as
    their similarities: it has none.
  """
  found = {}
  for split in ("train", "test"):
    values = {}  # name -> epoch -> values of the steps.
    for line in lines:
      if line["split"] == split:
        for name, value in line.items():
          if name.endswith("_similarity") and line.get("active_anchors") == 0:
            continue
          by_epoch = values.setdefault(name, {})
          by_epoch.setdefault(line["epoch"], []).append(value)
    epochs = sorted(values.get("epoch", {}))
    found[split] = {"epoch": epochs} | {
      name: [
        float(np.mean(of[epoch])) if epoch in of else None for epoch in epochs
      ]
      for name, of in values.items()
      if name not in ("step", "epoch", "split")
    }
  return found
