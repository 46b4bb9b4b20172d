# SPDX-License-Identifier: Apache-2.0
"""Writes an imported model as a run that evaluation reads."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import errors, experiment, state
from sgcl_jax.import_torch import reader, translation
from sgcl_jax.runs import checkpoint, whole
from sgcl_jax.settings import config_file
from sgcl_jax.terminal import wording

# (layout, classes) -> name of the data set in the names of its configs.
DATA_SETS = {
  ("ucla", 10): "ucla",
  ("ntu", 60): "ntu60",
  ("ntu", 120): "ntu120",
}


def run(
  backbone: str,
  path: str | os.PathLike,
  out: str | os.PathLike,
  config: ConfigDict | None = None,
) -> None:
  """Converts a file of weights into a run: a checkpoint and a config.json.

  Args:
    backbone: `ctrgcn`, `agcn` or `infogcn`.
    path: File of weights.
    out: Workdir to write, new or empty.
    config: Config for the evaluation. By default the shipped config of the
      backbone on the data set with these classes and joints, with its first
      split and the joint stream.

  Raises:
    CheckpointError: If the file cannot be read or is not of this backbone, or
      if `out` is not empty.
    ConfigError: If the config is of another model.
  """
  whole.check_empty(out)
  variables, model, x = translation.translate(backbone, reader.read(path))
  identity = {
    "backbone": backbone,
    "num_classes": model.num_classes,
    "skeleton": model.skeleton.name,
    "num_persons": model.num_persons,
  }
  parts = experiment.make(config or _find_config(identity))
  _check_identity(parts, identity, path)
  # The file stores nothing about InfoGCN's input.
  identity |= {"model.k": checkpoint.ANY, "model.edges": checkpoint.ANY}
  imported = state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params={"backbone": _to_single(variables["params"])},
    batch_stats=_to_single(variables["batch_stats"]),
    # The reference does not save its prior, so a new one is drawn.
    constants=model.lazy_init(jax.random.key(0), x).get("constants", {}),
    opt_state=None,
    memory=None,
  )
  metadata = {"model": identity, "epoch": 0, "seed": None}
  metadata["imported_from"] = str(path)
  whole.write(out, parts.record, imported, metadata)
  data = parts.record["data"]
  print(
    f"{backbone} for {wording.count(model.num_classes, 'class')},"
    f" {model.skeleton.name} joints,"
    f" {wording.count(model.num_persons, 'person')}: {out}\n"
    f"evaluated on {data['dir']}, split {data['split']}, modality"
    f" {data['modality']}, unless --config says otherwise\n"
    "next: "
    + wording.command_line(
      "sgcl_jax.main", "--mode=evaluate", "--workdir", str(out)
    )
  )


def _find_config(identity):
  """Returns the shipped config of a model."""
  data_set = identity["skeleton"], identity["num_classes"]
  name = f"{identity['backbone']}_{DATA_SETS.get(data_set, 'custom')}"
  config = config_file.load(name)
  config.update(identity)
  return config


def _check_identity(parts, identity, path):
  for key, value in identity.items():
    if parts.identity[key] != value:
      raise errors.ConfigError(
        f"config.{key}={parts.identity[key]!r}, but {path} has {value!r}"
      )


def _to_single(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)
