# SPDX-License-Identifier: Apache-2.0
"""Every trained parameter gets a gradient from cross-entropy and contrast.

Exceptions follow from mathematics and are listed. The parameters are away from
their initial values: at first alpha is 0 in CTR-GCN, so that its query, key and
graph get no gradient from the cross-entropy.
"""

import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgcl_jax import experiment, state, steps
from sgcl_jax.devices import parallel
from sgcl_jax.models import blocks, infogcn
from tests import fast

# A BatchNorm subtracts the bias that is added right before it.
BEFORE_NORM = r"block_\d/.*(entry|conv|conv_\d|shortcut)/bias"
BEFORE_SPATIAL_NORM = r"block_\d/spatial/value/bias\[\d\]"
# Backbone -> patterns of the parameters whose gradient is zero. `{last}` is the
# last block, whose graph the contrast takes before the softmax.
ZERO = {
  "ctrgcn": (BEFORE_NORM,),
  # A query's bias adds the same to all rows of a column, over which the softmax
  # is taken.
  "agcn": (
    BEFORE_NORM,
    BEFORE_SPATIAL_NORM,
    r"block_(?!{last})\d/spatial/query_bias\[\d\]",
  ),
  # A key's bias adds the same to all columns of a row. The input's BatchNorm
  # subtracts what is the same in all frames.
  "infogcn": (
    BEFORE_NORM,
    BEFORE_SPATIAL_NORM,
    r"block_\d/spatial/query_key/bias\[key\]",
    "position",
    "embedding/bias",
  ),
}
# Returns the gradient as its state, and no update.
RECORD = optax.GradientTransformation(
  lambda params: None, lambda grads, state, params: (grads, grads)
)
NUM_CLIPS, NUM_FRAMES, WINDOW = 4, 20, 8


def draw_state(parts, rng):
  """Returns a state with all variables away from their initial values."""
  draw = lambda x: rng.normal(size=x.shape) / 10
  variables = jax.tree.map(draw, state.variable_shapes(parts.model, parts.clip))
  shapes = state.output_shapes(parts.model, variables, parts.clip)
  added, memory = parts.contrast.init(jax.random.key(0), shapes)
  params = {"backbone": variables.pop("params"), "contrast": added}
  return state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params={**params, "contrast": jax.tree.map(draw, added)},
    opt_state=None,
    memory=memory,
    **variables,
  )


def differentiate(parts):
  """Returns the gradient of all terms in double precision."""
  rng = np.random.default_rng(0)
  start = draw_state(parts, rng)
  persons, joints = parts.source.num_persons, parts.layout.num_joints
  position = np.arange(NUM_CLIPS, dtype=np.int32)
  batch = {
    "skeleton": rng.normal(size=(NUM_CLIPS, NUM_FRAMES, persons, joints, 3)),
    "num_frames": np.full(NUM_CLIPS, NUM_FRAMES, np.int32),
    "label": position % 2,
    "index": position,
    "position": position,
  }
  step = steps.make_train_step(
    seed=1,
    model=parts.model,
    transform=parts.transform,
    weights=parts.weights,
    contrast=parts.contrast,
    optimizer=RECORD,
  )
  step = jax.vmap(step, axis_name=parallel.AXIS, in_axes=(None, 0))
  after, metrics = fast.jit(step)(
    start, jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
  )
  terms = {**metrics.backbone_terms, **metrics.contrast_terms}
  assert {"ce", "semantic"} <= terms.keys()
  assert metrics.values["active_anchors"][0] == 1
  return jax.tree.map(lambda x: np.asarray(x[0]), after.opt_state)


def name_parts(grads):
  """Yields the name and the gradient of each parameter.

  Those of the sub-graphs are apart, and so are queries and keys.
  """
  for path, grad in jax.tree_util.tree_flatten_with_path(grads)[0]:
    name = "/".join(key.key for key in path)
    if name.endswith("query_key/bias"):
      yield from zip(
        (f"{name}[query]", f"{name}[key]"), np.split(grad, 2), strict=True
      )
    elif "/spatial/" in name and grad.ndim > 1 and len(grad) == 3:
      yield from ((f"{name}[{i}]", part) for i, part in enumerate(grad))
    else:
      yield name, grad


def check(parts, backbone, last):
  grads = differentiate(parts)
  assert grads.keys() == {"backbone", "contrast"}
  norm = optax.tree.norm(grads)
  found = {
    name: np.abs(grad).max() / norm
    for tree in grads.values()
    for name, grad in name_parts(tree)
  }
  patterns = [
    pattern.replace("{last}", str(last)) for pattern in ZERO[backbone]
  ]
  zero = {n for n in found if any(re.fullmatch(p, n) for p in patterns)}
  for pattern in patterns:
    assert any(re.fullmatch(pattern, name) for name in found), pattern
  # Rounding errors of the sums that cancel are near 1e-16.
  assert {name for name, size in found.items() if size < 1e-13} == zero
  assert min(found[name] for name in found.keys() - zero) > 1e-10


def make(name, **fields):
  config = importlib.import_module(f"configs.{name}").get_config()
  fields |= {"data.window": WINDOW, "batch_size": NUM_CLIPS}
  fields |= {"contrast.cold_start": "partial", "contrast.rows_per_class": 4}
  config.update_from_flattened_dict(fields)
  return experiment.make(config)


# A block with a stride has all kinds of parameters. The first block of
# 2s-AGCN and CTR-GCN, which share their shortcuts, has none.
STACKS = {
  "ctrgcn": ((128, 2),),
  "agcn": ((64, 1), (128, 2)),
  "infogcn": ((128, 2),),
}


@pytest.mark.parametrize("backbone", ZERO)
def test_every_kind_of_parameter_gets_a_gradient(backbone, monkeypatch, x64):
  stack = STACKS[backbone]
  monkeypatch.setattr(blocks, "TEN_BLOCKS", stack)
  monkeypatch.setattr(infogcn, "STACK", stack)
  last = len(stack) - 1
  fields = {"model.width": 16, "model.graph_block": last}
  fields["contrast.memory"] = "semantic"  # It compiles faster than both.
  check(make(f"{backbone}_ucla", **fields), backbone, last)


@pytest.mark.slow
@pytest.mark.parametrize("data_set", ["ucla", "ntu60", "ntu120"])
@pytest.mark.parametrize("backbone", ZERO)
def test_every_parameter_gets_a_gradient(backbone, data_set, x64):
  """The nine models, at their depth and width."""
  last = 8 if backbone == "infogcn" else 9
  check(make(f"{backbone}_{data_set}"), backbone, last)
