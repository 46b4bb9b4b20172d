# SPDX-License-Identifier: Apache-2.0
"""The block of all backbones, and the module of 2s-AGCN and CTR-GCN."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn

from sgcl_jax import errors, skeletons
from sgcl_jax.models import layers

# (features, stride) of block_0 .. block_9, at the papers' width of 64.
TEN_BLOCKS = ((64, 1),) * 4 + ((128, 2),) + ((128, 1),) * 2
TEN_BLOCKS += ((256, 2),) + ((256, 1),) * 2


class Block(nn.Module):
  """One graph convolution and one temporal convolution, with shortcuts.

  Attributes:
    features: Output channels F.
    stride: Stride over the frames.
    spatial: Constructor of the graph convolution from F; it maps x
      [B, T, V, C] -> (y [B, T, V, F], graph [B, S, V, V]).
    temporal: Constructor of the temporal convolution from F, stride and norm.
    norm: Constructor of a BatchNorm.
    residual: Whether a shortcut spans the block.
  """

  features: int
  stride: int
  spatial: Callable[..., nn.Module]
  temporal: Callable[..., nn.Module]
  norm: layers.Norm
  residual: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps [B, T, V, C] to [B, ceil(T / stride), V, F] and [B, S, V, V]."""
    shortcut = 0.0
    if self.residual:
      shortcut = self._match(x, self.stride, "shortcut")
    y, graph = self.spatial(self.features, name="spatial")(x)
    # The scale starts almost at zero, so that the block starts as its shortcut.
    start = nn.initializers.constant(1e-6)
    y = self.norm(scale_init=start, name="spatial_norm")(y)
    y = nn.relu(y + self._match(x, 1, "spatial_shortcut")).astype(x.dtype)
    y = self.temporal(self.features, self.stride, self.norm, name="temporal")(y)
    return nn.relu(y + shortcut).astype(x.dtype), graph

  def _match(self, x, stride, name):
    """Returns the shortcut of x: F channels at this stride."""
    if (x.shape[-1], stride) == (self.features, 1):
      return x
    init = layers.he_normal(self.features)
    x = layers.Dense(self.features, init, name=name)(x[:, ::stride])
    return self.norm(name=f"{name}_norm")(x)


class TenBlocks(nn.Module):
  """Ten blocks and a classifier: the module of 2s-AGCN and CTR-GCN.

  Attributes:
    num_classes: L.
    skeleton: Joint layout.
    num_persons: M.
    spatial: Constructor as in `Block`; also takes the skeleton.
    temporal: Constructor as in `Block`.
    width: Features of the first block; the other blocks scale with it.
    graph_block: Block whose graph is returned (paper Tab. 13).
    dropout: Rate of the dropout before the classifier.
    dtype: Type that the blocks compute in; parameters, statistics and results
      keep their own types.
    remat: Whether the backward pass computes the blocks again, for memory.
    axis_name: Axis of the replicas in training.
  """

  num_classes: int
  skeleton: skeletons.Skeleton
  num_persons: int
  spatial: Callable[..., nn.Module]
  temporal: Callable[..., nn.Module]
  width: int = 64
  graph_block: int = 9
  dropout: float = 0.0
  dtype: Any = None
  remat: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Classifies clips.

    Args:
      x: [N, M, T, V, C].
      train: Whether BatchNorm uses the batch, and dropout is active.

    Returns:
      logits: [N, L].
      graph: [N, S, V, V] of block `graph_block`, averaged over persons.
    """
    n, m, _, v, _ = x.shape
    assert (m, v) == (self.num_persons, self.skeleton.num_joints), x.shape
    norm = functools.partial(
      layers.BatchNorm, train=train, axis_name=self.axis_name
    )
    x = layers.InputNorm(norm, name="input")(x)
    feature, graph = encode(
      x,
      n,
      TEN_BLOCKS,
      width=self.width,
      graph_block=self.graph_block,
      dtype=self.dtype,
      remat=self.remat,
      first_shortcut=False,
      spatial=functools.partial(self.spatial, skeleton=self.skeleton),
      temporal=self.temporal,
      norm=norm,
    )
    self.sow("intermediates", "feature", feature)
    x = layers.Dropout(self.dropout, train, self.axis_name)(feature)
    return layers.classifier(x.shape[-1], self.num_classes)(x), graph


def check_fields(
  model: nn.Module, num_blocks: int, *, minimum: int, multiple: int = 1
) -> None:
  """Raises ConfigError if the layers of a backbone cannot have its fields.

  Args:
    model: Backbone with the fields `width` and `graph_block`.
    num_blocks: Number of its blocks.
    minimum: Smallest width.
    multiple: What the width must be a multiple of.
  """
  if model.width < minimum or model.width % multiple:
    kind = f"a multiple of {multiple}, " if multiple > 1 else ""
    raise errors.ConfigError(
      f"config.model.width={model.width} must be {kind}{minimum} or more"
    )
  if not 0 <= model.graph_block < num_blocks:
    raise errors.ConfigError(
      f"config.model.graph_block={model.graph_block} is not one of the blocks 0"
      f" to {num_blocks - 1}"
    )


def encode(
  x: jax.Array,
  num_clips: int,
  stack: Sequence[tuple[int, int]],
  *,
  width: int,
  graph_block: int,
  dtype: Any,
  remat: bool,
  first_shortcut: bool,
  **fields: Any,
) -> tuple[jax.Array, jax.Array]:
  """Runs blocks as submodules of the calling module, and pools.

  Args:
    x: [B, T, V, C], the persons of all clips.
    num_clips: N.
    stack: (features, stride) of each block, at a width of 64.
    width: Features of the first block, to which all others are scaled.
    graph_block: Block whose graph is returned.
    dtype: Type that the blocks compute in, None for the type of x.
    remat: Whether the backward pass computes the blocks again.
    first_shortcut: Whether a shortcut also spans the first block.
    **fields: Further fields of `Block`.

  Returns:
    feature: [N, F], averaged over persons, frames and joints.
    graph: [N, S, V, V], averaged over persons.
  """
  block = nn.remat(Block) if remat else Block
  x = x.astype(dtype or x.dtype)
  for i, (features, stride) in enumerate(stack):
    residual = i > 0 or first_shortcut
    features = features * width // 64
    x, graph = block(
      features, stride, residual=residual, name=f"block_{i}", **fields
    )(x)
    if i == graph_block:
      chosen = graph.reshape(num_clips, -1, *graph.shape[1:]).mean(axis=1)
  feature = layers.widen(x).mean(axis=(1, 2))
  return feature.reshape(num_clips, -1, x.shape[-1]).mean(axis=1), chosen
