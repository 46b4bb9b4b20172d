# SPDX-License-Identifier: Apache-2.0
"""Translates a reference's state dict into the variables of our module."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from sgcl_jax import errors, models, skeletons
from sgcl_jax.import_torch import tables

# Those that the reference implementations have.
REFERENCE_LAYOUTS = (skeletons.NTU, skeletons.UCLA)


class Translation(NamedTuple):
  """A translated state dict.

  Attributes:
    variables: {"params": ..., "batch_stats": ...}, in the given dtype.
    model: The module that the variables fit.
    input: Shape and dtype of its input for one clip, [1, M, T, V, C].
  """

  variables: dict[str, dict[str, Any]]
  model: nn.Module
  input: jax.ShapeDtypeStruct


def translate(name: str, state_dict: Mapping[str, np.ndarray]) -> Translation:
  """Translates a state dict and builds the module that it fits.

  Args:
    name: `ctrgcn`, `agcn` or `infogcn`.
    state_dict: Arrays under the reference's names.

  Raises:
    CheckpointError: If the backbone is unknown, or if keys are missing, unknown
      or of the wrong shape; the message lists all of them.
  """
  if name not in tables.TABLES:
    raise errors.CheckpointError(
      f"unknown backbone {name!r}; known: {', '.join(tables.TABLES)}"
    )
  arrays = _clean(state_dict)
  table = tables.TABLES[name]()
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
  return Translation(_assemble(table, arrays), model, x)


def _clean(state_dict):
  return {
    key.removeprefix("module."): np.asarray(value)
    for key, value in state_dict.items()
    if not key.endswith("num_batches_tracked")
  }


def _recognise(name, arrays):
  """Returns the module that fits these arrays, and the shape of its input.

  Raises:
    CheckpointError: If no layout has this number of joints, or if a tensor that
      tells the sizes is a single number.
  """
  head = {"infogcn": "decoder.bias"}.get(name, "fc.bias")
  key = {"infogcn": "l1.agcn.shared_topology"}.get(name, "l1.gcn1.PA")
  for sized in (head, key, "data_bn.weight"):
    if not arrays[sized].ndim:
      raise errors.CheckpointError(
        f"not a state dict of {name}:\nmisshapen: {sized} is a single number"
      )
  classes, joints = len(arrays[head]), arrays[key].shape[-1]
  for layout in REFERENCE_LAYOUTS:
    if layout.num_joints == joints:
      break
  else:
    raise errors.CheckpointError(f"no layout has {joints} joints ({key})")
  channels = 64 if name == "infogcn" else 3
  persons = max(len(arrays["data_bn.weight"]) // (joints * channels), 1)
  model = models.create(
    name, num_classes=classes, skeleton=layout, num_persons=persons
  )
  return model, jax.ShapeDtypeStruct((1, persons, 2, joints, 3), np.float32)


def _is_fixed_adjacency(name, key, array):
  """Tells whether a tensor is 2s-AGCN's fixed adjacency of a known layout."""
  if name != "agcn" or not key.endswith(".gcn1.A"):
    return False
  return any(
    array.shape == layout.adjacency().shape
    and np.allclose(array, layout.adjacency(), atol=1e-6)
    for layout in REFERENCE_LAYOUTS
  )


def _misshapen(table, arrays, shapes):
  """Returns a line for each tensor whose shape does not fit its variable."""
  problems = []
  for key, entry in table.items():
    # A broadcast array takes no memory.
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
  """Builds the tree of variables; parts are joined in the table's order."""
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
  """Joins the tensors of one variable: stacks them, or joins the last axis."""
  slot, first = pieces[0]
  if slot == (...,):
    return first
  axis = 0 if isinstance(slot[0], int) else -1
  join = np.stack if axis == 0 else np.concatenate
  return join([part for _, part in pieces], axis=axis)
