# SPDX-License-Identifier: Apache-2.0
"""Rules of all backbones: sizes, initial values, fields, sown outputs."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax import augment, errors, experiment, models, skeletons, state
from sgcl_jax.devices import parallel
from sgcl_jax.models import ancestors, blocks, infogcn
from tests import fast

BACKBONES = ["ctrgcn", "agcn", "infogcn"]

# The backbone alone, without the projection head and InfoGCN's prior.
NUM_PARAMS = {
  "ctrgcn_ntu60": 1_446_672,
  "ctrgcn_ntu120": 1_462_092,
  "ctrgcn_ucla": 1_426_892,
  "agcn_ntu60": 3_469_510,
  "agcn_ntu120": 3_484_930,
  "agcn_ucla": 3_449_730,
  "infogcn_ntu60": 1_556_807,
  "infogcn_ntu120": 1_572_227,
  "infogcn_ucla": 1_533_722,
}


def get_config(name, arg=None):
  return importlib.import_module(f"configs.{name}").get_config(arg)


def make(backbone, **overrides):
  """Returns a small backbone for NW-UCLA."""
  fields = {"num_classes": 10, "skeleton": "ucla", "num_persons": 1}
  return models.create(backbone, **{**fields, "width": 16, **overrides})


@pytest.fixture
def shallow(monkeypatch):
  """Uses two blocks instead of nine or ten: they compile five times faster."""
  monkeypatch.setattr(blocks, "TEN_BLOCKS", ((64, 1), (128, 2)))
  monkeypatch.setattr(infogcn, "STACK", ((64, 1), (128, 2)))
  return functools.partial(make, graph_block=1)


def make_input(num_clips=4):
  return np.random.default_rng(0).normal(size=(num_clips, 1, 8, 20, 3))


@pytest.mark.parametrize("name", NUM_PARAMS)
def test_num_params(name):
  parts = experiment.make(get_config(name))
  shapes = state.variable_shapes(parts.model, parts.clip)
  leaves = jax.tree.leaves(shapes["params"])
  assert sum(leaf.size for leaf in leaves) == NUM_PARAMS[name]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_outputs_and_what_is_sown(backbone, shallow):
  model = shallow(backbone)
  x = make_input().astype(np.float32)
  variables = model.init(jax.random.key(0), x)
  (logits, graph), sown = model.apply(variables, x, mutable=["intermediates"])
  assert logits.shape == (4, 10) and graph.shape == (4, 3, 20, 20)
  sown = sown["intermediates"]
  assert sown["feature"][0].shape == (4, 32)
  assert ("latent" in sown) == (backbone == "infogcn")
  if backbone == "infogcn":
    assert sown["latent"][0].shape == (4, 32)
    prior = variables["constants"]["z_prior"]
    np.testing.assert_allclose(prior @ prior.T, 9 * np.eye(10), atol=1e-4)
    # Evaluation needs no prior.
    without = {name: variables[name] for name in ("params", "batch_stats")}
    np.testing.assert_array_equal(model.apply(without, x)[0], logits)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_another_blocks_graph(backbone):
  x = make_input().astype(np.float32)
  graphs = []
  for block in (0, 4):
    model = make(backbone, graph_block=block)
    variables = model.init(jax.random.key(0), x)
    graphs.append(model.apply(variables, x)[1])
  assert graphs[0].shape == graphs[1].shape
  assert not np.allclose(graphs[0], graphs[1])
  with pytest.raises(errors.ConfigError, match="graph_block=10 is not one"):
    jax.eval_shape(make(backbone, graph_block=10).init, jax.random.key(0), x)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_rematerialisation_changes_nothing(backbone, shallow, x64):
  x = make_input()
  one = shallow(backbone, num_classes=5)
  other = shallow(backbone, num_classes=5, remat=True)
  variables = to_double(one.lazy_init(jax.random.key(0), shape_of(x)))
  rngs = {"latent": jax.random.key(1)}

  def loss(params, model):
    (logits, graph), _ = model.apply(
      {**variables, "params": params}, x, True, rngs=rngs, mutable="batch_stats"
    )
    return jnp.square(logits).sum() + graph.sum()

  ours, theirs = (
    fast.jit(jax.grad(loss), static_argnums=1)(variables["params"], model)
    for model in (one, other)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
    ours,
    theirs,
  )


def shape_of(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


def to_double(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_random_layers_draw_per_clip(backbone, shallow, x64):
  """Replicas draw the same numbers for their clips as a single device."""
  fields = {"dropout": 0.5, "axis_name": parallel.AXIS}
  model = shallow(backbone, **fields)
  x = make_input(8)
  init = shallow(backbone).lazy_init
  variables = to_double(init(jax.random.key(0), shape_of(x)))
  rngs = {"dropout": jax.random.key(1), "latent": jax.random.key(2)}

  @functools.partial(fast.jit, static_argnums=0)
  def run(num_replicas, x, rngs):
    def apply(x):
      return model.apply(variables, x, True, rngs=rngs, mutable="batch_stats")

    shares = x.reshape(num_replicas, -1, *x.shape[1:])
    (logits, _), _ = jax.vmap(apply, axis_name=parallel.AXIS)(shares)
    return logits.reshape(8, -1)

  one = run(1, x, rngs)
  np.testing.assert_allclose(run(4, x, rngs), one, rtol=1e-9, atol=1e-9)
  other = run(1, x, {**rngs, "dropout": jax.random.key(3)})
  assert not np.allclose(other, one)
  # Equal clips have different dropout masks.
  equal = np.broadcast_to(x[:1], x.shape)
  assert len(np.unique(run(1, equal, rngs)[:, 0].round(12))) == 8


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"k": 0}, "config.model.k=0 must be a whole number from 1"),
    ({"k": "a"}, "config.model.k='a' must be"),
    ({"k": -1}, "k=-1"),
    ({"edges": "child"}, "edges='child' is not one of parent, released"),
    ({"skeleton": "ntu", "edges": "released"}, "'released' is not one of"),
    ({"heads": 3}, "'infogcn' has no field config.model.heads"),
  ],
)
def test_impossible_fields_of_infogcn(fields, message):
  with pytest.raises(errors.ConfigError, match=message):
    make("infogcn", **fields)


@pytest.mark.parametrize("name", ["ntu", "ucla"])
def test_infogcns_input(name):
  """k = 1 gives bones, k = 8 the joints themselves."""
  skeleton = make("infogcn", skeleton=name).skeleton
  joints = ancestors.make_matrix(skeleton, 8)
  np.testing.assert_array_equal(joints, np.eye(skeleton.num_joints))
  bones = ancestors.make_matrix(skeleton, 1)
  np.testing.assert_array_equal(
    bones.sum(1), np.eye(len(bones))[1 if name == "ntu" else 2]
  )


@pytest.mark.parametrize("name", skeletons.LAYOUTS)
def test_infogcns_joints_are_the_joints(name):
  """Also in a tree deeper than the authors' 8 hops."""
  layout = skeletons.get(name)
  for modality in ("joint", "joint_motion"):
    fields, _ = infogcn.adapt(modality=modality, skeleton=layout, fields={})
    matrix = ancestors.make_matrix(layout, fields["k"])
    np.testing.assert_array_equal(matrix, np.eye(layout.num_joints))


