# SPDX-License-Identifier: Apache-2.0
"""CTR-GCN (Chen et al., 2021, https://arxiv.org/abs/2107.12213)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from sgcl_jax import skeletons
from sgcl_jax.models import blocks, layers, temporal, transposition


def create(**fields: Any) -> nn.Module:
  """Returns CTR-GCN; for the fields see `blocks.TenBlocks`.

  Raises:
    ConfigError: If the width does not split over the temporal branches, or if
      there is no block `graph_block`.
  """
  model = blocks.TenBlocks(
    spatial=ChannelTopologyConv,
    temporal=temporal.MultiScaleTemporalConv,
    **fields,
  )
  num_blocks = len(blocks.TEN_BLOCKS)
  blocks.check_fields(model, num_blocks, minimum=4, multiple=4)
  return model


class ChannelTopologyConv(nn.Module):
  """Graph convolution whose adjacency differs per clip and channel (CTR-GC).

  Sec. 3.2; one module holds all sub-graphs of a block.

  Attributes:
    features: Output channels F.
    skeleton: Joint layout; the shared topology starts from its adjacency.
  """

  features: int
  skeleton: skeletons.Skeleton

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mixes joints along the shared topology plus `alpha` times the clip's own.

    Args:
      x: [B, T, V, C].

    Returns:
      y: [B, T, V, F].
      graph: [B, S, V, V], the clip's own part before `alpha`, averaged over
        channels; row u gathers from column v.
    """
    b, t, v, c = x.shape
    adjacency = self.param(
      "adjacency", lambda _: jnp.asarray(self.skeleton.adjacency(), jnp.float32)
    )
    alpha = self.param("alpha", nn.initializers.zeros, ())
    s = len(adjacency)
    # Coordinates have too few channels to divide them by 8.
    r = 8 if c <= 9 else c // 8

    def params(name, channels, features):
      init = layers.he_normal(features)
      kernel = self.param(f"{name}_kernel", init, (s, channels, features))
      bias = self.param(f"{name}_bias", nn.initializers.zeros, (s, features))
      return kernel, bias

    # The projection is linear: pooling first is the same sum, T times cheaper.
    pooled = layers.widen(x).mean(axis=1)  # [B, V, C]
    kernel, bias = params("query", c, r)
    query = jnp.einsum("bvc,scr->srbv", pooled, kernel) + bias[..., None, None]
    kernel, bias = params("key", c, r)
    key = jnp.einsum("bvc,scr->srbv", pooled, kernel) + bias[..., None, None]
    graph_kernel, graph_bias = params("graph", r, self.features)
    value_kernel, value_bias = params("value", c, self.features)

    pairs = jnp.tanh(query[..., None] - key[..., None, :])  # [S, R, B, V, V]
    graph = jnp.einsum("srbuv,sr->bsuv", pairs, graph_kernel.mean(-1))
    graph += graph_bias.mean(-1)[:, None, None]
    # Alpha scales the kernel, which is smaller than its result of V * V * F
    # numbers.
    graph_kernel = alpha * graph_kernel
    shared = adjacency[:, None] + alpha * graph_bias[..., None, None]
    y = mix(
      x,
      pairs.astype(x.dtype),
      value_kernel.astype(x.dtype),
      graph_kernel.astype(x.dtype),
      shared.astype(x.dtype),
    )
    # The mixing multiplies the bias of the values by the sums of the rows.
    sums = jnp.einsum("srbu,srf->sfbu", pairs.sum(-1), graph_kernel)
    sums += shared.sum(-1)[:, :, None]
    y += jnp.einsum("sfbu,sf->fbu", sums, value_bias)[:, :, None]
    y = transposition.transpose(y.reshape(self.features, b * t * v), (1, 0))
    y = y.reshape(b, t, v, self.features)
    return y, graph


@jax.custom_vjp
def mix(
  x: jax.Array,
  pairs: jax.Array,
  value_kernel: jax.Array,
  graph_kernel: jax.Array,
  shared: jax.Array,
) -> jax.Array:
  """Mixes joints along topologies that differ per clip and channel.

  Each channel has its own adjacency. So channels are a batch axis of the
  product over joints, and the products before it put them in front. The
  gradient is written out. In all products, forward and backward, the left
  factor is summed over its last axis, for which XLA is faster on CPU. Barriers
  keep XLA from moving a transposition into a product. The gradient computes the
  topologies again instead of keeping them.

  Args:
    x: [B, T, V, C].
    pairs: [S, R, B, V, V] embedding of the pairs of joints.
    value_kernel: [S, C, F].
    graph_kernel: [S, R, F], from the pairs to the clip's own topology.
    shared: [S, F, V, V], the part of the topology that all clips share.

  Returns:
    [F, B, T, V], in single precision at least.
  """
  return _mix_forward(x, pairs, value_kernel, graph_kernel, shared)[0]


def _mix_forward(x, pairs, value_kernel, graph_kernel, shared):
  y, values = 0.0, []
  for i in range(len(pairs)):
    values.append(_values(x, value_kernel[i]))
    topology = _topology(
      pairs[i].swapaxes(-1, -2), graph_kernel[i], shared[i].swapaxes(-1, -2)
    )
    y += jnp.einsum(
      "fbtv,fbvu->fbtu",
      values[-1],
      topology,
      preferred_element_type=layers.widen(x).dtype,
    )
  return y, (x, pairs, value_kernel, graph_kernel, shared, values)


def _mix_backward(saved, dy):
  x, pairs, value_kernel, graph_kernel, shared, values = saved
  b, t, v, c = x.shape
  s, _, features = value_kernel.shape
  dy = dy.astype(x.dtype)
  dy_t = transposition.transpose(dy, (0, 1, 3, 2))
  dx, grads = 0.0, []
  for i in range(s):
    d_topology = jnp.einsum("fbut,fbtv->fbuv", dy_t, values[i])
    d_rows = d_topology.reshape(features, b * v * v)
    pair_rows = pairs[i].reshape(-1, b * v * v)
    d_value = jnp.einsum(
      "fbtu,fbuv->fbtv", dy, _topology(pairs[i], graph_kernel[i], shared[i])
    )
    d_value = d_value.reshape(features, b * t * v)
    dx += value_kernel[i] @ d_value
    grads.append(
      (
        (graph_kernel[i] @ d_rows).reshape(pairs[i].shape),
        lax.optimization_barrier(d_value @ x.reshape(-1, c)).T,
        lax.optimization_barrier(d_rows @ pair_rows.T).T,
        d_topology.sum(1),
      )
    )
  dx = transposition.transpose(dx, (1, 0)).reshape(x.shape)
  return dx, *jax.tree.map(lambda *g: jnp.stack(g), *grads)


mix.defvjp(_mix_forward, _mix_backward)


def _values(x, kernel):
  """Maps [B, T, V, C] to [F, B, T, V]."""
  y = _project(kernel, x.reshape(-1, x.shape[-1]).T)
  return y.reshape(-1, *x.shape[:-1])


def _topology(pairs, kernel, shared):
  """Maps [R, B, V, V] to [F, B, V, V]."""
  own = _project(kernel, pairs.reshape(len(pairs), -1))
  return own.reshape(-1, *pairs.shape[1:]) + shared[:, None]


def _project(kernel, x):
  """Maps [C, n] to [F, n] by a kernel [C, F]."""
  return lax.optimization_barrier(kernel.T) @ x
