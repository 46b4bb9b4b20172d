# SPDX-License-Identifier: Apache-2.0
"""Everything that a training step changes, and what it reports, as arrays."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from sgcl_jax import models, randomness
from sgcl_jax.contrast import base

# What is not trained but belongs to a backbone, beside its `params`.
COLLECTIONS = ("batch_stats", "constants")


@struct.dataclass
class TrainState:
  """A pytree that is carried through the steps and saved whole.

  Attributes:
    step: [] int32, finished steps.
    params: Of the `backbone` and of the `contrast`.
    batch_stats: Running statistics of the backbone.
    constants: Variables of the backbone that are not trained.
    opt_state: Momentum buffers.
    memory: Of the contrast, such as its banks; None where it has none.
  """

  step: jax.Array
  params: dict[str, Any]
  batch_stats: dict[str, Any]
  constants: dict[str, Any]
  opt_state: Any
  memory: Any

  def variables(self) -> dict[str, Any]:
    """Returns what the backbone's `apply` takes."""
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
    values: The `loss`, their sum, and further values to log.
  """

  backbone_terms: dict[str, jax.Array]
  contrast_terms: dict[str, jax.Array]
  values: dict[str, jax.Array]

  def flatten(self) -> dict[str, jax.Array]:
    """Returns all of them, the terms of the loss first."""
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
  """Draws the initial state; the contrast does not change the backbone's.

  Args:
    model: Backbone.
    contrast: Or None.
    optimizer: Of the training.
    clip: Shape of one clip, [1, M, T, V, C].
    seed: Of the run.
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
  """Returns the shapes of a backbone's outputs for one clip."""
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
