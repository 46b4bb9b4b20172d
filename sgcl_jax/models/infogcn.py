# SPDX-License-Identifier: Apache-2.0
"""InfoGCN (Chi et al., CVPR 2022)."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from sgcl_jax import errors, skeletons
from sgcl_jax.models import ancestors, blocks, layers, temporal

# (features, stride) of block_0 .. block_8, at the paper's width of 64.
STACK = ((64, 1),) * 3 + ((128, 2),) + ((128, 1),) * 2
STACK += ((256, 2),) + ((256, 1),) * 2

# Upper bound of the noise's factor.
MAX_STDDEV = 100.0


def create(**fields: Any) -> nn.Module:
  """Returns InfoGCN; for the fields see `InfoGcn`.

  Raises:
    ConfigError: If `ancestors.make_matrix` refuses `k` or `edges`, if the
      layers cannot have the width, or if there is no block `graph_block`.
  """
  model = InfoGcn(**fields)
  # Each head needs a channel: an eighth of the features.
  blocks.check_fields(model, len(STACK), minimum=8, multiple=4)
  ancestors.make_matrix(model.skeleton, model.k, model.edges)
  return model


def adapt(
  *, modality: str, skeleton: skeletons.Skeleton, fields: dict[str, Any]
) -> tuple[dict[str, Any], str]:
  """Sets `k` for the stream: the module itself computes bones from joints.

  Args:
    modality: Stream of the experiment.
    skeleton: Joint layout.
    fields: Overrides of the module; `k` may be set.

  Returns:
    The overrides with `k`, and the modality that the transform makes.

  Raises:
    ConfigError: If `k` and the modality contradict each other.
  """
  is_bone = "bone" in modality
  k = fields.get("k")
  if k is not None and (k == 1) != is_bone:
    raise errors.ConfigError(
      f"config.model.k={k} with data.modality={modality!r}: bones are k=1 of"
      " InfoGCN, and all other k go with joint or joint_motion"
    )
  if k is None:
    # No joint has a V-th ancestor, so k = V gives the joints themselves; the
    # authors' 8 does so for their two layouts.
    known = skeleton.name in ("ntu", "ucla")
    k = 1 if is_bone else 8 if known else skeleton.num_joints
  return {**fields, "k": k}, modality.replace("bone", "joint")


class SelfAttentionConv(nn.Module):
  """Graph convolution along attention maps, one per head (Sec. 3.3).

  Attributes:
    features: Output channels F.
    num_heads: S.
  """

  features: int
  num_heads: int

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mixes joints.

    Args:
      x: [B, T, V, C].

    Returns:
      y: [B, T, V, F].
      graph: [B, S, V, V], the attention maps averaged over frames, before the
        shared topology; row u gathers from column v.
    """
    b, t, v, c = x.shape
    s, r = self.num_heads, c // 8
    # At least in single precision: the softmax depends on the differences of
    # products, which reach hundreds.
    y = nn.LayerNorm(1e-5, use_fast_variance=False, name="norm")(
      layers.widen(x)
    )
    y = layers.Dense(
      2 * s * r, layers.normal(1.0), layers.torch_uniform(c), name="query_key"
    )(y)
    query, key = jnp.moveaxis(y.reshape(b, t, v, 2, s, r), 3, 0)
    products = jnp.einsum("btusr,btvsr->btsuv", query, key)
    attention = nn.softmax(products * r**-0.5, axis=-1)
    identity = lambda *_: jnp.broadcast_to(jnp.eye(v), (s, v, v))
    shared = self.param("adjacency", identity)
    topology = (attention * shared).astype(x.dtype)
    # Mix joints before channels, while there are fewer channels. The reshape
    # joins the axes of rows: XLA has no fast product for more than one.
    mixed = topology.reshape(b, t, s * v, v) @ x
    mixed = mixed.reshape(b, t, s, v, c).swapaxes(2, 3)
    y = layers.BranchDense(self.features, name="value")(mixed)
    return y, attention.mean(axis=1)


