# SPDX-License-Identifier: Apache-2.0
"""What a report reads of a run; evaluates it first if something is missing."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import errors, skeletons
from sgcl_jax.evaluation import metrics
from sgcl_jax.runs import embeddings, record, scores, workdir
from sgcl_jax.terminal import wording


class Run(NamedTuple):
  """A run with n evaluated clips of L classes.

  Attributes:
    directory: Its workdir.
    config: Its config.
    summary: Content of `summary.json`.
    lines: Lines of `metrics.jsonl`.
    scores: Its scores.
    class_names: [L] names.
    embeddings: Its embeddings, in the order of the scores.
    layout: Joint layout.
  """

  directory: pathlib.Path
  config: dict[str, Any]
  summary: dict[str, Any]
  lines: list[dict[str, Any]]
  scores: scores.Scores
  class_names: list[str]
  embeddings: embeddings.Embeddings
  layout: skeletons.Skeleton

  def confusion(self) -> np.ndarray:
    """Returns [L, L], see `metrics.confusion`."""
    return metrics.confusion(self.scores.logits, self.scores.labels)


def load(directory: str | os.PathLike, data_dir: str | None = None) -> Run:
  """Reads a run. Evaluates it if its embeddings are missing or out of date.

  Args:
    directory: Its workdir.
    data_dir: Directory of the data set, if it is not where it was.

  Raises:
    UserError: If there is no run, or if it has to be evaluated and cannot be.
  """
  config = workdir.read_config(directory)
  lines = record.read(directory)
  found = _read(directory, config, lines)
  if found is None:
    _evaluate(directory, config, data_dir)
    found = _read(directory, config, [])
  summary, scored, embedded = found
  return Run(
    directory=pathlib.Path(directory),
    config=config,
    summary=summary,
    lines=[line for line in lines if line["epoch"] <= summary["epoch"]],
    scores=scored,
    class_names=[str(name) for name in scored.class_names],
    embeddings=embedded,
    layout=skeletons.get(config["skeleton"]),
  )


def check_comparable(ours: Run, theirs: Run) -> None:
  """Refuses to compare a run with itself, or with one of other clips.

  Raises:
    DataError: If the scores are equal, or those of other clips.
  """
  paths = tuple(
    str(scores.find_path(run.directory, run.config)) for run in (ours, theirs)
  )
  joined = scores.join(ours.scores, theirs.scores, paths)
  scores.check_other(ours.scores, joined, paths)
  if list(joined.names) != list(theirs.scores.names):
    raise errors.DataError(f"{paths[1]} is not in the order of {paths[0]}")


def _read(directory, config, lines):
  """Returns summary, scores and embeddings that fit; None if some do not."""
  path = scores.find_path(directory, config)
  kept = embeddings.find_path(directory, config)
  summary = pathlib.Path(directory) / workdir.SUMMARY
  if not (path.exists() and kept.exists() and summary.exists()):
    return None
  content = workdir.read_summary(directory)
  if any(line["epoch"] > content["epoch"] for line in lines):
    return None
  scored, embedded = scores.read(path), embeddings.read(kept)
  same = np.array_equal(scored.names, embedded.names) and np.array_equal(
    scored.logits, embedded.logits
  )
  if not same or scored.class_names is None or "top1_interval" not in content:
    return None
  return content, scored, embedded


def _evaluate(directory, config, data_dir):
  # JAX is imported late: a run that keeps its embeddings does not need it.
  from sgcl_jax import evaluate, experiment

  print(f"evaluating {directory} for its graphs", flush=True)
  config = ConfigDict(config)
  if data_dir is not None:
    config.data.dir = str(data_dir)
  try:
    experiment.prepare(config)
  except errors.ConfigError as error:  # A config of an older version.
    line = wording.command_line(
      *("sgcl_jax.main", "--mode=evaluate", "--save_embeddings"),
      *("--workdir", str(directory), "--config", "FILE"),
    )
    raise errors.ConfigError(f"{error}: {line}") from error
  # The data set's own message names fields, which the report does not take.
  if not pathlib.Path(config.data.dir).is_dir():
    raise errors.DataError(
      f"no data set in {config.data.dir}, on which {directory} is evaluated for"
      " its graphs: name its directory with --data"
    )
  parts = experiment.make(config)
  summary = evaluate.run(parts, directory, save_embeddings=True)
  own = pathlib.Path(directory, summary["scores"])
  if own != scores.find_path(directory, parts.record):
    raise errors.DataError(
      f"{parts.source.data_dir} does not hold the test clips of {directory}"
    )
