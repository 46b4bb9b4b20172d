# SPDX-License-Identifier: Apache-2.0
"""The training step: replicas, randomness, gradients."""

import jax
import numpy as np
import pytest

from configs import ctrgcn_ucla, infogcn_ucla
from sgcl_jax import (
  evaluate,
  experiment,
  input_pipeline,
  randomness,
  steps,
  train,
)
from sgcl_jax.devices import parallel
from sgcl_jax.models import blocks, infogcn
from sgcl_jax.training import finetune
from tests import fast
from tests.conftest import TINY


@pytest.fixture(scope="module")
def clips(tiny_data):
  return input_pipeline.load(tiny_data, "train")


def make_batches(clips, count):
  batches = input_pipeline.train_batches(
    clips, seed=3, epoch=0, repeats=2, batch_size=8
  )
  return [next(batches) for _ in range(count)]


def init_state(parts):
  """Returns the optimizer and the initial state."""
  optimizer = parts.optimizer.follow(parts.schedule, 12)
  return optimizer, train.init_state(parts, optimizer, num_rows=96)


def run_replicas(parts, clips, num_replicas, count=5, noise=0.0):
  """Runs steps on `num_replicas` emulated replicas; returns state, metrics.

  The parameters are changed by `noise` first, relative to themselves.
  """
  optimizer, current = init_state(parts)
  exact = jax.config.jax_enable_x64
  if exact:
    current = jax.tree.map(to_double, current)
  if noise:
    rng = np.random.default_rng(0)
    change = lambda x: x * (1 + noise * rng.normal(size=x.shape))
    current = current.replace(params=jax.tree.map(change, current.params))
  step = steps.make_train_step(
    seed=parts.seed,
    model=parts.model,
    transform=parts.transform,
    weights=parts.weights,
    contrast=parts.contrast,
    optimizer=optimizer,
    apply=finetune.make_apply(parts.optimizer.frozen),
  )
  mapped = fast.jit(jax.vmap(step, axis_name=parallel.AXIS, in_axes=(None, 0)))
  logged = []
  for batch in make_batches(clips, count):
    if exact:
      batch = jax.tree.map(to_double, batch)
    shares = jax.tree.map(
      lambda x: x.reshape(num_replicas, -1, *x.shape[1:]), batch
    )
    states, metrics = mapped(current, shares)
    # The results of a step must be equal on all replicas.
    for leaf in jax.tree.leaves((states, metrics)):
      np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    current, metrics = jax.tree.map(lambda x: x[0], (states, metrics))
    logged.append(metrics.flatten())
  return current, logged


def to_double(x):
  x = np.asarray(x)
  return x.astype(np.float64) if x.dtype == np.float32 else x


def assert_close(actual, expected, tolerance):
  assert largest_error(actual, expected) <= tolerance


def largest_error(actual, expected):
  """Returns the largest error of any array, relative to its largest entry."""

  def error(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    # The bias before a BatchNorm has a gradient of zero in exact arithmetic.
    # Its entries are rounding errors, so a relative error says nothing.
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-2)

  return max(jax.tree.leaves(jax.tree.map(error, actual, expected)))


@pytest.mark.parametrize("num_replicas", [2, 4, 8])
@pytest.mark.parametrize("arg", [None, "contrast=released", "gcl=false"])
def test_replicas_equal_one_device(tiny, clips, num_replicas, arg, x64):
  """The banks start empty, so some anchors are skipped."""
  few = {"contrast.num_hard_positives": 3, "contrast.num_random_negatives": 4}
  parts = tiny(arg, **few)
  one, logged_one = run_replicas(parts, clips, 1)
  many, logged_many = run_replicas(parts, clips, num_replicas)
  if arg != "gcl=false":
    active = [float(metrics["active_anchors"]) for metrics in logged_one]
    assert any(0 < fraction < 1 for fraction in active), active
  assert_close(many, one, 1e-9)
  assert_close(logged_many, logged_one, 1e-9)


def test_replicas_of_a_frozen_backbone(tiny, clips, x64):
  fields = {"init_from": "x", "optim.freeze": "backbone"}
  parts = tiny("gcl=false", **fields)
  one, logged_one = run_replicas(parts, clips, 1, count=2)
  many, logged_many = run_replicas(parts, clips, 4, count=2)
  assert_close(many, one, 1e-9)
  assert_close(logged_many, logged_one, 1e-9)
  assert logged_one[0]["gradient_norm"] > 0


