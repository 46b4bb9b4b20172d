# SPDX-License-Identifier: Apache-2.0
"""2s-AGCN (Shi et al., 2019, https://arxiv.org/abs/1805.07694), one stream."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from sgcl_jax import skeletons
from sgcl_jax.models import blocks, layers, temporal


def create(**fields: Any) -> nn.Module:
  """Returns 2s-AGCN; for the fields see `blocks.TenBlocks`.

  Raises:
    ConfigError: If the width leaves no channel for the embedded joints, or if
      there is no block `graph_block`.
  """
  model = blocks.TenBlocks(
    spatial=AdaptiveGraphConv, temporal=temporal.TemporalConv, **fields
  )
  blocks.check_fields(model, len(blocks.TEN_BLOCKS), minimum=4)
  return model


class AdaptiveGraphConv(nn.Module):
  """Graph convolution along fixed, learned and inferred edges (Sec. 4.1).

  Attributes:
    features: Output channels F.
    skeleton: Joint layout; its adjacency is the fixed part.
  """

  features: int
  skeleton: skeletons.Skeleton

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mixes joints.

    Args:
      x: [B, T, V, C].

    Returns:
      y: [B, T, V, F].
      graph: [B, S, V, V], products of the embedded joints, before the scaling
        and the softmax over rows; column v gathers from row u.
    """
    b, t, v, c = x.shape
    # Rounded as the reference rounds it.
    fixed = self.skeleton.adjacency().astype("float32")
    s, r = len(fixed), self.features // 4
    start = nn.initializers.constant(1e-6)
    learned = self.param("adjacency", start, fixed.shape)

    def embed(name):
      kernel = self.param(f"{name}_kernel", layers.he_normal(r), (s, c, r))
      bias = self.param(f"{name}_bias", nn.initializers.zeros, (s, r))
      kernel = kernel.transpose(1, 0, 2).reshape(c, s * r).astype(x.dtype)
      y = x.reshape(-1, c) @ kernel + bias.reshape(-1).astype(x.dtype)
      return y.reshape(b, t, v, s, r)

    graph = jnp.einsum(
      "btusr,btvsr->bsuv",
      embed("query"),
      embed("key"),
      preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    )
    inferred = nn.softmax(graph / (r * t), axis=-2)
    topology = (inferred + learned + fixed).astype(x.dtype)
    # Mix joints before channels, while there are fewer channels. Not with an
    # `einsum`: it would move joints to the end and take longer.
    topology = topology.swapaxes(2, 3).reshape(b, s * v, v)
    mixed = topology @ x.swapaxes(1, 2).reshape(b, v, t * c)
    mixed = mixed.reshape(b, s, v, t, c).transpose(0, 3, 2, 1, 4)
    return layers.BranchDense(self.features, name="value")(mixed), graph
