# SPDX-License-Identifier: Apache-2.0
"""Tables from the tensors of a reference's state dict to our variables."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sgcl_jax.models import blocks, infogcn


@dataclasses.dataclass(frozen=True)
class Entry:
  """The variable that one tensor of a reference fills.

  Attributes:
    path: Path of the variable, its collection first.
    slot: Index of the part of the variable that the tensor fills.
    transform: Converts the tensor from the reference's layout to ours.
  """

  path: tuple[str, ...]
  slot: tuple[Any, ...] = (...,)
  transform: Callable[[np.ndarray], np.ndarray] = np.asarray

  def find(self, variables: Mapping[str, Any]) -> Any:
    """Returns the leaf of a tree of variables at `path`."""
    return functools.reduce(lambda node, step: node[step], self.path, variables)


def _matrix(x):
  """Converts [out, in] or a 1x1 convolution [out, in, 1, 1] to [in, out]."""
  return x.reshape(x.shape[:2]).T


def _temporal(x):
  """Converts a convolution [out, in, k, 1] to [k, 1, in, out]."""
  return x.transpose(2, 3, 1, 0)


def _scalar(x):
  return x.reshape(())


def _position(x):
  """Converts an embedding [1, V, F] to [V, F]."""
  return x.reshape(x.shape[1:])


def _parameter(key, path, transform=np.asarray):
  return {key: Entry(("params", *path), transform=transform)}


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


def _branches(key, path, names):
  """Returns entries of one dense layer per sub-graph, which we stack.

  Args:
    key: Prefix of the reference's names.
    path: Path of our layer.
    names: Reference's name, with `{}` for the sub-graph, -> prefix of ours.
  """
  entries = {}
  for theirs, ours in names.items():
    for i in range(3):
      conv = f"{key}.{theirs.format(i)}"
      entries[f"{conv}.weight"] = Entry(
        ("params", *path, f"{ours}kernel"), (i,), _matrix
      )
      entries[f"{conv}.bias"] = Entry(("params", *path, f"{ours}bias"), (i,))
  return entries


def _multi_scale(key, path, width):
  """Returns entries of CTR-GCN's temporal convolution.

  Its branches are side by side in the channels of our layers.
  """
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


def _stack(stack, channels, gcn, first_shortcut):
  """Yields (key, path, features, entries) of each block.

  The entries are the spatial norm and the shortcuts.
  """
  for i, (features, stride) in enumerate(stack):
    key, path = f"l{i + 1}", (f"block_{i}",)
    spatial = f"{key}.{gcn}"
    entries = _norm(f"{spatial}.bn", (*path, "spatial_norm"))
    if channels != features:
      entries |= _dense(f"{spatial}.down.0", (*path, "spatial_shortcut"))
      entries |= _norm(f"{spatial}.down.1", (*path, "spatial_shortcut_norm"))
    if (i > 0 or first_shortcut) and (channels, 1) != (features, stride):
      entries |= _dense(f"{key}.residual.conv", (*path, "shortcut"))
      entries |= _norm(f"{key}.residual.bn", (*path, "shortcut_norm"))
    yield key, path, features, entries
    channels = features


def _ctrgcn():
  entries = _norm("data_bn", ("input", "norm")) | _dense("fc", ("head",))
  for key, path, features, shared in _stack(
    blocks.TEN_BLOCKS, 3, "gcn1", first_shortcut=False
  ):
    spatial = (*path, "spatial")
    names = ("query", "key", "value", "graph")
    entries |= shared
    entries |= _parameter(f"{key}.gcn1.PA", (*spatial, "adjacency"))
    entries |= _parameter(f"{key}.gcn1.alpha", (*spatial, "alpha"), _scalar)
    entries |= _branches(
      f"{key}.gcn1.convs",
      spatial,
      {f"{{}}.conv{i}": f"{name}_" for i, name in enumerate(names, 1)},
    )
    entries |= _multi_scale(f"{key}.tcn1", (*path, "temporal"), features // 4)
  return entries


def _agcn():
  entries = _norm("data_bn", ("input", "norm")) | _dense("fc", ("head",))
  for key, path, _, shared in _stack(
    blocks.TEN_BLOCKS, 3, "gcn1", first_shortcut=False
  ):
    spatial, temporal = (*path, "spatial"), (*path, "temporal")
    entries |= shared
    entries |= _parameter(f"{key}.gcn1.PA", (*spatial, "adjacency"))
    names = {"conv_a.{}": "query_", "conv_b.{}": "key_"}
    entries |= _branches(f"{key}.gcn1", spatial, names)
    value = (*spatial, "value")
    entries |= _branches(f"{key}.gcn1", value, {"conv_d.{}": ""})
    conv = (*temporal, "conv")
    entries |= _dense(f"{key}.tcn1.conv", conv, transform=_temporal)
    entries |= _norm(f"{key}.tcn1.bn", (*temporal, "norm"))
  return entries


def _infogcn():
  entries = _norm("data_bn", ("input", "norm"))
  entries |= _parameter("pos_embedding", ("position",), _position)
  names = {
    "to_joint_embedding": "embedding",
    "fc": "bottleneck",
    "fc_mu": "latent_mean",
    "fc_logvar": "latent_log_variance",
    "decoder": "head",
  }
  for theirs, ours in names.items():
    entries |= _dense(theirs, (ours,))
  for key, path, features, shared in _stack(
    infogcn.STACK, 64, "agcn", first_shortcut=True
  ):
    gcn, spatial = f"{key}.agcn", (*path, "spatial")
    entries |= shared
    entries |= _parameter(f"{gcn}.shared_topology", (*spatial, "adjacency"))
    value = (*spatial, "value")
    entries |= _branches(gcn, value, {"conv_d.{}": ""})
    entries |= _dense(f"{gcn}.attn.to_qk", (*spatial, "query_key"))
    norm = (*spatial, "norm")
    entries |= _parameter(f"{gcn}.attn.ln.weight", (*norm, "scale"))
    entries |= _parameter(f"{gcn}.attn.ln.bias", (*norm, "bias"))
    branches = (*path, "temporal", "branches")
    entries |= _multi_scale(f"{key}.tcn", branches, features // 4)
  return entries


TABLES: dict[str, Callable[[], dict[str, Entry]]] = {
  "ctrgcn": _ctrgcn,
  "agcn": _agcn,
  "infogcn": _infogcn,
}
