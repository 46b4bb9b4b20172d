# SPDX-License-Identifier: Apache-2.0
"""Evaluates a checkpoint: scores and a summary; every clip counts once."""

import contextlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import orbax.checkpoint as ocp
import tqdm

from sgcl_jax import errors, experiment, input_pipeline, state, steps
from sgcl_jax.devices import parallel
from sgcl_jax.runs import checkpoint, files, record, scores, workdir

# Maps the backbone's variables to the scores of the clips.
Evaluator = Callable[[dict[str, Any]], scores.Scores]


def make_eval_step(parts: experiment.Experiment) -> Callable[..., jax.Array]:
  """Builds the evaluation step, mapped over the devices."""
  return parallel.map_eval_step(
    steps.make_eval_step(parts.model, parts.transform)
  )


def make_evaluator(
  parts: experiment.Experiment, clips: input_pipeline.Clips
) -> Evaluator:
  """Builds the function that scores clips with given variables.

  It raises a TrainingError, or a DataError, if a logit is not finite.
  """
  step = make_eval_step(parts)
  batch_size = parallel.padded_size(parts.source.eval_batch_size)

  def evaluate(variables):
    logits = []
    batches = input_pipeline.eval_batches(clips, batch_size)
    total = -(-len(clips) // batch_size)
    for rows, batch in tqdm.tqdm(
      batches, "evaluate", total, leave=False, disable=None
    ):
      logits.append(np.asarray(step(variables, batch))[: len(rows)])
    found = scores.Scores(clips.names, clips.labels, np.concatenate(logits))
    assert len(found.logits) == len(clips), (len(found.logits), len(clips))
    _check_finite(found, clips)
    return found

  return evaluate


def run(
  parts: experiment.Experiment, directory: str | os.PathLike
) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a run; writes scores and a summary.

  Args:
    parts: Parts of the run.
    directory: Its workdir.

  Returns:
    The content of `summary.json`.

  Raises:
    WorkdirError: If the run was trained on other inputs or other classes.
    CheckpointError: If there is no checkpoint, or if it is damaged or of
      another model.
    DataError: If the data set is missing, damaged or of another layout.
    TrainingError: If a logit is not finite; nothing is written then.
  """
  clips = parts.source.load_test()
  return finish(parts, directory, clips, make_evaluator(parts, clips))


def finish(
  parts: experiment.Experiment,
  directory: str | os.PathLike,
  clips: input_pipeline.Clips,
  evaluator: Evaluator,
) -> dict[str, Any]:
  """Does the same as `run`, with clips and an evaluator that already exist."""
  with contextlib.closing(checkpoint.Checkpoints(directory)) as checkpoints:
    metadata = checkpoints.metadata()
    if "imported_from" not in metadata:
      workdir.check_evaluation(parts.record, directory)
    variables = checkpoints.restore_model(
      state.variable_shapes(parts.model, parts.clip), parts.identity
    )
  _check_classes(metadata, clips, parts.source.data_dir, directory)
  found = evaluator(variables)
  scores.write(scores.find_path(directory, parts.record), found)
  summary = {
    **found.accuracy(),
    "num_clips": len(clips),
    "epoch": metadata["epoch"],
    "seed": metadata["seed"],
    # None in imported weights and in runs of older versions.
    "seconds": metadata.get("seconds"),
    "revisions": metadata.get("revisions"),
    "best_epoch_on_test": best_on_test(directory, metadata["epoch"]),
    "matmul_precision": parts.record["matmul_precision"],
    "device": parallel.describe_devices(),
    "versions": {
      "jax": jax.__version__,
      "jaxlib": jaxlib.__version__,
      "flax": flax.__version__,
      "orbax-checkpoint": ocp.__version__,
      "numpy": np.__version__,
    },
  }
  files.write_json(pathlib.Path(directory) / workdir.SUMMARY, summary)
  return summary


def best_on_test(
  directory: str | os.PathLike, num_epochs: int
) -> dict[str, float] | None:
  """Returns the epoch with the best test accuracy, None without a record.

  This is extra information, not the result of the run: the epoch is chosen on
  the clips that it is measured on.

  Args:
    directory: Workdir of the run.
    num_epochs: Epochs that the checkpoint has finished.

  Returns:
    `epoch`, from 1 on, and `top1` in percent.
  """
  lines = [
    line
    for line in record.read(directory)
    if line["split"] == "test" and line["epoch"] <= num_epochs
  ]
  if not lines:
    return None
  best = max(lines, key=lambda line: line["top1"])
  return {"epoch": best["epoch"], "top1": best["top1"]}


def _check_finite(found, clips):
  # Ranked, such logits would count as a vote for the first class.
  bad = np.flatnonzero(~np.isfinite(found.logits).all(axis=1))
  if not len(bad):
    return
  first = bad[0]
  message = (
    f"the logits of {len(bad)} of {len(clips)} test clips are not finite, first"
    f" those of {clips.names[first]}"
  )
  frames = clips.frames[clips.offsets[first] : clips.offsets[first + 1]]
  if not np.isfinite(frames).all():
    raise errors.DataError(
      f"{message}: its coordinates are not; prepare the data set again without"
      " it"
    )
  raise errors.TrainingError(
    f"{message}: the weights have diverged, or config.model.dtype is too narrow"
    " for them. A lower config.optim.base_lr or another dtype may help"
  )


def _check_classes(metadata, clips, data_dir, directory):
  # Imported weights and older runs store no class list.
  trained = tuple(metadata.get("classes", clips.class_names))
  if trained != clips.class_names:
    raise errors.WorkdirError(
      f"{directory} was trained on other classes than {data_dir} has:"
      f" {', '.join(trained)}, not {', '.join(clips.class_names)}"
    )
