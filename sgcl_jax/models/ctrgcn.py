# SPDX-License-Identifier: Apache-2.0
"""CTR-GCN (Chen et al., 2021, https://arxiv.org/abs/2107.12213)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from sgcl_jax import skeletons
from sgcl_jax.models import blocks, layers, temporal


def create(**fields) -> nn.Module:
  """Returns CTR-GCN; the fields are those of `blocks.TenBlocks`."""
  return blocks.TenBlocks(
    spatial=ChannelTopologyConv,
    temporal=temporal.MultiScaleTemporalConv,
    **fields,
  )


class ChannelTopologyConv(nn.Module):
  """Graph convolution whose adjacency differs per clip and channel (CTR-GC).

  Sec. 3.2, for all sub-graphs of a block.

  Attributes:
    features: Output channels F.
    skeleton: Joint layout; its adjacency is the start of the shared topology.
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
    # Coordinates have too few channels to be reduced.
    r = 8 if c <= 9 else c // 8

    def params(name, channels, features):
      init = layers.he_normal(features)
      kernel = self.param(f"{name}_kernel", init, (s, channels, features))
      bias = self.param(f"{name}_bias", nn.initializers.zeros, (s, features))
      return kernel, bias

    # The projection is linear: pooling first is the same sum, T times cheaper.
    pooled = layers.widen(x).mean(axis=1)  # [B, V, C]
    kernel, bias = params("query", c, r)
    query = jnp.einsum("bvc,scr->sbvr", pooled, kernel) + bias[:, None, None]
    kernel, bias = params("key", c, r)
    key = jnp.einsum("bvc,scr->sbvr", pooled, kernel) + bias[:, None, None]
    graph_kernel, graph_bias = params("graph", r, self.features)
    value_kernel, value_bias = params("value", c, self.features)

    # Each channel has its own adjacency, so channels are a batch axis of the
    # product over joints. The two products before it put them in front, which
    # saves the transpositions that took a third of the step on CPU. And alpha
    # scales the kernel, not the V * V * F numbers that come of it.
    wide = layers.widen(x).dtype
    x = x.reshape(b * t * v, c)
    y, graphs = 0.0, []
    for i in range(s):
      pairs = jnp.tanh(query[i, :, :, None] - key[i, :, None])  # [B, V, V, R]
      graphs.append(pairs @ graph_kernel[i].mean(-1) + graph_bias[i].mean())
      pairs = pairs.reshape(b * v * v, r).astype(x.dtype)
      own = (alpha * graph_kernel[i]).T.astype(x.dtype) @ pairs.T  # [F, B*V*V]
      shared = adjacency[i] + alpha * graph_bias[i][:, None, None]  # [F, V, V]
      topology = own.reshape(self.features, b, v, v)
      topology += shared[:, None].astype(x.dtype)
      value = value_kernel[i].T.astype(x.dtype) @ x.T
      value += value_bias[i][:, None].astype(x.dtype)
      value = value.reshape(self.features, b, t, v)
      y += jnp.einsum(
        "fbuv,fbtv->fbtu", topology, value, preferred_element_type=wide
      )
    y = y.reshape(self.features, b * t * v).T.reshape(b, t, v, self.features)
    return y, jnp.stack(graphs, axis=1)
