# SPDX-License-Identifier: Apache-2.0
"""The shipped model as one file of arrays in half precision, and back.

`pack` wrote the file from a finished run:

python -c "from sgcl_jax.pretrained import store; store.pack(DIR, CONFIG)"
"""

import contextlib
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgcl_jax import experiment, state
from sgcl_jax.runs import checkpoint, files, whole, workdir
from sgcl_jax.settings import config_file

MODEL = pathlib.Path(__file__).with_name("ctrgcn_ucla_joint.npz")
ABOUT = "about"
# What the file keeps of the metadata of the checkpoint.
KEPT = ("model", "seed", "epoch", "temperature", "data", "test", "inputs")
KEPT += ("prepared", "classes")


def pack(
  directory: str | os.PathLike,
  config: str,
  path: str | os.PathLike = MODEL,
) -> None:
  """Writes the newest checkpoint of a run as one file.

  Args:
    directory: Workdir of the run.
    config: What its `--config` was, `FILE[:options]`, without other overrides
      than the seed.
    path: File to write.

  Raises:
    WorkdirError: If the run is not finished, or if its summary is damaged.
  """
  summary = workdir.require_summary(directory)
  parts = experiment.make(config_file.load(config))
  shapes = state.variable_shapes(parts.model, parts.clip)
  with contextlib.closing(checkpoint.Checkpoints(directory)) as checkpoints:
    metadata = checkpoints.metadata()
    variables = checkpoints.restore_model(shapes, parts.identity)
  about = {
    "config": config,
    "seed": summary["seed"],
    "epoch": summary["epoch"],
    "top1": summary["top1"],
    "num_clips": summary["num_clips"],
    "device": summary["device"],
    "metadata": {
      "revisions": summary["revisions"],
      **{key: metadata[key] for key in KEPT},
    },
  }
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  arrays = {
    jax.tree_util.keystr(key, simple=True, separator="/"): np.asarray(x)
    for key, x in leaves
  }
  with files.replacing(path) as partial:
    np.savez_compressed(
      partial,
      **{ABOUT: np.array(json.dumps(about))},
      **{name: x.astype(np.float16) for name, x in arrays.items()},
    )


def unpack(
  directory: str | os.PathLike, path: str | os.PathLike = MODEL
) -> dict[str, Any]:
  """Writes the model of a file as a run.

  Args:
    directory: Workdir to write, new or empty.
    path: File that `pack` wrote.

  Returns:
    How the model was trained: `config`, `seed`, `epoch`, `top1` in percent of
    `num_clips` before the weights were rounded, `device`, `metadata`.

  Raises:
    CheckpointError: If the directory is not empty.
  """
  whole.check_empty(directory)
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  about = json.loads(str(arrays.pop(ABOUT)))
  config = config_file.load(about["config"])
  config.seed = about["seed"]
  parts = experiment.make(config)
  shapes = state.variable_shapes(parts.model, parts.clip)

  def read(key, like):
    name = jax.tree_util.keystr(key, simple=True, separator="/")
    return arrays[name].astype(like.dtype).reshape(like.shape)

  variables = jax.tree_util.tree_map_with_path(read, shapes)
  current = state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params={"backbone": variables.pop("params")},
    opt_state=None,
    memory=None,
    **variables,
  )
  metadata = {**about["metadata"], "imported_from": pathlib.Path(path).name}
  whole.write(directory, parts.record, current, metadata)
  return about