@pytest.mark.parametrize("name", BACKBONES)
def test_any_layout_by_name(name):
  for skeleton in (*skeletons.LAYOUTS, "kinect20"):
    found = make(name, skeleton=skeleton).skeleton
    assert found == skeletons.get(skeleton)


def test_infogcns_bones_are_those_of_the_transform():
  """Scores of 2D joints too: their mean, where the others' are differences."""
  layout = skeletons.get("coco17")
  x = np.random.default_rng(0).random((2, 1, 5, 17, 3), np.float32)
  bones = ancestors.subtract(
    ancestors.make_matrix(layout, 1), x, layout.dimensions
  )
  for ours, clip in zip(bones, x, strict=True):
    expected = augment.to_modality(clip.transpose(1, 0, 2, 3), "bone", layout)
    # The root has no bone: its position for InfoGCN, 0 for the others.
    assert layout.root == 0
    np.testing.assert_allclose(
      ours.transpose(1, 0, 2, 3)[..., 1:, :], expected[..., 1:, :], atol=1e-6
    )
    np.testing.assert_array_equal(ours[..., 0, :], clip[..., 0, :])


@pytest.mark.parametrize(("name", "dimensions"), [("coco17", 2), ("ucla", 3)])
def test_infogcn_subtracts_coordinates_alone(
  name, dimensions, shallow, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    ancestors, "subtract", lambda matrix, x, size: asked.append(size) or x
  )
  model = shallow("infogcn", skeleton=name)
  shape = (2, 1, 8, model.skeleton.num_joints, 3)
  jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
  assert asked == [dimensions]


