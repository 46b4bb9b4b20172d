# SPDX-License-Identifier: Apache-2.0
"""Hand-written gradients of layers against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.models import layers, transposition

AXIS = "replicas"


def plain_norm(x, scale, bias):
  axes = tuple(range(x.ndim - 1))
  y = (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + 1e-5)
  return y * scale + bias


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num_replicas", [1, 4])
def test_batch_norm_and_its_gradient(num_replicas):
  rng = np.random.default_rng(0)
  x, dy = jnp.asarray(rng.normal(size=(2, 8, 3, 5)) * 3 + 1)
  scale, bias = jnp.asarray(rng.normal(size=(2, 5)))
  expected, pull = jax.vjp(plain_norm, x, scale, bias)

  def apply(x, scale, bias):
    norm = layers.BatchNorm(train=True, axis_name=AXIS)
    zeros, ones = jnp.zeros(5), jnp.ones(5)
    variables = {
      "params": {"scale": scale, "bias": bias},
      "batch_stats": {"mean": zeros, "var": ones},
    }
    return norm.apply(variables, x, mutable="batch_stats")

  def step(x, dy):
    y, pull, statistics = jax.vjp(apply, x, scale, bias, has_aux=True)
    dx, d_scale, d_bias = pull(dy)
    return y, dx, *jax.lax.psum((d_scale, d_bias), AXIS), statistics

  split = lambda a: a.reshape(num_replicas, -1, *a.shape[1:])
  y, dx, d_scale, d_bias, statistics = jax.vmap(step, axis_name=AXIS)(
    split(x), split(dy)
  )
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
  close(y.reshape(x.shape), expected)
  expected_dx, *expected_params = pull(dy)
  close(dx.reshape(x.shape), expected_dx)
  close(d_scale[0], expected_params[0])
  close(d_bias[0], expected_params[1])
  mean, var = (statistics["batch_stats"][key][0] for key in ("mean", "var"))
  close(mean, 0.1 * x.mean((0, 1)))
  close(var, 0.9 + 0.1 * x.var((0, 1), ddof=1))


def test_transpose_and_its_gradient():
  x = jnp.arange(24.0).reshape(2, 3, 4)
  turn = jax.jit(lambda x: transposition.transpose(x, (2, 0, 1)))
  y, pull = jax.vjp(turn, x)
  np.testing.assert_array_equal(y, np.transpose(x, (2, 0, 1)))
  np.testing.assert_array_equal(pull(y)[0], x)