class RectifiedTemporalConv(nn.Module):
  """CTR-GCN's temporal convolution with torch's initialisers, then a ReLU.

  Attributes:
    features: Output channels F.
    stride: Stride over the frames.
    norm: Constructor of a BatchNorm.
  """

  features: int
  stride: int
  norm: layers.Norm

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, V, C] to [B, ceil(T / stride), V, F]."""
    conv = temporal.MultiScaleTemporalConv(
      self.features, self.stride, self.norm, torch_init=True, name="branches"
    )
    return nn.relu(conv(x))


class InfoGcn(nn.Module):
  """InfoGCN for clips of several persons.

  Attributes:
    num_classes: L.
    skeleton: Joint layout.
    num_persons: M.
    k: Hops to the ancestor that is subtracted: 8 for joints, 1 for bones.
    edges: `parent`, or `released` (see `ancestors.make_matrix`).
    num_heads: S.
    noise_ratio: Exponent of the latent's variance in its noise; None for no
      noise.
    prior_gain: Length of the latent prior of a class.
    width: Features of the first block; the other blocks scale with it.
    graph_block: Block whose graph is returned (paper Tab. 13).
    dropout: Rate of the dropout before the latent.
    dtype: Type that the blocks compute in; parameters, statistics and results
      keep their own types.
    remat: Whether the backward pass computes the blocks again, for memory.
    axis_name: Axis of the replicas in training.
  """

  num_classes: int
  skeleton: skeletons.Skeleton
  num_persons: int
  k: int = 8
  edges: str = "parent"
  num_heads: int = 3
  noise_ratio: float | None = 0.5
  prior_gain: float = 3.0
  width: int = 64
  graph_block: int = 8
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
      train: Whether BatchNorm uses the batch, the latent is drawn (rng stream
        `latent`) and dropout is active (`dropout`).

    Returns:
      logits: [N, L].
      graph: [N, S, V, V], the attention maps of block `graph_block`, averaged
        over persons and frames (App. 6.1 of SkeletonGCL).
    """
    n, m, _, v, _ = x.shape
    assert (m, v) == (self.num_persons, self.skeleton.num_joints), x.shape
    norm = functools.partial(
      layers.BatchNorm, train=train, axis_name=self.axis_name
    )
    x = layers.InputNorm(norm, name="input")(self._embed(x))
    feature, graph = blocks.encode(
      x,
      n,
      STACK,
      width=self.width,
      graph_block=self.graph_block,
      dtype=self.dtype,
      remat=self.remat,
      first_shortcut=True,
      spatial=functools.partial(SelfAttentionConv, num_heads=self.num_heads),
      temporal=RectifiedTemporalConv,
      norm=norm,
    )
    self.sow("intermediates", "feature", feature)
    x = nn.relu(self._dense("bottleneck", feature))
    x = layers.Dropout(self.dropout, train, self.axis_name)(x)
    latent = self._latent(x, train)
    self.sow("intermediates", "latent", latent)
    classify = layers.classifier(latent.shape[-1], self.num_classes)
    return classify(latent), graph

  def _embed(self, x):
    """Embeds coordinates as [N, M, T, V, F] and adds an embedding per joint."""
    matrix = ancestors.make_matrix(self.skeleton, self.k, self.edges)
    x = ancestors.subtract(matrix, x, self.skeleton.dimensions)
    draw = layers.torch_uniform(x.shape[-1])
    x = layers.Dense(self.width, draw, draw, name="embedding")(x)
    position = layers.normal(1.0)
    return x + self.param("position", position, (x.shape[-2], self.width))

  def _dense(self, name, x):
    width = x.shape[-1]
    # Glorot's uniform initialiser with the gain of a ReLU.
    glorot = layers.uniform(math.sqrt(2.0) * math.sqrt(6.0 / (2 * width)))
    return layers.Dense(width, glorot, layers.torch_uniform(width), name=name)(
      x
    )

  def _latent(self, x, train):
    """Returns z [N, D] (Sec. 3.2); draws the class priors when initialising."""
    mean = self._dense("latent_mean", x)
    log_variance = self._dense("latent_log_variance", x)
    if self.is_initializing():
      prior = nn.initializers.orthogonal(self.prior_gain)
      shape = (self.num_classes, mean.shape[-1])
      key = self.make_rng("params")
      self.variable("constants", "z_prior", lambda: prior(key, shape))
    if not train or self.noise_ratio is None:
      return mean
    key = self.make_rng("latent")
    noise = draw_noise(key, mean, self.axis_name)
    # Bound the exponent, not the result: a clipped infinity has a NaN gradient.
    exponent = self.noise_ratio * log_variance
    bound = math.log(MAX_STDDEV)
    exponent = jnp.where(exponent < bound, exponent, bound)
    return mean + noise * jnp.exp(exponent)


def draw_noise(
  key: jax.Array, mean: jax.Array, axis_name: str | None
) -> jax.Array:
  """Draws standard normal noise [N, D], by each clip's global position.

  Args:
    key: PRNG key of the step, equal on all replicas.
    mean: [N, D] of this replica, for the shape and the dtype.
    axis_name: Axis of the replicas, or None for one replica.
  """
  n, d = mean.shape
  keys = layers.clip_keys(key, n, axis_name)
  return jax.vmap(lambda key: jax.random.normal(key, (d,), mean.dtype))(keys)
