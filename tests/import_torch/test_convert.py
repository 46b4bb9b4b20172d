# SPDX-License-Identifier: Apache-2.0
"""Converts state dicts: all variables are filled, mistakes are refused."""

import jax
import numpy as np
import pytest

from sgcl_jax import errors, import_torch, models, skeletons
from sgcl_jax.import_torch import tables

BACKBONES = sorted(tables.TABLES)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_variable_is_filled(name, make_state):
  converted = import_torch.convert(name, make_state(name))
  model = models.create(name, num_classes=10, skeleton="ucla", num_persons=1)
  x = jax.ShapeDtypeStruct((1, 1, 2, 20, 3), np.float32)
  expected = model.lazy_init(jax.random.key(0), x)
  for collection in ("params", "batch_stats"):
    jax.tree.map(
      np.testing.assert_array_equal, converted[collection], expected[collection]
    )


def test_older_and_wrapped_names(make_state):
  """Names of several GPUs, of PyTorch 0.4, and with a stored adjacency."""
  state = {
    f"module.{key}": value
    for key, value in make_state("agcn").items()
    if "num_batches" not in key
  }
  adjacency = skeletons.UCLA.adjacency().astype(np.float32)
  state["module.l3.gcn1.A"] = adjacency
  ours = import_torch.convert("agcn", state)
  expected = import_torch.convert("agcn", make_state("agcn"))
  jax.tree.map(np.testing.assert_array_equal, ours, expected)
  state["module.l3.gcn1.A"] = adjacency[::-1]
  with pytest.raises(errors.CheckpointError, match="unknown: l3.gcn1.A"):
    import_torch.convert("agcn", state)


@pytest.mark.parametrize("name", BACKBONES)
def test_all_problems_are_listed(name, make_state):
  state = make_state(name)
  some = sorted(key for key in state if key.endswith("running_mean"))[:2]
  for key in some:
    del state[key]
  state["fc.scale"] = np.zeros(3)
  with pytest.raises(errors.CheckpointError) as caught:
    import_torch.convert(name, state)
  lines = str(caught.value).splitlines()
  assert lines[0] == f"not a state dict of {name}:"
  assert set(lines[1:]) == {
    *(f"missing: {key}" for key in some),
    "unknown: fc.scale",
  }


@pytest.mark.parametrize("name", BACKBONES)
def test_misshapen_tensors_are_listed(name, make_state):
  state = make_state(name)
  keys = [
    key for key in state if key.endswith(("down.0.weight", "down.1.bias"))
  ]
  for key in keys:
    state[key] = state[key][:-1]
  with pytest.raises(errors.CheckpointError) as caught:
    import_torch.convert(name, state)
  lines = str(caught.value).splitlines()[1:]
  assert sorted(line.split()[1] for line in lines) == sorted(keys)
  assert all(line.startswith("misshapen: ") for line in lines)


@pytest.mark.parametrize("name", BACKBONES)
def test_single_numbers_are_refused(name):
  state = {key: np.zeros(()) for key in tables.TABLES[name]()}
  with pytest.raises(errors.CheckpointError, match="bias is a single number"):
    import_torch.convert(name, state)


def test_unknown_backbones_are_refused():
  with pytest.raises(errors.CheckpointError, match="unknown backbone 'stgcn'"):
    import_torch.convert("stgcn", {})
