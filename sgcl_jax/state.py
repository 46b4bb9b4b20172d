# SPDX-License-Identifier: Apache-2.0
"""The state that a training step changes, and the metrics that it returns."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from sgcl_jax import models, randomness
from sgcl_jax.contrast import base

# A backbone's collections of variables that are not trained.
COLLECTIONS = ("batch_stats", "constants")


@struct.dataclass
class TrainState:
  """Everything that a training step changes: a pytree, saved whole.

  Attributes:
    step: [] int32, number of finished steps.
    params: Trained parameters: `backbone` and `contrast`.
    batch_stats: Running statistics of the backbone.
    constants: Fixed variables of the backbone.
    opt_state: Momentum buffers.
    memory: Memory of the contrast, such as its banks; None if it has none.
  """

  step: jax.Array
  params: dict[str, Any]
  batch_stats: dict[str, Any]
  constants: dict[str, Any]
  opt_state: Any
  memory: Any

  def variables(self) -> dict[str, Any]:
    """Returns the variables that the backbone's `apply` takes."""
    return {
      "params": self.params["backbone"],
      "batch_stats": self.batch_stats,
      "constants": self.constants,
    }


class Metrics(NamedTuple):
  """Means over the global batch, each [], by name.

  Attributes:
    backbone_terms: Terms of the backbone's loss.
    contrast_terms: Terms of the contrast's loss.
    values: `loss`, which is the sum of all terms, and further values to log.
  """

  backbone_terms: dict[str, jax.Array]
  contrast_terms: dict[str, jax.Array]
  values: dict[str, jax.Array]

  def total(self) -> jax.Array:
    """Returns the sum [] of all terms of the loss."""
    terms = {**self.backbone_terms, **self.contrast_terms}
    return sum(terms.values())

  def flatten(self) -> dict[str, jax.Array]:
    """Returns all values by name, the terms of the loss first."""
    return {**self.backbone_terms, **self.contrast_terms, **self.values}


def init(
  model: nn.Module,
  contrast: base.Contrast | None,
  optimizer: optax.GradientTransformation,
  *,
  clip: jax.ShapeDtypeStruct,
  seed: int,
  num_rows: int,
) -> TrainState:
  """Draws the initial state; the backbone is the same with any contrast.

  Args:
    model: Backbone.
    contrast: The contrast, or None.
    optimizer: Optimizer of the training.
    clip: Shape of one clip, [1, M, T, V, C].
    seed: Seed of the run.
    num_rows: Clips of an epoch, repeats included.

  Raises:
    ConfigError: If the contrast needs what the backbone does not sow.
  """
  variables = model.lazy_init(randomness.make_key(seed, "backbone"), clip)
  shapes = output_shapes(model, variables, clip)
  key = randomness.make_key(seed, "projection")
  added, memory = (contrast or base.NONE).init(key, shapes, num_rows)
  params = {"backbone": variables["params"], "contrast": added}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=optimizer.init(params),
    memory=memory,
    **{name: variables.get(name, {}) for name in COLLECTIONS},
  )


def output_shapes(
  model: nn.Module, variables: dict[str, Any], clip: jax.ShapeDtypeStruct
) -> models.Outputs:
  """Returns the shapes of a backbone's outputs for one clip.

  Args:
    model: Backbone.
    variables: Its variables, or their shapes.
    clip: Shape of one clip, [1, M, T, V, C].
  """
  apply = functools.partial(models.apply_eval, model)
  return jax.eval_shape(apply, variables, clip)


def variable_shapes(
  model: nn.Module, clip: jax.ShapeDtypeStruct
) -> dict[str, Any]:
  """Returns the shapes of a backbone's variables.

  Args:
    model: Backbone.
    clip: Shape of one clip, [1, M, T, V, C].
  """
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
  return {name: shapes.get(name, {}) for name in ("params", *COLLECTIONS)}