def test_a_step_makes_no_round_trip_to_the_host(tiny, clips):
  """Neither its arguments are sent, but for the batch, nor does it call out."""
  parts = tiny()
  optimizer, current = init_state(parts)
  step = train.make_train_step(parts, optimizer)
  first, second, third = make_batches(clips, 3)
  lowered = step.lower(current, first).as_text()
  for word in ("callback", "infeed", "outfeed", "stablehlo.send"):
    assert word not in lowered
  mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("devices",))
  place = jax.sharding.NamedSharding(mesh, jax.P("devices"))
  second = jax.device_put(second, place)
  current, _ = step(current, first)
  with jax.transfer_guard("disallow"):
    current, metrics = step(current, second)
    # The guard sees a batch that is on the host.
    with pytest.raises(jax.errors.JaxRuntimeError, match="host-to-device"):
      step(current, third)
  assert all(map(np.isfinite, metrics.flatten().values()))


def test_an_evaluation_sends_its_variables_once(tiny, clips, monkeypatch):
  """Each batch gets the same arrays, placed as a mapped step wants them."""
  parts = tiny()
  _, current = init_state(parts)
  make, seen = parallel.map_eval_step, []

  def map_watched(step):
    mapped = make(step)

    def run(variables, batch):
      seen.append(variables)
      return mapped(variables, batch)

    return run

  monkeypatch.setattr(parallel, "map_eval_step", map_watched)
  found, _ = evaluate.make_evaluator(parts, clips)(current.variables())
  assert len(found.logits) == len(clips)
  assert len(seen) > 2
  assert all(variables is seen[0] for variables in seen)
  (placed,) = parallel.replicate((np.zeros(3),))
  for leaf in jax.tree.leaves(seen[0]):
    assert leaf.sharding == placed.sharding


@pytest.fixture(scope="module")
def kernel_without_contrast(tiny, clips):
  with jax.enable_x64(True):
    after, _ = run_replicas(tiny("gcl=false"), clips, 1, count=2)
  return after.params["backbone"]["Dense_0"]["kernel"]


# The switches of the paper's tables, except those that are numbers.
@pytest.mark.parametrize(
  "overrides",
  [
    {"memory": "batch"},
    {"memory": "batch", "loss": "triplet"},
    {"memory": "instance", "positives": "both", "loss": "triplet"},
    {"memory": "semantic", "projection": "mlp"},
    {"source": "feature", "positives": "random", "negatives": "random"},
    {"loss": "classifier"},
    {"projection": "none", "negatives": "hard"},
  ],
  ids=lambda overrides: ",".join(overrides.values()),
)
def test_replicas_of_the_switches(
  tiny, clips, overrides, kernel_without_contrast, x64
):
  few = {"num_hard_positives": 1, "cold_start": "partial"}
  few |= {"num_hard_negatives": 4, "num_random_negatives": 4}
  fields = {f"contrast.{k}": v for k, v in (few | overrides).items()}
  parts = tiny(**fields)
  one, logged_one = run_replicas(parts, clips, 1, count=2)
  many, logged_many = run_replicas(parts, clips, 4, count=2)
  assert_close(many, one, 1e-9)
  assert_close(logged_many, logged_one, 1e-9)
  # The contrast also changes the backbone.
  kernel = one.params["backbone"]["Dense_0"]["kernel"]
  assert np.abs(kernel - kernel_without_contrast).max() > 1e-5


# Widths and strides of all depths; the slow tests have the full stacks.
SHALLOW = ((64, 1), (128, 2), (256, 2))


@pytest.fixture(scope="module")
def depth(request):
  """Returns the fields of backbones of three blocks, or of full ones."""
  if request.config.getoption("--slow"):
    yield {}
    return
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(blocks, "TEN_BLOCKS", SHALLOW)
    patch.setattr(infogcn, "STACK", SHALLOW)
    yield {"model.graph_block": len(SHALLOW) - 1}


def real_config(backbone, arg, depth):
  """Returns a recipe of NW-UCLA on few clips, with all random parts on."""
  config = {"ctrgcn": ctrgcn_ucla, "infogcn": infogcn_ucla}[backbone]
  config = config.get_config(arg)
  fields = {**TINY, "model.dropout": 0.5, "contrast.num_hard_positives": 2}
  fields |= depth
  del fields["backbone"], fields["optim.base_lr"]
  config.update_from_flattened_dict(fields)
  return experiment.make(config)


# Each compiles for a minute: here one per backbone, in the slow tests all.
REAL = [
  pytest.param(
    backbone,
    arg,
    num,
    marks=()
    if (backbone, arg, num)
    in [("ctrgcn", None, 4), ("infogcn", "contrast=released", 2)]
    else pytest.mark.slow,
  )
  for backbone in ("ctrgcn", "infogcn")
  for arg in (None, "contrast=released")
  for num in (2, 4, 8)
]


