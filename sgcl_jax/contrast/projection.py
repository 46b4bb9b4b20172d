# SPDX-License-Identifier: Apache-2.0
"""From a clip's joint graph to its unit-length embedding (paper Sec. 3.2)."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# Below this squared length a vector counts as zero.
_MIN_SQUARED_NORM = 1e-12


def inverse_norm(v: jax.Array) -> jax.Array:
  """Returns `1 / |v|` along the last axis, [..., D] -> [...]; finite at 0."""
  squared = jnp.sum(v * v, axis=-1)
  return jax.lax.rsqrt(jnp.maximum(squared, _MIN_SQUARED_NORM))


def normalize(v: jax.Array) -> jax.Array:
  """Scales [..., D] to unit length along the last axis.

  Vectors shorter than 1e-6 are only scaled by 1e6, so that value and gradient
  stay finite everywhere, at the zero vector too.
  """
  return v * inverse_norm(v)[..., None]


class ProjectionHead(nn.Module):
  """One dense layer on the flat graph, then unit length (paper Tab. 12, FC).

  Attributes:
    num_classes: Number L of classes; the released code draws the kernel from
      N(0, std sqrt(2/L)).
    features: Embedding width D.
    param_dtype: Type of the parameters; inputs of less precision are cast up.
  """

  num_classes: int
  features: int = 256
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, graph: jax.Array) -> jax.Array:
    """Embeds `graph` [N, ...], e.g. [N, S, V, V], as [N, D] of length 1."""
    flat = graph.reshape(graph.shape[0], -1)
    stddev = math.sqrt(2 / self.num_classes)
    v = nn.Dense(
      self.features,
      param_dtype=self.param_dtype,
      kernel_init=nn.initializers.normal(stddev),
      name="dense",
    )(flat)
    return normalize(v)
