# SPDX-License-Identifier: Apache-2.0
"""The score files of a run: names, labels and logits of the test clips."""

import csv
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from sgcl_jax import errors
from sgcl_jax.evaluation import metrics
from sgcl_jax.runs import files

REQUIRED = ("names", "labels", "logits")


class Scores(NamedTuple):
  """Scores of the n clips of a split, L classes.

  Attributes:
    names: [n] clip names.
    labels: [n] int32, 0-based.
    logits: [n, L] float32, raw.
    class_names: [L] in label order; None in files without them.
  """

  names: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  class_names: np.ndarray | None = None

  def accuracy(self) -> dict[str, float]:
    """Returns `top1` and `top5` in percent."""
    return {
      f"top{k}": metrics.top_k(self.logits, self.labels, k) for k in (1, 5)
    }

  def interval(self) -> tuple[float, float]:
    """Returns the 95 % interval of `top1`, see `metrics.interval`."""
    return metrics.interval(int(self.correct().sum()), len(self.names))

  def correct(self) -> np.ndarray:
    """Returns [n] bool, whether the best class of each clip is its label."""
    return metrics.in_top_k(self.logits, self.labels, 1)


def find_path(
  workdir: str | os.PathLike, record: dict[str, Any]
) -> pathlib.Path:
  """Returns the path of a run's score file.

  Args:
    workdir: Directory of the run.
    record: Config of the run.
  """
  data = record["data"]
  name = f"{data['split']}_{data['modality']}.npz"
  return pathlib.Path(workdir) / "scores" / name


def write(path: pathlib.Path, scores: Scores) -> None:
  """Writes a score file whole or not at all."""
  arrays = {k: v for k, v in scores._asdict().items() if v is not None}
  with files.replacing(path) as partial:
    np.savez(partial, **arrays)


def write_classes(path: pathlib.Path, scores: Scores) -> None:
  """Writes accuracies and the confusion matrix of the classes as a table.

  A row is a true class. `accuracy` is in percent, empty without clips. The
  columns after it are the predicted classes, in numbers of clips.
  """
  matrix = metrics.confusion(scores.logits, scores.labels)
  accuracy = metrics.class_accuracy(matrix)
  with (
    files.replacing(path) as partial,
    open(partial, "w", newline="", encoding="utf-8") as file,
  ):
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["class", "clips", "accuracy", *scores.class_names])
    for name, row, share in zip(
      scores.class_names, matrix, accuracy, strict=True
    ):
      share = "" if np.isnan(share) else f"{share:.2f}"
      table.writerow([name, row.sum(), share, *row])


def read(path: str | os.PathLike) -> Scores:
  """Reads a score file.

  Raises:
    DataError: If it is missing or damaged, if its arrays do not fit together,
      or if a logit is not finite; names the clip.
  """
  try:
    with files.open_arrays(path) as arrays:
      # Other sources of scores have no names of the classes.
      class_names = arrays.get("class_names")
      found = Scores(*(arrays[name] for name in REQUIRED), class_names)
  except FileNotFoundError as error:
    raise errors.DataError(f"there is no score file {path}") from error
  except KeyError as error:
    raise errors.DataError(
      f"{path} is not a score file: it has no array {error.args[0].split()[0]},"
      f" but it needs {', '.join(REQUIRED)}"
    ) from error
  except files.DAMAGED_ARRAYS as error:
    raise errors.DataError(
      f"{path} is damaged or not a score file (.npz): {error}"
    ) from error
  _check(found, path)
  return found


def _check(found, path):
  names, labels, logits = found.names, found.labels, found.logits
  n = len(np.atleast_1d(names))
  if names.shape != (n,) or labels.shape != (n,) or logits.shape[:1] != (n,):
    raise errors.DataError(
      f"{path}: names {names.shape}, labels {labels.shape} and logits"
      f" {logits.shape} are not those of the same clips, [n], [n] and [n, L]"
    )
  if not n or logits.ndim != 2:
    raise errors.DataError(f"{path}: logits {logits.shape} are not [n, L]")
  classes = found.class_names
  if classes is not None and classes.shape != logits.shape[1:]:
    raise errors.DataError(
      f"{path}: class_names {classes.shape} are not those of logits"
      f" {logits.shape}"
    )
  distinct, counts = np.unique(names, return_counts=True)
  if len(distinct) < n:
    raise errors.DataError(
      f"{path} has the clip {distinct[counts > 1][0]} more than once"
    )
  wrong = ~np.isfinite(logits).all(axis=1)
  if wrong.any():
    raise errors.DataError(
      f"{path}: the logits of {wrong.sum()} of {n} clips are not finite, first"
      f" those of {names[wrong][0]}; evaluate that run again"
    )
  wrong = (labels < 0) | (labels >= logits.shape[1])
  if wrong.any():
    raise errors.DataError(
      f"{path}: the label {labels[wrong][0]} of the clip {names[wrong][0]} is"
      f" none of the {logits.shape[1]} classes"
    )


def join(first: Scores, other: Scores, paths: tuple[str, str]) -> Scores:
  """Returns the other scores in the order of the first ones' clips.

  Args:
    first: Scores of a split.
    other: Scores of the same clips in any order.
    paths: Their files, for messages.

  Raises:
    DataError: If clips, labels or the number of classes differ; names the
      first difference.
  """
  order = {name: i for i, name in enumerate(other.names)}
  missing = [name for name in first.names if name not in order]
  extra = sorted(order.keys() - set(first.names))
  if missing or extra:
    name, has, lacks = (
      (missing[0], *paths) if missing else (extra[0], *reversed(paths))
    )
    raise errors.DataError(
      f"{paths[0]} and {paths[1]} hold other clips: {name} is in {has} and not"
      f" in {lacks}; {len(missing) + len(extra)} clips differ in all"
    )
  classes = first.logits.shape[1], other.logits.shape[1]
  if classes[0] != classes[1]:
    raise errors.DataError(
      f"{paths[0]} has {classes[0]} classes, {paths[1]} has {classes[1]}"
    )
  rows = [order[name] for name in first.names]
  joined = other._replace(
    names=other.names[rows],
    labels=other.labels[rows],
    logits=other.logits[rows],
  )
  wrong = np.flatnonzero(joined.labels != first.labels)
  if len(wrong):
    i = wrong[0]
    raise errors.DataError(
      f"the label of {first.names[i]} is {first.labels[i]} in {paths[0]} and"
      f" {joined.labels[i]} in {paths[1]}; {len(wrong)} labels differ in all"
    )
  return joined


def check_other(first: Scores, other: Scores, paths: tuple[str, str]) -> None:
  """Refuses scores that equal others: a file named twice, or a copy of it.

  Args:
    first: Scores.
    other: Scores of the same clips, in the same order.
    paths: Their files, for messages.

  Raises:
    DataError: If all logits are equal.
  """
  if not np.array_equal(first.logits, other.logits):
    return
  what = "is given twice"
  if paths[0] != paths[1]:
    what = f"holds the same scores as {paths[0]}"
  raise errors.DataError(f"{paths[1]} {what}: name another one")
