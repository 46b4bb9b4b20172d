# SPDX-License-Identifier: Apache-2.0
"""The mixing of joints per channel, and its gradient, against plain sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.models import ctrgcn


def plain(x, pairs, value_kernel, graph_kernel, shared):
  topology = jnp.einsum("srbuv,srf->sfbuv", pairs, graph_kernel)
  topology += shared[:, :, None]
  values = jnp.einsum("btvc,scf->sfbtv", x, value_kernel)
  return jnp.einsum("sfbuv,sfbtv->fbtu", topology, values)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num_frames", [1, 6])
def test_mix_and_its_gradient(num_frames):
  rng = np.random.default_rng(0)
  s, r, b, v, c, f = 3, 4, 2, 5, 7, 6
  shapes = [(b, num_frames, v, c), (s, r, b, v, v), (s, c, f), (s, r, f)]
  shapes.append((s, f, v, v))
  arguments = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
  expected, pull = jax.vjp(plain, *arguments)
  found, pull_found = jax.vjp(ctrgcn.mix, *arguments)
  assert found.shape == (f, b, num_frames, v)
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
  dy = jnp.asarray(rng.normal(size=found.shape))
  for a, e in zip(pull_found(dy), pull(dy), strict=True):
    np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12)


def test_mix_sums_in_single_precision():
  rng = np.random.default_rng(0)
  shapes = [(2, 3, 5, 7), (3, 4, 2, 5, 5), (3, 7, 6), (3, 4, 6), (3, 6, 5, 5)]
  arguments = [jnp.asarray(rng.normal(size=q), jnp.bfloat16) for q in shapes]
  found, pull = jax.vjp(ctrgcn.mix, *arguments)
  assert found.dtype == jnp.float32
  assert {g.dtype for g in pull(found)} == {jnp.dtype(jnp.bfloat16)}
