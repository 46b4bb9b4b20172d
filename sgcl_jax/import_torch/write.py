# SPDX-License-Identifier: Apache-2.0
"""Writes the checkpoint of an imported model."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from sgcl_jax import checkpoint, errors
from sgcl_jax import state as state_lib
from sgcl_jax.import_torch import reader, translation


def run(backbone: str, path: str | os.PathLike, out: str | os.PathLike) -> None:
  """Converts a file into a checkpoint in `out`.

  Raises:
    CheckpointError: If the file cannot be read or is not of this backbone, or
      if `out` is not empty.
  """
  out = pathlib.Path(out)
  if out.exists() and any(out.iterdir()):
    raise errors.CheckpointError(f"{out} is not empty; choose another --out")
  variables, model, x = translation.translate(backbone, reader.read(path))
  # The reference does not save its prior: draw a new one.
  constants = model.lazy_init(jax.random.key(0), x).get("constants", {})
  identity = {
    "backbone": backbone,
    "num_classes": model.num_classes,
    "skeleton": model.skeleton.name,
    "num_persons": model.num_persons,
    # The file stores nothing about the input.
    "model.k": checkpoint.ANY,
    "model.edges": checkpoint.ANY,
  }
  state = state_lib.TrainState(
    step=jnp.zeros((), jnp.int32),
    params={"backbone": _to_single(variables["params"])},
    batch_stats=_to_single(variables["batch_stats"]),
    constants=constants,
    opt_state=None,
    banks=None,
  )
  out.mkdir(parents=True, exist_ok=True)
  checkpoints = checkpoint.Checkpoints(out, writable=True)
  metadata = {"model": identity, "epoch": 0, "seed": None}
  checkpoints.save(state, {**metadata, "imported_from": str(path)})
  checkpoints.close()
  print(
    f"{backbone} for {model.num_classes} classes, {model.skeleton.name} joints,"
    f" {model.num_persons} persons: {out}"
  )


def _to_single(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)
