# SPDX-License-Identifier: Apache-2.0
"""The projection head and its normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.contrast import projection


def test_normalize_equals_division_by_the_norm():
  v = np.random.default_rng(0).normal(size=(5, 3, 7)).astype(np.float32)
  expected = v / np.linalg.norm(v, axis=-1, keepdims=True)
  np.testing.assert_allclose(projection.normalize(v), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-7, 1e15])
def test_normalize_is_finite_in_value_and_gradient(scale):
  v = jnp.full((2, 4), scale, jnp.float32)
  assert np.isfinite(projection.normalize(v)).all()
  gradient = jax.grad(lambda v: projection.normalize(v)[0, 0])(v)
  assert np.isfinite(gradient).all()


def test_head_is_a_dense_layer_of_unit_length():
  graph = jax.random.normal(jax.random.key(0), (6, 3, 5, 5))
  head = projection.ProjectionHead(num_classes=10, features=16)
  variables = head.init(jax.random.key(1), graph)
  dense = variables["params"]["dense"]
  assert dense["kernel"].shape == (75, 16)
  v = np.asarray(graph).reshape(6, 75) @ dense["kernel"] + dense["bias"]
  expected = v / np.linalg.norm(v, axis=1, keepdims=True)
  np.testing.assert_allclose(
    head.apply(variables, graph), expected, rtol=1e-4, atol=1e-6
  )


def test_head_is_drawn_as_released():
  head = projection.ProjectionHead(num_classes=60)
  params = head.init(jax.random.key(0), jnp.ones((2, 3, 25, 25)))["params"]
  kernel = params["dense"]["kernel"]
  assert kernel.shape == (3 * 25 * 25, 256)
  np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 60), rtol=0.01)
  assert abs(np.mean(kernel)) < 2e-3
  assert not np.any(params["dense"]["bias"])


def test_head_casts_bfloat16_up():
  head = projection.ProjectionHead(num_classes=4, features=8)
  graph = jnp.ones((2, 3, 4, 4), jnp.bfloat16)
  variables = head.init(jax.random.key(0), graph)
  assert head.apply(variables, graph).dtype == jnp.float32


def test_head_runs_in_double_precision(x64):
  del x64
  head = projection.ProjectionHead(
    num_classes=4, features=8, param_dtype=jnp.float64
  )
  graph = jax.random.normal(jax.random.key(0), (2, 3, 4, 4), jnp.float64)
  variables = head.init(jax.random.key(1), graph)
  v = head.apply(variables, graph)
  assert v.dtype == jnp.float64
  np.testing.assert_allclose(np.sum(np.square(v), axis=1), 1, rtol=1e-14)
