# SPDX-License-Identifier: Apache-2.0
"""The score files of a run: names, labels and logits of the test clips."""

import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from sgcl_jax import errors
from sgcl_jax.runs import files


class Scores(NamedTuple):
  """Scores of the n clips of a split, L classes.

  Attributes:
    names: [n] clip names.
    labels: [n] int32, 0-based.
    logits: [n, L] float32, raw.
  """

  names: np.ndarray
  labels: np.ndarray
  logits: np.ndarray

  def accuracy(self) -> dict[str, float]:
    """Returns `top1` and `top5` in percent."""
    return {f"top{k}": top_k(self.logits, self.labels, k) for k in (1, 5)}

  def correct(self) -> np.ndarray:
    """Returns [n] bool, whether the best class of each clip is its label."""
    return in_top_k(self.logits, self.labels, 1)


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
  with files.replacing(path) as partial:
    np.savez(partial, **scores._asdict())


def read(path: str | os.PathLike) -> Scores:
  """Reads a score file.

  Raises:
    DataError: If it is missing or damaged, if its arrays do not fit together,
      or if a logit is not finite; names the clip.
  """
  try:
    # np.load leaves a damaged file open.
    with pathlib.Path(path).open("rb") as file, np.load(file) as arrays:
      found = Scores(**{name: arrays[name] for name in Scores._fields})
  except FileNotFoundError as error:
    raise errors.DataError(f"there is no score file {path}") from error
  except KeyError as error:
    raise errors.DataError(
      f"{path} is not a score file: it has no array {error.args[0].split()[0]},"
      f" but it needs {', '.join(Scores._fields)}"
    ) from error
  except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
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


def top_k(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
  """Returns the percentage of clips whose label is among the k best classes.

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
