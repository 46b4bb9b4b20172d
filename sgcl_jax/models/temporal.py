# SPDX-License-Identifier: Apache-2.0
"""Convolutions over frames: the second half of the backbones' blocks."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from sgcl_jax.models import layers


class FrameConv(nn.Module):
  """Convolution over frames.

  Attributes:
    features: Output channels F.
    width: Taps K of the kernel.
    kernel_init: Initialiser of the kernel [K, 1, C, F].
    bias_init: Initialiser of the bias [F].
    stride: Stride over the frames.
    dilation: Frames from one tap to the next.
  """

  features: int
  width: int
  kernel_init: nn.initializers.Initializer
  bias_init: nn.initializers.Initializer = nn.initializers.zeros
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, V, C] to [B, ceil(T / stride), V, F]."""
    shape = (self.width, 1, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    bias = self.param("bias", self.bias_init, (self.features,))
    y = _conv(x, kernel.astype(x.dtype), self.stride, self.dilation)
    return y + bias.astype(x.dtype)


def _convolve(x, kernel, stride, dilation):
  pad = dilation * (len(kernel) // 2)
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, 1),
    ((pad, pad), (0, 0)),
    rhs_dilation=(dilation, 1),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


# Its gradient is written out: see `_kernel_gradient`.
_conv = jax.custom_vjp(_convolve, nondiff_argnums=(2, 3))


def _conv_forward(x, kernel, stride, dilation):
  return _convolve(x, kernel, stride, dilation), (x, kernel)


def _conv_backward(stride, dilation, saved, dy):
  x, kernel = saved
  conv = functools.partial(_convolve, stride=stride, dilation=dilation)
  _, pull = jax.vjp(lambda x: conv(x, kernel), x)
  (dx,) = pull(dy)
  d_kernel = lax.platform_dependent(
    x,
    dy,
    cpu=lambda x, dy: _kernel_gradient(x, dy, len(kernel), stride, dilation),
    default=lambda x, dy: jax.vjp(lambda k: conv(x, k), kernel)[1](dy)[0],
  )
  return dx, d_kernel


_conv.defvjp(_conv_forward, _conv_backward)


def _kernel_gradient(x, dy, width, stride, dilation):
  """Returns the gradient [K, 1, C, F] of the kernel, one product per tap.

  On CPU this takes about half the time of the equivalent convolution. The taps
  are computed one after the other, because each copies its part of x.
  """
  pad = dilation * (width // 2)
  x = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (0, 0)))
  last = (dy.shape[1] - 1) * stride + 1
  dy = dy.reshape(-1, dy.shape[-1])

  def product(start):
    tap = lax.dynamic_slice_in_dim(x, start, last, axis=1)[:, ::stride]
    return tap.reshape(-1, x.shape[-1]).T @ dy

  return lax.map(product, dilation * jnp.arange(width))[:, None]


class TemporalConv(nn.Module):
  """Convolution over 9 frames and a BatchNorm.

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
    init = layers.he_normal(9 * self.features)
    x = FrameConv(self.features, 9, init, stride=self.stride, name="conv")(x)
    return self.norm(name="norm")(x)


class MultiScaleTemporalConv(nn.Module):
  """Four temporal branches of a quarter of the channels each.

  Sec. 3.3 of Chen et al., 2021 (https://arxiv.org/abs/2107.12213): two dilated
  convolutions of width 5, a max-pooling of width 3 and a pointwise branch. The
  1x1 convolutions at the start of the branches are merged into one dense layer,
  and the norms at their ends into one BatchNorm.

  Attributes:
    features: Output channels F.
    stride: Stride over the frames.
    norm: Constructor of a BatchNorm.
    torch_init: Whether to use torch's default initialisers, as InfoGCN does,
      instead of those of CTR-GCN.
  """

  features: int
  stride: int
  norm: layers.Norm
  torch_init: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, V, C] to [B, ceil(T / stride), V, F]."""
    width = self.features // 4
    norm = self.norm
    if not self.torch_init:
      norm = functools.partial(norm, scale_init=layers.normal(0.02, mean=1.0))
    inits = self._inits(fan_in=x.shape[-1], fan_out=width)
    x = layers.Dense(self.features, **inits, name="entry")(x)
    point = x[:, :: self.stride, :, 3 * width :]
    x = nn.relu(norm(name="entry_norm")(x[..., : 3 * width]))
    x = x.astype(point.dtype)
    wide, wider, pooled = jnp.split(x, 3, axis=-1)
    branches = [
      self._conv(wide, width, dilation=1),
      self._conv(wider, width, dilation=2),
      _max_pool(pooled, self.stride),
      point,
    ]
    return norm(name="exit_norm")(jnp.concatenate(branches, axis=-1))

  def _conv(self, x, width, dilation):
    return FrameConv(
      width,
      5,
      **self._inits(fan_in=5 * width, fan_out=5 * width),
      stride=self.stride,
      dilation=dilation,
      name=f"conv_{dilation}",
    )(x)

  def _inits(self, fan_in, fan_out):
    if self.torch_init:
      draw = layers.torch_uniform(fan_in)
      return {"kernel_init": draw, "bias_init": draw}
    zeros = nn.initializers.zeros
    return {"kernel_init": layers.he_normal(fan_out), "bias_init": zeros}


def _max_pool(x, stride):
  """Returns the maxima of three frames each of x [B, T, V, C], x >= 0."""
  t = x.shape[1]
  # After a ReLU, padding with 0 is as good as with -inf. On CPU, slices take a
  # third of the time of a reduce_window and its gradient.
  x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
  slices = [x[:, i : i + t : stride] for i in range(3)]
  # Not jnp.maximum: its gradient compares the inputs with the result. XLA may
  # compute the result twice with different rounding, and then neither input
  # gets the gradient.
  return functools.reduce(lambda a, b: jnp.where(a >= b, a, b), slices)
