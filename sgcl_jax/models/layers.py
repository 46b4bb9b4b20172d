# SPDX-License-Identifier: Apache-2.0
"""Layers that the backbones share: BatchNorm and temporal convolutions."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Norm = Callable[..., nn.Module]


# Draws per call of the one program that draws parameters.
_CHUNK = 4096


def normal(stddev: float, mean: float = 0.0) -> nn.initializers.Initializer:
  """Normal draws, made in chunks of one size.

  `jax.random.normal` compiles a program for every shape, which for a backbone's
  hundred parameters takes longer than compiling its training step.
  """

  def init(key, shape, dtype=jnp.float32):
    size = math.prod(shape)
    chunks = [
      _draw_chunk(jax.random.fold_in(key, i)) for i in range(-(-size // _CHUNK))
    ]
    # Outside of a trace NumPy does the rest, which compiles nothing.
    xp = jnp if isinstance(key, jax.core.Tracer) else np
    draws = xp.concatenate(chunks)[:size].reshape(shape)
    return jnp.asarray(mean + stddev * draws, dtype)

  return init


@jax.jit
def _draw_chunk(key):
  return jax.random.normal(key, (_CHUNK,), jnp.float32)


def he_normal(fan_out: int) -> nn.initializers.Initializer:
  """N(0, sqrt(2 / fan_out)), the fan-out given because kernels are merged."""
  return normal((2.0 / fan_out) ** 0.5)


class Dense(nn.Module):
  """Dense layer on the last axis.

  `nn.Dense` on more than two axes makes XLA copy the gradient of its output
  element by element on CPU; on a matrix it takes half the time.

  Attributes:
    features: Output channels F.
    kernel_init: Initialiser of the kernel [C, F].
  """

  features: int
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., C] to [..., F]."""
    *batch, channels = x.shape
    kernel = self.param("kernel", self.kernel_init, (channels, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    y = x.reshape(-1, channels) @ kernel + bias
    return y.reshape(*batch, self.features)


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last, and over the replicas.

  Normalises with the biased variance and stores n/(n-1) times it, n counted
  over all replicas, as torch does; so R replicas equal one with R times the
  batch.

  Attributes:
    train: Whether to use and record the statistics of the batch.
    axis_name: Axis of the replicas in training, or None for one replica.
    scale_init: Initialiser of the scale.
    momentum: Weight of the batch in the running statistics.
    epsilon: Added to the variance.
  """

  train: bool
  axis_name: str | None = None
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  momentum: float = 0.1
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns x [..., F] normalised per channel, in the dtype of x."""
    features = x.shape[-1]
    scale = self.param("scale", self.scale_init, (features,))
    bias = self.param("bias", nn.initializers.zeros, (features,))
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
    running_var = self.variable("batch_stats", "var", jnp.ones, (features,))

    mean, var = running_mean.value, running_var.value
    if self.train:
      y = x.astype(scale.dtype)
      mean, var, count = self._statistics(y)
      if not self.is_initializing():
        running_mean.value += self.momentum * (mean - running_mean.value)
        unbiased = var * (count / max(count - 1, 1))
        running_var.value += self.momentum * (unbiased - running_var.value)
    factor = lax.rsqrt(var + self.epsilon) * scale
    return ((x.astype(scale.dtype) - mean) * factor + bias).astype(x.dtype)

  def _statistics(self, x):
    """Mean and biased variance [F] over the global batch, and its count."""
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    mean = x.mean(axes)
    # Two passes: the mean of squares minus the square of the mean cancels.
    var = jnp.square(x - mean).mean(axes)
    if self.axis_name is None or self.is_initializing():
      return mean, var, count
    global_mean = lax.pmean(mean, self.axis_name)
    spread = var + jnp.square(mean - global_mean)
    count *= lax.psum(1, self.axis_name)
    return global_mean, lax.pmean(spread, self.axis_name), count


class InputNorm(nn.Module):
  """BatchNorm of every channel of every joint of every person."""

  norm: Norm

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps clips [N, M, T, V, C] to persons [N * M, T, V, C]."""
    n, m, t, v, c = x.shape
    x = x.transpose(0, 2, 1, 3, 4).reshape(n, t, m * v * c)
    x = self.norm(name="norm")(x).reshape(n, t, m, v, c)
    return x.transpose(0, 2, 1, 3, 4).reshape(n * m, t, v, c)


class MultiScaleTemporalConv(nn.Module):
  """Four temporal branches of a quarter of the channels each.

  Sec. 3.3 of Chen et al., 2021 (https://arxiv.org/abs/2107.12213): two dilated
  convolutions of width 5, a max-pooling of width 3 and a pointwise branch. The
  1x1 convolutions that open the branches are one dense layer, and so are the
  norms that close them.

  Attributes:
    features: Output channels F.
    stride: Of the frames.
    norm: Makes a BatchNorm.
  """

  features: int
  stride: int
  norm: Norm

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, V, C] to [B, ceil(T / stride), V, F]."""
    width = self.features // 4
    norm = functools.partial(self.norm, scale_init=normal(0.02, mean=1.0))
    x = Dense(self.features, he_normal(width), name="entry")(x)
    point = x[:, :: self.stride, :, 3 * width :]
    x = nn.relu(norm(name="entry_norm")(x[..., : 3 * width]))
    wide, wider, pooled = jnp.split(x, 3, axis=-1)
    branches = [
      self._conv(wide, width, dilation=1),
      self._conv(wider, width, dilation=2),
      _max_pool(pooled, self.stride),
      point,
    ]
    return norm(name="exit_norm")(jnp.concatenate(branches, axis=-1))

  def _conv(self, x, width, dilation):
    return nn.Conv(
      width,
      kernel_size=(5, 1),
      strides=(self.stride, 1),
      padding=((2 * dilation, 2 * dilation), (0, 0)),
      kernel_dilation=(dilation, 1),
      kernel_init=he_normal(5 * width),
      name=f"conv_{dilation}",
    )(x)


def _max_pool(x, stride):
  """Maximum of three neighbouring frames of x [B, T, V, C], x >= 0."""
  t = x.shape[1]
  # Padding with 0 is padding with -inf here, since a ReLU came before; and
  # slices cost a third of a reduce_window and its gradient on CPU.
  x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
  slices = [x[:, i : i + t : stride] for i in range(3)]
  # Not jnp.maximum: its gradient compares inputs with the result, which XLA may
  # have computed twice with different rounding, and then drops both.
  return functools.reduce(lambda a, b: jnp.where(a >= b, a, b), slices)
