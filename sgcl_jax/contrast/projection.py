# SPDX-License-Identifier: Apache-2.0
"""Projects a clip's joint graph to a unit-length embedding (paper Sec. 3.2)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

# Below this squared length a vector counts as zero.
_MIN_SQUARED_NORM = 1e-12


def inverse_norm(v: jax.Array) -> jax.Array:
  """Returns `1 / |v|` along the last axis, [..., D] -> [...]; finite at 0."""
  squared = jnp.sum(v * v, axis=-1)
  return jax.lax.rsqrt(jnp.maximum(squared, _MIN_SQUARED_NORM))


def normalize(v: jax.Array) -> jax.Array:
  """Scales [..., D] to unit length along the last axis.

  Vectors shorter than 1e-6 are only scaled by 1e6, so that the value and the
  gradient stay finite, even for the zero vector.
  """
  return v * inverse_norm(v)[..., None]


def init(
  head: nn.Module, key: jax.Array, source: jax.ShapeDtypeStruct
) -> tuple[dict[str, Any], int]:
  """Draws the parameters of a head.

  Args:
    head: `ProjectionHead` or `GraphClassifier`.
    key: PRNG key.
    source: Shape of its input for one clip.

  Returns:
    The parameters, and the width of the head's output.
  """
  params = head.lazy_init(key, source).get("params", {})
  output = jax.eval_shape(head.apply, {"params": params}, source)
  return params, output.shape[-1]


class ProjectionHead(nn.Module):
  """Dense layers on the flat graph, then unit length (paper Tab. 12).

  Attributes:
    num_classes: L. As in the released code, kernels are drawn from
      N(0, std sqrt(2/L)).
    features: Embedding width D.
    num_layers: 1 in the paper. With 2 layers there is a ReLU between them. With
      0 the graph itself is normalised, and D is its size.
    param_dtype: Type of the parameters; inputs of less precision are cast up.
  """

  num_classes: int
  features: int = 256
  num_layers: int = 1
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, graph: jax.Array) -> jax.Array:
    """Embeds `graph` [N, ...], e.g. [N, S, V, V], as [N, D] of length 1."""
    v = graph.reshape(graph.shape[0], -1)
    v = v.astype(jnp.promote_types(v.dtype, self.param_dtype))
    for i in range(self.num_layers):
      v = nn.relu(v) if i else v
      name = f"dense_{i}" if i else "dense"
      v = _dense(self.features, self.num_classes, self.param_dtype, name)(v)
    return normalize(v)


class GraphClassifier(nn.Module):
  """One dense layer from the flat graph to logits (paper Tab. 11).

  Attributes:
    num_classes: L.
    param_dtype: Type of the parameters; inputs of less precision are cast up.
  """

  num_classes: int
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, graph: jax.Array) -> jax.Array:
    """Maps `graph` [N, ...] to logits [N, L]."""
    flat = graph.reshape(graph.shape[0], -1)
    features = self.num_classes
    return _dense(features, features, self.param_dtype, "dense")(flat)


def _dense(features, num_classes, param_dtype, name):
  return nn.Dense(
    features,
    param_dtype=param_dtype,
    kernel_init=nn.initializers.normal(math.sqrt(2 / num_classes)),
    name=name,
  )
