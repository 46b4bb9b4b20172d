# SPDX-License-Identifier: Apache-2.0
"""Reference PyTorch weights to variables of ours."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sgcl_jax.models import ctrgcn


@dataclasses.dataclass(frozen=True)
class Entry:
  """Where one tensor of a reference goes.

  Attributes:
    path: Of the variable, its collection first.
    slot: Index of the part of the variable that the tensor fills.
    transform: From the reference's layout to ours.
  """

  path: tuple[str, ...]
  slot: tuple[Any, ...] = (...,)
  transform: Callable[[np.ndarray], np.ndarray] = np.asarray


def convert(
  name: str, state_dict: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
  """Converts a reference's state dict.

  Args:
    name: `ctrgcn`.
    state_dict: Arrays under the reference's names.

  Returns:
    {"params": ..., "batch_stats": ...}, in the dtype of the state dict.

  Raises:
    ValueError: If the backbone is unknown, if keys are missing or unknown (all
      are listed), or if parts of one variable differ in shape.
  """
  if name not in _TABLES:
    raise ValueError(f"no table for backbone {name!r}")
  arrays = {
    key: np.asarray(value)
    for key, value in state_dict.items()
    if not key.endswith("num_batches_tracked")
  }
  table = _TABLES[name]()
  problems = [f"missing: {key}" for key in table if key not in arrays]
  problems += [f"unknown: {key}" for key in arrays if key not in table]
  if problems:
    raise ValueError("\n".join(problems))
  return _assemble(table, arrays)


def _assemble(table, arrays):
  """Builds the tree of variables from their parts, in the table's order."""
  parts = {}
  for key, entry in table.items():
    part = entry.transform(arrays[key])
    parts.setdefault(entry.path, []).append((key, entry.slot, part))
  tree = {}
  for path, pieces in parts.items():
    node = tree
    for step in path[:-1]:
      node = node.setdefault(step, {})
    node[path[-1]] = _merge(pieces)
  return tree


def _merge(pieces):
  """Joins the tensors of one variable: stacked, or side by side at the end."""
  _, slot, first = pieces[0]
  if slot == (...,):
    return first
  for key, _, part in pieces:
    if part.shape != first.shape:
      raise ValueError(f"{key} has shape {part.shape}, not {first.shape}")
  axis = 0 if isinstance(slot[0], int) else -1
  join = np.stack if axis == 0 else np.concatenate
  return join([part for _, _, part in pieces], axis=axis)


def table(name: str) -> dict[str, Entry]:
  """Returns where each tensor of a reference's state dict goes."""
  return _TABLES[name]()


def _matrix(x):
  """Linear [out, in] or 1x1 convolution [out, in, 1, 1] to [in, out]."""
  return x.reshape(x.shape[:2]).T


def _temporal(x):
  """Convolution [out, in, k, 1] to [k, 1, in, out]."""
  return x.transpose(2, 3, 1, 0)


def _dense(key, path, slot=(...,), transform=_matrix):
  return {
    f"{key}.weight": Entry(("params", *path, "kernel"), slot, transform),
    f"{key}.bias": Entry(("params", *path, "bias"), slot),
  }


def _norm(key, path, slot=(...,)):
  return {
    f"{key}.weight": Entry(("params", *path, "scale"), slot),
    f"{key}.bias": Entry(("params", *path, "bias"), slot),
    f"{key}.running_mean": Entry(("batch_stats", *path, "mean"), slot),
    f"{key}.running_var": Entry(("batch_stats", *path, "var"), slot),
  }


def _multi_scale(key, path, width):
  """The temporal convolution of CTR-GCN, whose branches lie side by side."""
  entries = {}
  for i in range(4):
    slot = (..., slice(i * width, (i + 1) * width))
    branch = f"{key}.branches.{i}"
    entries |= _dense(f"{branch}.0", (*path, "entry"), slot)
    last = {0: "3.bn", 1: "3.bn", 2: "4", 3: "1"}[i]
    entries |= _norm(f"{branch}.{last}", (*path, "exit_norm"), slot)
    if i < 3:
      entries |= _norm(f"{branch}.1", (*path, "entry_norm"), slot)
    if i < 2:
      conv = (*path, f"conv_{i + 1}")
      entries |= _dense(f"{branch}.3.conv", conv, transform=_temporal)
  return entries


def _ctrgcn():
  entries = _norm("data_bn", ("input", "norm")) | _dense("fc", ("head",))
  channels = 3
  for i, (features, stride) in enumerate(ctrgcn.BLOCKS):
    key, path = f"l{i + 1}", (f"block_{i}",)
    gcn = f"{key}.gcn1"
    entries[f"{gcn}.PA"] = Entry(("params", *path, "adjacency"))
    entries[f"{gcn}.alpha"] = Entry(
      ("params", *path, "alpha"), transform=lambda x: x.reshape(())
    )
    entries |= _norm(f"{gcn}.bn", (*path, "spatial_norm"))
    for s in range(3):
      for number, name in enumerate(("query", "key", "value", "graph"), 1):
        conv, spatial = f"{gcn}.convs.{s}.conv{number}", (*path, "spatial")
        entries[f"{conv}.weight"] = Entry(
          ("params", *spatial, f"{name}_kernel"), (s,), _matrix
        )
        entries[f"{conv}.bias"] = Entry(
          ("params", *spatial, f"{name}_bias"), (s,)
        )
    if channels != features:
      entries |= _dense(f"{gcn}.down.0", (*path, "spatial_shortcut"))
      entries |= _norm(f"{gcn}.down.1", (*path, "spatial_shortcut_norm"))
    if i > 0 and (channels, 1) != (features, stride):
      entries |= _dense(f"{key}.residual.conv", (*path, "shortcut"))
      entries |= _norm(f"{key}.residual.bn", (*path, "shortcut_norm"))
    entries |= _multi_scale(f"{key}.tcn1", (*path, "temporal"), features // 4)
    channels = features
  return entries


_TABLES = {"ctrgcn": _ctrgcn}
