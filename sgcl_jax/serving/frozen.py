# SPDX-License-Identifier: Apache-2.0
"""A trained model with all that it needs to answer: `predict` and `export`."""

import argparse
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from sgcl_jax import command, errors, experiment, input_pipeline, models, state
from sgcl_jax.dataset import naming
from sgcl_jax.runs import checkpoint, workdir
from sgcl_jax.terminal import output


@dataclasses.dataclass(frozen=True)
class Frozen:
  """A trained model.

  Attributes:
    parts: Parts of its run.
    variables: Variables of the backbone.
    class_names: [L] in label order.
    prepared: How its clips were prepared: the metadata of the data set, such
      as `aligned` and `lone_person`.
  """

  parts: experiment.Experiment
  variables: dict[str, Any]
  class_names: tuple[str, ...]
  prepared: dict[str, Any]

  def make_classifier(self) -> Callable[[dict[str, Any], jax.Array], jax.Array]:
    """Returns f(variables, x [N, M, T, V, C]) -> logits [N, L]."""
    return lambda variables, x: (
      models.apply_eval(self.parts.model, variables, x).logits
    )


def open(args: argparse.Namespace, batch_size: int) -> Frozen:
  """Configures JAX, and loads the model that a command line names.

  Args:
    args: Has the attributes of `model_options.add`.
    batch_size: Clips of a batch.

  Raises:
    Those of `load`, `experiment.open` and `experiment.make`.
  """
  config = command.find_config(args)
  if config is None:
    config = ConfigDict(workdir.read_config(args.checkpoint))
  experiment.prepare(config, batch_size)
  return load(experiment.make(config), args.checkpoint, args.class_names)


def load(
  parts: experiment.Experiment,
  directory: str | os.PathLike,
  names: pathlib.Path | None = None,
) -> Frozen:
  """Loads the newest checkpoint of a run.

  What the checkpoint does not store is read from the data set of the run.
  Imported weights and older runs store neither class names nor how the clips
  were prepared. Without the data set, the classes get numbers, and the clips
  are taken to be prepared as the converters do by default; a notice says so.

  Args:
    parts: Parts of the run.
    directory: Its workdir.
    names: Text file with the name of one class per line, in label order, to
      use instead.

  Raises:
    CheckpointError: If there is no checkpoint, or if it is damaged or of
      another model.
    DataError: If `names` cannot be used, or has another number of classes.
  """
  with contextlib.closing(checkpoint.Checkpoints(directory)) as checkpoints:
    metadata = checkpoints.metadata()
    variables = checkpoints.restore_model(
      state.variable_shapes(parts.model, parts.clip), parts.identity
    )
  classes, prepared = metadata.get("classes"), metadata.get("prepared")
  if classes is None or prepared is None:
    found = _find_data(parts.source.data_dir)
    if found is None:
      output.notice(
        f"{directory} does not store how its clips were prepared, and"
        f" {parts.source.data_dir} is no data set to read it from: the default"
        " of the converter is assumed"
      )
    found_classes, found_prepared = found or (None, None)
    classes = classes or found_classes
    prepared = prepared or found_prepared
  return Frozen(
    parts,
    variables,
    _name_classes(names, classes, parts.source.num_classes),
    prepared or _guess_preparation(parts),
  )


def _guess_preparation(parts):
  """Returns what the converters do by default."""
  is_ntu120 = (parts.layout.name, parts.source.num_classes) == ("ntu", 120)
  return {
    "aligned": parts.source.require_aligned,
    "lone_person": "repeat" if is_ntu120 else "zeros",
  }


def _find_data(data_dir):
  """Returns the classes and the metadata of a data set, None without one."""
  if not (pathlib.Path(data_dir) / "dataset_info.json").exists():
    return None
  return input_pipeline.read_info(data_dir)


def _name_classes(path, classes, num_classes):
  if path is not None:
    classes = naming.read(path)
    if len(classes) != num_classes:
      raise errors.DataError(
        f"{path} names {len(classes)} classes, the model has {num_classes}; it"
        " needs one line for each, in label order"
      )
  if classes is None:
    output.notice(
      "the names of the classes are not known; --class_names FILE sets"
      " them, one per line in label order"
    )
    classes = []
  return tuple(naming.fill(classes, num_classes))
