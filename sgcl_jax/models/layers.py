# SPDX-License-Identifier: Apache-2.0
"""Layers that the backbones share, and their initialisers."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Norm = Callable[..., nn.Module]


# Numbers per call of the compiled functions that draw parameters.
_CHUNK = 4096


def normal(stddev: float, mean: float = 0.0) -> nn.initializers.Initializer:
  """Returns an initialiser that draws from N(mean, std `stddev`)."""
  return _drawn(_draw_normal, lambda draws: mean + stddev * draws)


def uniform(bound: float) -> nn.initializers.Initializer:
  """Returns an initialiser that draws from U(-bound, bound)."""
  return _drawn(_draw_uniform, lambda draws: bound * draws)


def he_normal(fan_out: int) -> nn.initializers.Initializer:
  """Returns an initialiser that draws from N(0, std sqrt(2 / fan_out)).

  The fan-out is an argument because our merged kernels have another shape.
  """
  return normal((2.0 / fan_out) ** 0.5)


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
  """Returns torch's default initialiser of the kernel and bias of a layer."""
  return uniform(fan_in**-0.5)


def _drawn(draw_chunk, transform):
  """Makes an initialiser that draws in chunks of one size.

  `jax.random.normal` compiles a program for every shape. For the hundred
  parameters of a backbone that takes longer than to compile its training step.
  """

  def init(key, shape, dtype=jnp.float32):
    size = math.prod(shape)
    chunks = [
      draw_chunk(jax.random.fold_in(key, i)) for i in range(-(-size // _CHUNK))
    ]
    # Outside of a trace, NumPy joins the chunks: it compiles nothing.
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
  """Casts to single precision if x has less."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Dense(nn.Module):
  """Dense layer on the last axis, in the dtype of its input.

  With `nn.Dense` on more than two axes, XLA on CPU copies the gradient of the
  output element by element. The product of matrices here takes half the time.

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
  """Dropout that draws by the clip's global position, not by the replica.

  Attributes:
    rate: Share of the values to set to 0.
    train: Whether dropout is active.
    axis_name: Axis of the replicas in training, or None for one replica.
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
  """Returns keys [num] for this replica's clips, by their global position.

  The replicas hold equal shares of the global batch, in the order of the axis.

  Args:
    key: PRNG key of the step, equal on all replicas.
    num: Clips of this replica.
    axis_name: Axis of the replicas, or None for one replica.
  """
  first = 0 if axis_name is None else num * lax.axis_index(axis_name)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(num))


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last, and over the replicas.

  As torch, it normalises with the biased variance and stores n/(n-1) times this
  variance. n counts the values of all replicas, so that R replicas equal one
  replica with R times the batch.

  Attributes:
    train: Whether to normalise by the batch and update the statistics.
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

    Callers cast down after the addition or ReLU that follows.
    """
    features = x.shape[-1]
    scale = self.param("scale", self.scale_init, (features,))
    bias = self.param("bias", nn.initializers.zeros, (features,))
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
    running_var = self.variable("batch_stats", "var", jnp.ones, (features,))

    if not self.train:
      factor = lax.rsqrt(running_var.value + self.epsilon) * scale
      return (x.astype(scale.dtype) - running_mean.value) * factor + bias
    axis_name = None if self.is_initializing() else self.axis_name
    y, mean, var = _normalize(x, scale, bias, self.epsilon, axis_name)
    if not self.is_initializing():
      count = _count(x, axis_name)
      self._move(running_mean, mean)
      self._move(running_var, var * (count / max(count - 1, 1)))
    return y

  def _move(self, running, new):
    # Not in place: the old value may be an array that the caller owns.
    running.value = running.value + self.momentum * (new - running.value)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalize(x, scale, bias, epsilon, axis_name):
  """Normalises x [..., F] by the statistics of the global batch.

  The gradient is written out, with two sums over the batch. Differentiated
  automatically, it would take twice as many passes over x.

  Returns:
    y: [..., F], in the dtype of scale.
    mean, var: [F], biased, without a gradient.
  """
  return _normalize_forward(x, scale, bias, epsilon, axis_name)[0]


def _normalize_forward(x, scale, bias, epsilon, axis_name):
  wide = x.astype(scale.dtype)
  axes = tuple(range(x.ndim - 1))
  mean = wide.mean(axes)
  # Two passes: the mean of squares minus the squared mean loses digits.
  var = jnp.square(wide - mean).mean(axes)
  if axis_name is not None:
    means, variances = lax.all_gather((mean, var), axis_name)  # [replicas, F]
    mean = means.mean(0)
    var = (variances + jnp.square(means - mean)).mean(0)
  inverse = lax.rsqrt(var + epsilon)
  y = (wide - mean) * (inverse * scale) + bias
  return (y, mean, var), (x, mean, inverse, scale)


def _normalize_backward(epsilon, axis_name, saved, cotangents):
  del epsilon
  dy, _, _ = cotangents
  x, mean, inverse, scale = saved
  axes = tuple(range(x.ndim - 1))
  normal_x = (x.astype(scale.dtype) - mean) * inverse
  sums = d_bias, d_scale = dy.sum(axes), (dy * normal_x).sum(axes)
  if axis_name is not None:
    sums = lax.psum(sums, axis_name)
  d_mean, d_spread = (total / _count(x, axis_name) for total in sums)
  dx = (dy - d_mean - normal_x * d_spread) * (inverse * scale)
  return dx.astype(x.dtype), d_scale, d_bias


_normalize.defvjp(_normalize_forward, _normalize_backward)


def _count(x, axis_name):
  """Returns the number of values per channel in the global batch."""
  count = x.size // x.shape[-1]
  return count if axis_name is None else count * lax.axis_size(axis_name)


class InputNorm(nn.Module):
  """BatchNorm of every channel of every joint of every person.

  Attributes:
    norm: Constructor of a BatchNorm.
  """

  norm: Norm

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps clips [N, M, T, V, C] to persons [N * M, T, V, C]."""
    n, m, t, v, c = x.shape
    x = x.transpose(0, 2, 1, 3, 4).reshape(n, t, m * v * c)
    x = self.norm(name="norm")(x).reshape(n, t, m, v, c)
    return x.transpose(0, 2, 1, 3, 4).reshape(n * m, t, v, c)
