# SPDX-License-Identifier: Apache-2.0
"""Evaluates a checkpoint: scores and a summary; every clip counts once."""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sgcl_jax import errors, experiment, input_pipeline, state, steps
from sgcl_jax.dataset import naming
from sgcl_jax.devices import hosts, parallel
from sgcl_jax.evaluation import metrics, provenance
from sgcl_jax.runs import (
  digest,
  embeddings,
  files,
  history,
  record,
  scores,
  shared,
  stop,
  workdir,
)
from sgcl_jax.terminal import output, progress

# Maps the backbone's variables to the scores of the clips, and to their
# embeddings where these are wanted. Calls the optional `between` before each
# batch.
Evaluator = Callable[..., tuple[scores.Scores, embeddings.Embeddings | None]]


def make_eval_step(
  parts: experiment.Experiment, fields: tuple[str, ...] = ("logits",)
) -> Callable[..., dict[str, jax.Array | None]]:
  """Builds the evaluation step, mapped over the devices."""
  return parallel.map_eval_step(
    steps.make_eval_step(parts.model, parts.transform, fields)
  )


def make_evaluator(
  parts: experiment.Experiment,
  clips: input_pipeline.Clips,
  save_embeddings: bool = False,
) -> Evaluator:
  """Builds the function that scores clips with given variables.

  It raises a TrainingError, or a DataError, if a logit is not finite.
  """
  fields = ("logits", "graph", "feature") if save_embeddings else ("logits",)
  step = make_eval_step(parts, fields)
  batch_size = parallel.padded_size(parts.source.eval_batch_size)

  def evaluate(variables, between=lambda: None):
    outputs = []
    variables = parallel.replicate(variables)
    batches = input_pipeline.eval_batches(
      clips, batch_size, parallel.own_rows(batch_size)
    )
    total = -(-len(clips) // batch_size)
    for rows, batch in progress.bar(
      batches, "evaluate", total=total, unit="batches"
    ):
      between()
      out = step(variables, batch)
      outputs.append(_to_numpy(out, len(rows)))
    out = jax.tree.map(lambda *x: np.concatenate(x), *outputs)
    # A model may have more or fewer classes than the data.
    names = np.array(naming.fill(clips.class_names, out["logits"].shape[1]))
    found = scores.Scores(clips.names, clips.labels, out["logits"], names)
    assert len(found.logits) == len(clips), (len(found.logits), len(clips))
    _check_finite(found, clips)
    if not save_embeddings:
      return found, None
    poses = _pick_poses(clips, parts.layout.center)
    return found, embeddings.Embeddings(
      clips.names, out["logits"], out["graph"], poses, out["feature"]
    )

  return evaluate


def run(
  parts: experiment.Experiment,
  directory: str | os.PathLike,
  save_embeddings: bool = False,
) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a run; writes scores and a summary.

  Args:
    parts: Parts of the run.
    directory: Its workdir.
    save_embeddings: Whether to write the graph, the feature and one pose of
      each clip as well.

  Returns:
    The content of `summary.json`. A result on other data than the run's own
    test clips replaces nothing: `provenance.find_place` says where it goes.

  Raises:
    WorkdirError: If the run was trained on other inputs or other classes.
    CheckpointError: If there is no checkpoint, or if it is damaged or of
      another model.
    DataError: If the data set is missing, damaged or of another layout.
    TrainingError: If a logit is not finite; nothing is written then.
    Stopped: After SIGTERM, SIGINT or SIGHUP.
  """
  clips = parts.source.load_test()
  if hosts.count() > 1:
    test = provenance.describe_test(parts, clips)
    shared.check_equal({"config": parts.record, "data": None, "test": test})
  with stop.listen() as flag:
    evaluator = functools.partial(
      make_evaluator(parts, clips, save_embeddings),
      between=lambda: flag.check("stopped; nothing was written"),
    )
    return finish(parts, directory, clips, evaluator)


def finish(
  parts: experiment.Experiment,
  directory: str | os.PathLike,
  clips: input_pipeline.Clips,
  evaluator: Evaluator,
) -> dict[str, Any]:
  """Does the same as `run`, with clips and an evaluator that already exist."""
  with contextlib.closing(shared.Checkpoints(directory)) as checkpoints:
    metadata = checkpoints.metadata()
    hosts.on_first(provenance.check, metadata, parts, clips, directory)
    variables = checkpoints.restore_model(
      state.variable_shapes(parts.model, parts.clip), parts.identity
    )
    metadata = checkpoints.metadata()  # Of the checkpoint that was restored.
  if "partial" in metadata:
    output.notice(
      f"the run stopped after step {metadata['partial']['steps']} of"
      f" epoch {metadata['epoch'] + 1}; this checkpoint is not the end of that"
      " epoch"
    )
  found = evaluator(variables)
  return hosts.on_first(_write, parts, directory, clips, metadata, *found)


def _write(parts, directory, clips, metadata, found, embedded):
  """Writes what an evaluation has found, and returns the summary."""
  test = provenance.describe_test(parts, clips)
  place = provenance.find_place(metadata, parts, test, directory)
  path = scores.find_path(place, parts.record)
  scores.write(path, found)
  scores.write_classes(place / workdir.CLASSES, found)
  if embedded is not None:
    embeddings.write(embeddings.find_path(place, parts.record), embedded)
  _warn_of_one_answer(found)
  summary = {
    **metrics.summarize(found.logits, found.labels),
    "num_clips": len(clips),
    "data": test,
    "scores": os.path.relpath(path, directory),
    "epoch": metadata["epoch"],
    "imported_from": metadata.get("imported_from"),
    "seed": metadata["seed"],
    # None in imported weights and in runs of older versions.
    "seconds": metadata.get("seconds"),
    "revisions": metadata.get("revisions"),
    "best_epoch_on_test": best_on_test(directory, metadata["epoch"]),
    "temperature": metadata.get("temperature"),
    "matmul_precision": parts.record["matmul_precision"],
    "device": parallel.describe_devices(),
    "versions": history.find_versions(),
  }
  summary = digest.seal(summary)
  files.write_json(place / workdir.SUMMARY, summary)
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
  try:
    lines = [
      line
      for line in record.read(directory)
      if line["split"] == "test"
      and line["epoch"] <= num_epochs
      and "top1" in line
    ]
  except errors.WorkdirError as error:
    # The clips are classified already, and need no log.
    output.notice(f"{error}; best_epoch_on_test is left out")
    return None
  if not lines:
    return None
  best = max(lines, key=lambda line: line["top1"])
  return {"epoch": best["epoch"], "top1": best["top1"]}


def _to_numpy(outputs, num_clips):
  """Returns the outputs of a batch as float32, without the padding."""
  convert = lambda x: np.asarray(x, np.float32)[:num_clips]
  return jax.tree.map(convert, outputs)


def _pick_poses(clips, center):
  """Returns [n, V, C] the frame furthest from the first, of the first person.

  It shows the action better than a frame at a fixed time. Frames are compared
  relative to the joints `center`; those without the person do not count.
  """
  poses = np.zeros((len(clips), *clips.skeletons[0].shape[2:]), np.float32)
  for i, clip in enumerate(clips.skeletons):
    clip = clip[:, 0]  # [T, V, C]
    clip = clip[clip.any(axis=(1, 2))]
    if len(clip):
      moved = clip - clip[:, list(center)].mean(axis=1, keepdims=True)
      poses[i] = clip[np.square(moved - moved[0]).sum(axis=(1, 2)).argmax()]
  return poses


def _warn_of_one_answer(found):
  matrix = metrics.confusion(found.logits, found.labels)
  label = metrics.find_dominating(matrix)
  if label is None:
    return
  answers = matrix[:, label].sum() / len(found.labels) * 100
  clips = matrix[label].sum() / len(found.labels) * 100
  output.notice(
    f"{answers:.1f} % of the answers are"
    f" {str(found.class_names[label])!r}, the class of {clips:.1f} % of the"
    " clips; the model hardly separates the classes. More epochs or a lower"
    " --config.optim.base_lr may help"
  )


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
  if not np.isfinite(clips.skeletons[first]).all():
    raise errors.DataError(
      f"{message}: its coordinates are not; prepare the data set again without"
      " it"
    )
  raise errors.TrainingError(
    f"{message}: the weights have diverged, or config.model.dtype is too narrow"
    " for them. A lower --config.optim.base_lr or another dtype may help"
  )