# Variable -> (distribution, its standard deviation or bound) in the references.
# C, F and R are the sizes of a block of 16 channels.
DRAWS = {
  "ctrgcn": {
    "block_1/spatial/query_kernel": ("normal", math.sqrt(2 / 8)),
    "block_1/spatial/value_kernel": ("normal", math.sqrt(2 / 64)),
    "block_1/spatial/graph_kernel": ("normal", math.sqrt(2 / 64)),
    "block_4/shortcut/kernel": ("normal", math.sqrt(2 / 128)),
    "block_4/spatial_shortcut/kernel": ("normal", math.sqrt(2 / 128)),
    "block_1/temporal/entry/kernel": ("normal", math.sqrt(2 / 16)),
    "block_1/temporal/conv_1/kernel": ("normal", math.sqrt(2 / (5 * 16))),
    "block_1/spatial_norm/scale": ("constant", 1e-6),
    "block_1/spatial/alpha": ("constant", 0.0),
    "block_1/spatial/value_bias": ("constant", 0.0),
    "block_1/temporal/entry/bias": ("constant", 0.0),
    "input/norm/scale": ("constant", 1.0),
    "head/kernel": ("normal", math.sqrt(2 / 60)),
    "head/bias": ("uniform", 1 / 16),
  },
  "agcn": {
    "block_1/spatial/query_kernel": ("normal", math.sqrt(2 / 16)),
    "block_1/spatial/key_kernel": ("normal", math.sqrt(2 / 16)),
    "block_1/spatial/value/kernel": ("normal", math.sqrt(2 / (64 * 64 * 3))),
    "block_4/spatial_shortcut/kernel": ("normal", math.sqrt(2 / 128)),
    "block_4/shortcut/kernel": ("normal", math.sqrt(2 / 128)),
    "block_1/temporal/conv/kernel": ("normal", math.sqrt(2 / (9 * 64))),
    "block_1/temporal/conv/bias": ("constant", 0.0),
    "block_1/spatial/adjacency": ("constant", 1e-6),
    "block_1/spatial_norm/scale": ("constant", 1e-6),
    "block_1/temporal/norm/scale": ("constant", 1.0),
    "head/kernel": ("normal", math.sqrt(2 / 60)),
    "head/bias": ("uniform", 1 / 16),
  },
  "infogcn": {
    "embedding/kernel": ("uniform", 1 / math.sqrt(3)),
    "embedding/bias": ("uniform", 1 / math.sqrt(3)),
    "position": ("normal", 1.0),
    "block_1/spatial/query_key/kernel": ("normal", 1.0),
    "block_1/spatial/query_key/bias": ("uniform", 1 / 8),
    "block_1/spatial/value/kernel": ("normal", math.sqrt(2 / (64 * 64 * 3))),
    "block_1/spatial/value/bias": ("constant", 0.0),
    "block_3/spatial_shortcut/kernel": ("normal", math.sqrt(2 / 128)),
    "block_3/shortcut/kernel": ("normal", math.sqrt(2 / 128)),
    "block_1/spatial_norm/scale": ("constant", 1e-6),
    "block_1/temporal/branches/entry/kernel": ("uniform", 1 / 8),
    "block_1/temporal/branches/entry/bias": ("uniform", 1 / 8),
    "block_1/temporal/branches/conv_2/kernel": (
      "uniform",
      1 / math.sqrt(5 * 16),
    ),
    "block_1/temporal/branches/exit_norm/scale": ("constant", 1.0),
    "bottleneck/kernel": ("uniform", math.sqrt(2) * math.sqrt(6 / 512)),
    "latent_mean/kernel": ("uniform", math.sqrt(2) * math.sqrt(6 / 512)),
    "latent_log_variance/bias": ("uniform", 1 / 16),
    "head/kernel": ("normal", math.sqrt(2 / 60)),
    "head/bias": ("uniform", 1 / 16),
  },
}


@pytest.fixture(scope="module")
def drawn():
  """Returns the initial parameters of each backbone at full width, by path."""
  params = {}
  for name in BACKBONES:
    model = models.create(name, num_classes=60, skeleton="ntu", num_persons=2)
    x = jax.ShapeDtypeStruct((1, 2, 4, 25, 3), np.float32)
    params[name] = model.lazy_init(jax.random.key(0), x)["params"]
  return params


@pytest.mark.parametrize(
  ("backbone", "path"),
  [(name, path) for name, table in DRAWS.items() for path in table],
)
def test_initial_draws(drawn, backbone, path):
  kind, scale = DRAWS[backbone][path]
  values = drawn[backbone]
  for step in path.split("/"):
    values = values[step]
  values = np.asarray(values, np.float64).ravel()
  if kind == "constant":
    np.testing.assert_array_equal(values, np.float32(scale))
    return
  num = len(values)
  stddev = scale / math.sqrt(3) if kind == "uniform" else scale
  assert abs(values.mean()) < 5 * stddev / math.sqrt(num)
  # Variance of the variance: 2 / n for a normal, 0.8 / n for a uniform one.
  spread = math.sqrt((2.0 if kind == "normal" else 0.8) / num)
  assert values.var() == pytest.approx(stddev**2, rel=5 * spread)
  share = np.mean(np.abs(values) < stddev)
  expected = 0.6827 if kind == "normal" else 1 / math.sqrt(3)
  assert abs(share - expected) < 5 * math.sqrt(0.25 / num)
  if kind == "uniform":
    assert np.abs(values).max() <= scale * (1 + 1e-6)


def test_ctrgcns_noisy_scales(drawn):
  """CTR-GCN draws them from N(1, 0.02) in its temporal convolutions."""
  scales = [
    norm["scale"]
    for name, block in drawn["ctrgcn"].items()
    if name.startswith("block")
    for key, norm in block["temporal"].items()
    if key.endswith("norm")
  ]
  scales = np.concatenate(scales)
  assert scales.mean() == pytest.approx(1.0, abs=1e-3)
  assert scales.std() == pytest.approx(0.02, rel=0.1)
