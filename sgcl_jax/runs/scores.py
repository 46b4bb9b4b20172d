# SPDX-License-Identifier: Apache-2.0
"""The score files of a run: names, labels and logits of the test clips."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

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
  """Reads a score file."""
  with np.load(path) as arrays:
    return Scores(**{name: arrays[name] for name in Scores._fields})


def top_k(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
  """Returns the percentage of clips whose label is among the k best classes.

  Args:
    logits: [n, L].
    labels: [n].
    k: Number of classes; among equal logits, the lower class comes first.
  """
  order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
  return float((order == labels[:, None]).any(axis=1).mean() * 100)
