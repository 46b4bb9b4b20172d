# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to scores and a summary; every clip counts once."""

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
from ml_collections import ConfigDict

from sgcl_jax import (
  build,
  checkpoint,
  errors,
  input_pipeline,
  metrics,
  parallel,
)
from sgcl_jax import workdir as workdir_lib

SUMMARY = "summary.json"


def make_evaluator(
  config: ConfigDict, clips: input_pipeline.Clips
) -> Callable[[dict[str, Any]], np.ndarray]:
  """Builds a function from the backbone's variables to logits [n, L]."""
  step = build.make_eval_step(config)
  batch_size = parallel.padded_size(config.eval_batch_size)

  def evaluate(variables):
    parts = []
    batches = input_pipeline.eval_batches(clips, batch_size)
    total = -(-len(clips) // batch_size)
    for rows, batch in tqdm.tqdm(
      batches, "evaluate", total, leave=False, disable=None
    ):
      parts.append(np.asarray(step(variables, batch))[: len(rows)])
    logits = np.concatenate(parts)
    assert len(logits) == len(clips), (len(logits), len(clips))
    return logits

  return evaluate


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a run and writes what it found.

  Returns:
    The content of `summary.json`.

  Raises:
    WorkdirError: If the run was trained on inputs of another kind.
    CheckpointError: If there is no checkpoint, or one of another model.
    DataError: If the data set is missing, damaged or of another layout.
  """
  build.resolve(config)
  build.check(config)
  workdir_lib.check_evaluation(config, workdir)
  clips = build.load_clips(config, "test")
  checkpoints = checkpoint.Checkpoints(workdir)
  variables = checkpoints.restore_model(
    build.init_shapes(config), build.model_identity(config)
  )
  metadata = checkpoints.metadata()
  checkpoints.close()
  # Imported weights do not tell, nor do runs that are older than the key.
  trained = tuple(metadata.get("classes", clips.class_names))
  if trained != clips.class_names:
    raise errors.WorkdirError(
      f"{workdir} was trained on other classes than {config.data.dir} has:"
      f" {', '.join(trained)}, not {', '.join(clips.class_names)}"
    )
  logits = make_evaluator(config, clips)(variables)
  _write_scores(config, workdir, clips, logits)
  summary = {
    **accuracy(logits, clips.labels),
    "num_clips": len(clips),
    "epoch": metadata["epoch"],
    "seed": metadata["seed"],
    "best_epoch_on_test": best_on_test(workdir, metadata["epoch"]),
    "matmul_precision": config.matmul_precision,
    "device": parallel.describe_devices(),
    "versions": {
      "jax": jax.__version__,
      "jaxlib": jaxlib.__version__,
      "flax": flax.__version__,
      "orbax-checkpoint": ocp.__version__,
      "numpy": np.__version__,
    },
  }
  workdir_lib.write_json(pathlib.Path(workdir) / SUMMARY, summary)
  return summary


def accuracy(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Returns top1 and top5 in percent."""
  return {
    "top1": metrics.top_k(logits, labels, 1),
    "top5": metrics.top_k(logits, labels, 5),
  }


def best_on_test(
  workdir: str | os.PathLike, num_epochs: int
) -> dict[str, float] | None:
  """Returns the epoch that was best on the test set: an extra, not the result.

  It is chosen on the very clips it is measured on.
  """
  lines = [
    line
    for line in metrics.read(workdir)
    if line["split"] == "test" and line["epoch"] <= num_epochs
  ]
  if not lines:
    return None
  best = max(lines, key=lambda line: line["top1"])
  return {"epoch": best["epoch"], "top1": best["top1"]}


def scores_path(config: ConfigDict, workdir: str | os.PathLike) -> pathlib.Path:
  """Returns where a run's names, labels and logits of the test clips are."""
  name = f"{config.data.split}_{config.data.modality}.npz"
  return pathlib.Path(workdir) / "scores" / name


def _write_scores(config, workdir, clips, logits):
  path = scores_path(config, workdir)
  path.parent.mkdir(exist_ok=True)
  temporary = path.with_suffix(".tmp.npz")
  np.savez(temporary, names=clips.names, labels=clips.labels, logits=logits)
  os.replace(temporary, path)
