# SPDX-License-Identifier: Apache-2.0
"""Reference PyTorch checkpoints to ones that evaluation reads.

python -m sgcl_jax.import_torch --backbone ctrgcn --checkpoint X.pt --out DIR
"""

import argparse
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgcl_jax import checkpoint, errors, models, skeletons, torch_tables
from sgcl_jax import state as state_lib

# Where training scripts put the state dict beside other things.
WRAPPERS = ("state_dict", "model_state_dict", "model")


def convert(
  name: str, state_dict: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
  """Converts a reference's state dict.

  The prefix `module.` is dropped, as are the counters of batches, which files
  of PyTorch 0.4 and older do not have. So is a stored copy of 2s-AGCN's fixed
  adjacency, if it is ours.

  Args:
    name: `ctrgcn`, `agcn` or `infogcn`.
    state_dict: Arrays under the reference's names.

  Returns:
    {"params": ..., "batch_stats": ...}, in the dtype of the state dict.

  Raises:
    CheckpointError: If the backbone is unknown, or if keys are missing, unknown
      or of the wrong shape; all are listed.
  """
  variables, _, _ = _convert(name, _clean(state_dict))
  return variables


def _convert(name, arrays):
  """Returns the variables, and the module and the input that they are for."""
  if name not in torch_tables.TABLES:
    raise errors.CheckpointError(
      f"unknown backbone {name!r}; known: {', '.join(torch_tables.TABLES)}"
    )
  table = torch_tables.TABLES[name]()
  problems = [f"missing: {key}" for key in table if key not in arrays]
  problems += [
    f"unknown: {key}"
    for key in arrays
    if key not in table and not _is_fixed_adjacency(name, key, arrays[key])
  ]
  if not problems:
    model, x = _recognise(name, arrays)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    problems = _misshapen(table, arrays, shapes)
  if problems:
    raise errors.CheckpointError(
      f"not a state dict of {name}:\n" + "\n".join(problems)
    )
  return _assemble(table, arrays), model, x


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the tensors of a `.pt` or `.pth` file, and nothing else in it.

  Raises:
    CheckpointError: If the file is not a zip archive of PyTorch 1.6 or newer,
      or holds anything but tensors, numbers and containers.
  """
  try:
    import ptloader
  except ImportError as error:
    raise errors.CheckpointError(
      'reading PyTorch files needs one more package: pip install -e ".[torch]"'
    ) from error
  try:
    with open(path, "rb") as file:
      content = ptloader.load(file, torchscript_mode="strict")
  except OSError:
    raise
  except Exception as error:  # Of ptloader, pickle, zipfile and numpy.
    raise errors.CheckpointError(
      f"{path} cannot be read ({error}); files of PyTorch 1.5 and older have to"
      " be loaded and saved once with a newer one"
    ) from error
  for wrapper in WRAPPERS:
    if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
      content = content[wrapper]
  if not isinstance(content, dict) or not all(
    isinstance(value, np.ndarray) for value in content.values()
  ):
    raise errors.CheckpointError(f"{path} holds no state dict")
  return dict(content)


def run(backbone: str, path: str | os.PathLike, out: str | os.PathLike) -> None:
  """Converts a file into a checkpoint in `out`.

  Raises:
    CheckpointError: If the file cannot be read or is not of this backbone, or
      `out` is taken.
  """
  out = pathlib.Path(out)
  if out.exists() and any(out.iterdir()):
    raise errors.CheckpointError(f"{out} is not empty; choose another --out")
  variables, model, x = _convert(backbone, _clean(read(path)))
  # The reference does not save its prior; a new one serves further training.
  constants = model.lazy_init(jax.random.key(0), x).get("constants", {})
  identity = {
    "backbone": backbone,
    "num_classes": model.num_classes,
    "skeleton": model.skeleton.name,
    "num_persons": model.num_persons,
    # The file does not tell what the input was.
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


def _clean(state_dict):
  return {
    key.removeprefix("module."): np.asarray(value)
    for key, value in state_dict.items()
    if not key.endswith("num_batches_tracked")
  }


def _recognise(name, arrays):
  """Returns the module that has these shapes, and the shape of an input.

  Raises:
    CheckpointError: If its joints are of no known layout.
  """
  classes = len(arrays[{"infogcn": "decoder.bias"}.get(name, "fc.bias")])
  key = {"infogcn": "l1.agcn.shared_topology"}.get(name, "l1.gcn1.PA")
  joints = arrays[key].shape[-1]
  channels = 64 if name == "infogcn" else 3
  persons = max(len(arrays["data_bn.weight"]) // (joints * channels), 1)
  for layout in skeletons.LAYOUTS.values():
    if layout.num_joints == joints:
      break
  else:
    raise errors.CheckpointError(f"no layout has {joints} joints ({key})")
  model = models.create(
    name, num_classes=classes, skeleton=layout, num_persons=persons
  )
  return model, jax.ShapeDtypeStruct((1, persons, 2, joints, 3), np.float32)


def _is_fixed_adjacency(name, key, array):
  if name != "agcn" or not key.endswith(".gcn1.A"):
    return False
  return any(
    array.shape == layout.adjacency().shape
    and np.allclose(array, layout.adjacency(), atol=1e-6)
    for layout in skeletons.LAYOUTS.values()
  )


def _misshapen(table, arrays, shapes):
  """Lists what does not give the shapes of the variables."""
  problems = []
  for key, entry in table.items():
    # Takes no memory.
    whole = np.broadcast_to(np.zeros(()), entry.find(shapes).shape)
    expected = whole[entry.slot].shape
    try:
      found = entry.transform(arrays[key]).shape
    except ValueError:
      found = None
    if found != expected:
      problems.append(
        f"misshapen: {key} has shape {arrays[key].shape}, which does not give"
        f" {expected}"
      )
  return problems


def _assemble(table, arrays):
  """Builds the tree of variables from their parts, in the table's order."""
  parts = {}
  for key, entry in table.items():
    part = entry.transform(arrays[key])
    parts.setdefault(entry.path, []).append((entry.slot, part))
  tree = {}
  for path, pieces in parts.items():
    node = tree
    for step in path[:-1]:
      node = node.setdefault(step, {})
    node[path[-1]] = _merge(pieces)
  return tree


def _merge(pieces):
  """Joins the tensors of one variable: stacked, or side by side at the end."""
  slot, first = pieces[0]
  if slot == (...,):
    return first
  axis = 0 if isinstance(slot[0], int) else -1
  join = np.stack if axis == 0 else np.concatenate
  return join([part for _, part in pieces], axis=axis)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = argparse.ArgumentParser(
    prog="python -m sgcl_jax.import_torch",
    description="Converts a reference's PyTorch checkpoint.",
  )
  parser.add_argument(
    "--backbone", required=True, choices=sorted(torch_tables.TABLES)
  )
  parser.add_argument(
    "--checkpoint", required=True, help="a .pt or .pth file of weights"
  )
  parser.add_argument(
    "--out", required=True, help="the workdir that evaluation reads"
  )
  args = parser.parse_args(argv)
  run(args.backbone, args.checkpoint, args.out)


if __name__ == "__main__":
  errors.run(main)
