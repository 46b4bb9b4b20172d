# SPDX-License-Identifier: Apache-2.0
"""CTR-GCN (Chen et al., 2021, https://arxiv.org/abs/2107.12213)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from sgcl_jax import skeletons
from sgcl_jax.models import layers

# (features, stride) of block_0 .. block_9, at the paper's width of 64.
BLOCKS = ((64, 1),) * 4 + ((128, 2),) + ((128, 1),) * 2
BLOCKS += ((256, 2),) + ((256, 1),) * 2


class ChannelTopologyConv(nn.Module):
  """Graph convolution whose adjacency differs per clip and channel (CTR-GC).

  Sec. 3.2, for all sub-graphs of a block.

  Attributes:
    features: Output channels F.
    rel_features: Width R of the joint-pair embedding.
  """

  features: int
  rel_features: int

  @nn.compact
  def __call__(
    self, x: jax.Array, adjacency: jax.Array, alpha: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Mixes joints along `adjacency + alpha * graph`.

    Args:
      x: [B, T, V, C].
      adjacency: [S, V, V] shared by all clips; row u gathers from column v.
      alpha: [] strength of the clip's own part.

    Returns:
      y: [B, T, V, F].
      graph: [B, S, V, V], the clip's own part, averaged over channels.
    """
    b, t, v, c = x.shape
    s = adjacency.shape[0]
    assert adjacency.shape == (s, v, v), (adjacency.shape, x.shape)

    def params(name, channels, features):
      init = layers.he_normal(features)
      kernel = self.param(f"{name}_kernel", init, (s, channels, features))
      bias = self.param(f"{name}_bias", nn.initializers.zeros, (s, features))
      return kernel, bias

    # The projection is linear: pooling first is the same sum, T times cheaper.
    pooled = x.mean(axis=1)  # [B, V, C]
    kernel, bias = params("query", c, self.rel_features)
    query = jnp.einsum("bvc,scr->sbvr", pooled, kernel) + bias[:, None, None]
    kernel, bias = params("key", c, self.rel_features)
    key = jnp.einsum("bvc,scr->sbvr", pooled, kernel) + bias[:, None, None]
    graph_kernel, graph_bias = params("graph", self.rel_features, self.features)
    value_kernel, value_bias = params("value", c, self.features)

    # Each channel has its own adjacency, so channels are a batch axis of the
    # product over joints. The two products before it put them in front, which
    # saves the transpositions that took a third of the step on CPU. And alpha
    # scales the kernel, not the V * V * F numbers that come of it.
    x = x.reshape(b * t * v, c)
    y, graphs = 0.0, []
    for i in range(s):
      pairs = jnp.tanh(query[i, :, :, None] - key[i, :, None])  # [B, V, V, R]
      graphs.append(pairs @ graph_kernel[i].mean(-1) + graph_bias[i].mean())
      pairs = pairs.reshape(b * v * v, self.rel_features)
      own = (alpha * graph_kernel[i]).T @ pairs.T  # [F, B * V * V]
      shared = adjacency[i] + alpha * graph_bias[i][:, None, None]  # [F, V, V]
      topology = own.reshape(self.features, b, v, v) + shared[:, None]
      value = value_kernel[i].T @ x.T + value_bias[i][:, None]
      value = value.reshape(self.features, b, t, v)
      y += jnp.einsum("fbuv,fbtv->fbtu", topology, value)
    y = y.reshape(self.features, b * t * v).T.reshape(b, t, v, self.features)
    return y, jnp.stack(graphs, axis=1)


class Block(nn.Module):
  """One graph convolution and one temporal convolution, with shortcuts.

  Attributes:
    features: Output channels F.
    stride: Of the frames.
    residual: Whether a shortcut spans the block.
    skeleton: Joint layout; its adjacency is the start of the shared topology.
    norm: Makes a BatchNorm.
  """

  features: int
  stride: int
  residual: bool
  skeleton: skeletons.Skeleton
  norm: layers.Norm

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps [B, T, V, C] to [B, ceil(T / stride), V, F]; also the graph."""
    channels = x.shape[-1]
    shortcut = 0.0
    if self.residual:
      shortcut = x
      if (channels, 1) != (self.features, self.stride):
        shortcut = self._project("shortcut", x[:, :: self.stride])
    x, graph = self._spatial(x, channels)
    x = layers.MultiScaleTemporalConv(
      self.features, self.stride, self.norm, name="temporal"
    )(x)
    return nn.relu(x + shortcut), graph

  def _spatial(self, x, channels):
    adjacency = self.param(
      "adjacency", lambda _: jnp.asarray(self.skeleton.adjacency(), jnp.float32)
    )
    alpha = self.param("alpha", nn.initializers.zeros, ())
    y, graph = ChannelTopologyConv(
      self.features,
      # Coordinates have too few channels to be reduced.
      rel_features=8 if channels <= 9 else channels // 8,
      name="spatial",
    )(x, adjacency, alpha)
    # Almost zero at first: the block starts as its shortcut.
    start = nn.initializers.constant(1e-6)
    y = self.norm(scale_init=start, name="spatial_norm")(y)
    if channels != self.features:
      x = self._project("spatial_shortcut", x)
    return nn.relu(y + x), graph

  def _project(self, name, x):
    init = layers.he_normal(self.features)
    x = layers.Dense(self.features, init, name=name)(x)
    return self.norm(name=f"{name}_norm")(x)


class CtrGcn(nn.Module):
  """CTR-GCN for clips of several persons.

  Attributes:
    num_classes: L.
    skeleton: Joint layout.
    num_persons: M.
    width: Features of the first block; the others are multiples of it.
    graph_block: Block whose graph is returned (paper Tab. 13).
    axis_name: Axis of the replicas in training.
  """

  num_classes: int
  skeleton: skeletons.Skeleton
  num_persons: int
  width: int = 64
  graph_block: int = 9
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Classifies clips.

    Args:
      x: [N, M, T, V, C].
      train: Whether BatchNorm uses the batch.

    Returns:
      logits: [N, L].
      graph: [N, S, V, V], the part of block `graph_block` inferred from the
        clip, averaged over persons and channels (paper App. 6.1).
    """
    n, m, _, v, _ = x.shape
    assert (m, v) == (self.num_persons, self.skeleton.num_joints), x.shape
    norm = functools.partial(
      layers.BatchNorm, train=train, axis_name=self.axis_name
    )
    assert 0 <= self.graph_block < len(BLOCKS), self.graph_block
    x = layers.InputNorm(norm, name="input")(x)
    for i, (features, stride) in enumerate(BLOCKS):
      features = features * self.width // 64
      block = Block(
        features, stride, i > 0, self.skeleton, norm, name=f"block_{i}"
      )
      x, graph = block(x)
      if i == self.graph_block:
        contrasted = graph.reshape(n, m, -1, v, v).mean(axis=1)
    feature = x.mean(axis=(1, 2)).reshape(n, m, -1).mean(axis=1)  # [N, F]
    self.sow("intermediates", "feature", feature)
    init = layers.he_normal(self.num_classes)
    logits = nn.Dense(self.num_classes, kernel_init=init, name="head")(feature)
    return logits, contrasted