@pytest.fixture(scope="module")
def on_one(clips, depth):
  """Returns the runs on one device, each made once."""
  runs = {}

  def run(backbone, arg, count, exact, noise=0.0):
    key = backbone, arg, count, exact, noise
    if key not in runs:
      parts = real_config(backbone, arg, depth)
      with jax.enable_x64(exact):
        runs[key] = run_replicas(parts, clips, 1, count, noise)
    return runs[key]

  return run


@pytest.mark.parametrize(("backbone", "arg", "num_replicas"), REAL)
def test_replicas_of_a_backbone(
  backbone, arg, num_replicas, clips, depth, on_one, x64
):
  """Covers rotation, dropout, noise, and terms that are no sums over clips."""
  one, logged_one = on_one(backbone, arg, 3, True)
  parts = real_config(backbone, arg, depth)
  many, logged_many = run_replicas(parts, clips, num_replicas, count=3)
  if backbone == "infogcn":
    assert float(logged_one[0]["latent_prior"]) > 0
    assert float(logged_one[0]["latent_mean"]) > 0
  active = [float(metrics["active_anchors"]) for metrics in logged_one]
  assert any(0 < fraction < 1 for fraction in active), active
  assert_close(logged_many[0], logged_one[0], 1e-9)
  tolerance = 1e-9
  if (backbone, arg) == ("infogcn", None):
    # Three steps at this rate amplify the rounding errors of an untrained
    # InfoGCN. Changing the parameters' last digits gives the size to expect.
    changed, _ = on_one(backbone, arg, 3, True, noise=1e-15)
    tolerance = largest_error(changed, one)
    assert 1e-9 < tolerance < 1e-5
  assert_close(many, one, tolerance)
  assert_close(logged_many, logged_one, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "arg", "num_replicas"), REAL)
def test_replicas_of_a_backbone_in_single_precision(
  backbone, arg, num_replicas, clips, depth, on_one
):
  one, logged_one = on_one(backbone, arg, 1, False)
  parts = real_config(backbone, arg, depth)
  many, logged_many = run_replicas(parts, clips, num_replicas, count=1)
  # InfoGCN's graphs differ this much between single and double precision: its
  # attention depends on differences of products in the hundreds.
  rows = 1e-4 if backbone == "infogcn" else 1e-5
  assert_first_step(many, logged_many, one, logged_one, rows)


def test_replicas_agree_in_single_precision(tiny, clips):
  (one, logged_one), (many, logged_many) = (
    run_replicas(tiny(), clips, num, count=1) for num in (1, 4)
  )
  assert_first_step(many, logged_many, one, logged_one)


def assert_first_step(many, logged_many, one, logged_one, rows=1e-5):
  assert_close(logged_many[0]["loss"], logged_one[0]["loss"], 1e-5)
  assert_close(many.batch_stats, one.batch_stats, 1e-5)
  assert_close(many.memory, one.memory, rows)


def test_draws_depend_on_seed_step_place_and_purpose():
  def draw(seed=1, purpose="augment", step=2, position=3):
    keys = randomness.clip_keys(seed, purpose, step, np.array([position, 9]))
    return tuple(jax.random.key_data(keys)[0].tolist())

  draws = [
    draw(),
    draw(seed=2),
    draw(purpose="sampling"),
    draw(step=3),
    draw(position=4),
  ]
  assert len(set(draws)) == len(draws)
  assert draw() == draws[0]


def test_the_banks_hold_the_batch_and_pass_no_gradient(tiny, clips):
  parts = tiny()
  after, _ = run_replicas(parts, clips, 2, count=1)
  labels = make_batches(clips, 1)[0]["label"]
  counts = np.bincount(labels, minlength=10)
  banks = after.memory
  np.testing.assert_array_equal(banks.instance.num_filled, counts)
  np.testing.assert_array_equal(banks.semantic.seen, counts > 0)
  norms = np.linalg.norm(banks.instance.rows, axis=1)
  np.testing.assert_allclose(np.sort(norms)[-8:], 1.0, rtol=1e-5)
  assert np.count_nonzero(norms) == 8


def test_every_trained_parameter_moves(tiny, clips):
  parts = tiny(**{"optim.weight_decay": 0.0})
  _, start = init_state(parts)
  end, _ = run_replicas(parts, clips, 1)
  before = jax.tree_util.tree_leaves_with_path(start.params)
  after = jax.tree.leaves(end.params)
  still = [
    jax.tree_util.keystr(path)
    for (path, old), new in zip(before, after, strict=True)
    if np.array_equal(old, new)
  ]
  assert not still
