# SPDX-License-Identifier: Apache-2.0
"""CTR-GCN against the reference implementation and its parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax import import_torch, models

# data set -> (classes, persons, parameters).
SETS = {"ucla": (10, 1, 1_426_892), "ntu": (60, 2, 1_446_672)}
PRECISIONS = ["float32", "float64"]


def build(name):
  classes, persons, _ = SETS[name]
  return models.create(
    "ctrgcn", num_classes=classes, skeleton=name, num_persons=persons
  )


def load_variables(data, dtype):
  state = {
    key.removeprefix("state/"): data[key].astype(dtype)
    for key in data.files
    if key.startswith("state/")
  }
  return import_torch.convert("ctrgcn", state)


def load_input(data, dtype):
  return data["x"].astype(dtype).transpose(0, 4, 2, 3, 1)


def pick(tree, entry):
  """Returns the part of a tree of ours that one reference tensor fills."""
  for step in entry.path[1:]:
    tree = tree[step]
  return np.asarray(tree)[entry.slot]


def assert_close(actual, expected, tolerance):
  """The golden README's "rel": max|a - b| / max|b|."""
  actual, expected = np.asarray(actual), np.asarray(expected)
  assert actual.shape == expected.shape
  assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.fixture(params=PRECISIONS)
def precision(request):
  """(dtype, suffix of the golden keys), with float64 enabled if it is that."""
  exact = request.param == "float64"
  with jax.enable_x64(exact), jax.default_matmul_precision("highest"):
    yield request.param, "_f64" if exact else ""


@pytest.mark.parametrize("name", SETS)
def test_num_params(name):
  classes, persons, expected = SETS[name]
  model = build(name)
  x = jnp.zeros((1, persons, 16, model.skeleton.num_joints, 3))
  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  leaves = jax.tree.leaves(shapes["params"])
  assert sum(leaf.size for leaf in leaves) == expected


@pytest.mark.parametrize("name", SETS)
def test_eval_equals_reference(name, golden, precision):
  dtype, suffix = precision
  data = golden(f"A_ctrgcn_{name}.npz")
  variables, x = load_variables(data, dtype), load_input(data, dtype)
  logits, graph = jax.jit(build(name).apply)(variables, x)
  exact = dtype == "float64"
  assert_close(logits, data["logits" + suffix], 1e-10 if exact else 1e-5)
  graph = graph.reshape(len(graph), -1)
  assert_close(graph, data["graph" + suffix], 1e-10 if exact else 2e-5)


@pytest.mark.parametrize("name", SETS)
def test_train_equals_reference(name, golden, precision):
  dtype, suffix = precision
  exact = dtype == "float64"
  state = load_variables(golden(f"A_ctrgcn_{name}.npz"), dtype)
  data = golden(f"B_ctrgcn_{name}_train.npz")
  x, labels = load_input(data, dtype), data["labels"]
  model = build(name)

  def losses(params):
    (logits, graph), updates = model.apply(
      {**state, "params": params}, x, True, mutable=["batch_stats"]
    )
    log_probs = jax.nn.log_softmax(logits)
    ce = -log_probs[jnp.arange(len(labels)), labels].mean()
    graph = graph.reshape(len(graph), -1)
    scalar = jnp.sum(graph * data["graph_probe"])
    return (ce, scalar), (logits, graph, updates["batch_stats"])

  @jax.jit
  def run(params):
    values, pullback, aux = jax.vjp(losses, params, has_aux=True)
    one, zero = jnp.ones_like(values[0]), jnp.zeros_like(values[0])
    return values, aux, pullback((one, zero))[0], pullback((zero, one))[0]

  values, (logits, graph, stats), grad, graph_grad = run(state["params"])
  tolerance = 1e-9 if exact else 2e-5
  assert_close(logits, data["logits" + suffix], tolerance)
  assert_close(graph, data["graph" + suffix], tolerance)
  assert_close(values[0], data["ce_loss" + suffix], tolerance)
  if exact:  # It cancels: in float32 the graph itself says more.
    assert_close(values[1], data["graph_scalar_f64"], tolerance)

  table = import_torch.table("ctrgcn")
  checked = 0
  for key in data.files:
    group, _, tensor = key.partition("/")
    if not group.endswith(suffix) or tensor.endswith("num_batches_tracked"):
      continue
    kind = group.removesuffix("_f64") if exact else group
    entry = table.get(tensor)
    if kind == "bn_after":
      tolerance = 1e-9 if exact else 1e-5
      assert_close(pick(stats, entry), data[key], tolerance)
    elif kind in ("grad", "ggrad"):
      ours = pick(grad if kind == "grad" else graph_grad, entry)
      assert_gradient(ours, entry.transform(data[key]), tensor, exact)
    else:
      continue
    checked += 1
  assert checked == 15


def assert_gradient(ours, theirs, tensor, exact):
  if exact:
    assert_close(ours, theirs, 1e-7)
  elif tensor.startswith("fc."):
    assert_close(ours, theirs, 1e-4)
  else:
    # A ReLU near its kink falls on either side (golden README, note 1).
    ours, theirs = ours.ravel(), theirs.ravel()
    norms = np.linalg.norm(ours) * np.linalg.norm(theirs)
    assert np.linalg.norm(ours - theirs) <= 3e-2 * np.linalg.norm(theirs)
    assert ours @ theirs >= 0.9995 * norms
