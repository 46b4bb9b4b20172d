# SPDX-License-Identifier: Apache-2.0
"""Layers that the backbones share, and the draws that they start from."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Norm = Callable[..., nn.Module]


# Draws per call of the program that draws parameters.
_CHUNK = 4096


def normal(stddev: float, mean: float = 0.0) -> nn.initializers.Initializer:
  """Draws from N(mean, stddev)."""
  return _drawn(_draw_normal, lambda draws: mean + stddev * draws)


def uniform(bound: float) -> nn.initializers.Initializer:
  """Draws from U(-bound, bound)."""
  return _drawn(_draw_uniform, lambda draws: bound * draws)


def he_normal(fan_out: int) -> nn.initializers.Initializer:
  """N(0, sqrt(2 / fan_out)), the fan-out given because kernels are merged."""
  return normal((2.0 / fan_out) ** 0.5)


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
  """What torch gives the kernel and the bias of a layer by default."""
  return uniform(fan_in**-0.5)


def _drawn(draw_chunk, transform):
  """Makes an initialiser of draws in chunks of one size.

  `jax.random.normal` compiles a program for every shape, which for a backbone's
  hundred parameters takes longer than compiling its training step.
  """

  def init(key, shape, dtype=jnp.float32):
    size = math.prod(shape)
    chunks = [
      draw_chunk(jax.random.fold_in(key, i)) for i in range(-(-size // _CHUNK))
    ]
    # Outside of a trace NumPy does the rest, which compiles nothing.
    xp = jnp if isinstance(key, jax.core.Tracer) else np
    draws = xp.concatenate(chunks)[:size].reshape(shape)
    return jnp.asarray(transform(draws), dtype)

  return init


@jax.jit
def _draw_normal(key):
  return jax.random.normal(key, (_CHUNK,), jnp.float32)


@jax.jit
def _draw_uniform(key):
  return jax.random.uniform(key, (_CHUNK,), jnp.float32, -1.0, 1.0)


def widen(x: jax.Array) -> jax.Array:
  """Casts up to single precision what is below it."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Dense(nn.Module):
  """Dense layer on the last axis, in the dtype of its input.

  `nn.Dense` on more than two axes makes XLA copy the gradient of its output
  element by element on CPU; on a matrix it takes half the time.

  Attributes:
    features: Output channels F.
    kernel_init: Initialiser of the kernel [C, F].
    bias_init: Initialiser of the bias [F].
  """

  features: int
  kernel_init: nn.initializers.Initializer
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., C] to [..., F]."""
    *batch, channels = x.shape
    kernel = self.param("kernel", self.kernel_init, (channels, self.features))
    bias = self.param("bias", self.bias_init, (self.features,))
    y = x.reshape(-1, channels) @ kernel.astype(x.dtype) + bias.astype(x.dtype)
    return y.reshape(*batch, self.features)


def classifier(channels: int, num_classes: int) -> Dense:
  """Returns the last layer of a backbone, from C channels to logits."""
  return Dense(
    num_classes, he_normal(num_classes), torch_uniform(channels), name="head"
  )


class BranchDense(nn.Module):
  """Sum of one dense layer per sub-graph, as a single product.

  Attributes:
    features: Output channels F.
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, V, S, C] to [B, T, V, F]."""
    b, t, v, s, c = x.shape
    init = he_normal(self.features * c * s)
    kernel = self.param("kernel", init, (s, c, self.features))
    bias = self.param("bias", nn.initializers.zeros, (s, self.features))
    kernel = kernel.reshape(s * c, self.features).astype(x.dtype)
    y = x.reshape(b * t * v, s * c) @ kernel + bias.sum(0).astype(x.dtype)
    return y.reshape(b, t, v, self.features)


class Dropout(nn.Module):
  """Dropout whose draws belong to the clip, not to the replica it is on.

  Attributes:
    rate: Share of the values that are set to 0.
    train: Whether to drop any.
    axis_name: Axis of the replicas in training.
  """

  rate: float
  train: bool
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [N, F] to [N, F]; needs the rng stream `dropout` in training."""
    if not self.train or not self.rate:
      return x
    n, f = x.shape
    keys = clip_keys(self.make_rng("dropout"), n, self.axis_name)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, (f,)))
    return jnp.where(kept(keys), x / (1 - self.rate), 0)


def clip_keys(key: jax.Array, num: int, axis_name: str | None) -> jax.Array:
  """Returns a key for each of this replica's [num] clips, by global position.

  The replicas hold equal shares of the global batch, in their order.
  """
  first = 0 if axis_name is None else num * lax.axis_index(axis_name)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(num))


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
    """Returns x [..., F] normalised per channel, in single precision at least.

    What follows casts down, after it has added or rectified.
    """
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
        unbiased = var * (count / max(count - 1, 1))
        self._move(running_mean, mean)
        self._move(running_var, unbiased)
    factor = lax.rsqrt(var + self.epsilon) * scale
    return (x.astype(scale.dtype) - mean) * factor + bias

  def _move(self, running, new):
    # Not in place: the old value may be an array of the caller's.
    running.value = running.value + self.momentum * (new - running.value)

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
