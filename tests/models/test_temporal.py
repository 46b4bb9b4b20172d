# SPDX-License-Identifier: Apache-2.0
"""The convolution over frames, and its gradient, against flax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from sgcl_jax.models import layers, temporal


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num_frames", [1, 7, 12])
@pytest.mark.parametrize(
  ("width", "stride", "dilation"), [(9, 1, 1), (9, 2, 1), (5, 1, 2), (5, 2, 2)]
)
def test_the_gradient_is_that_of_the_convolution(
  width, stride, dilation, num_frames
):
  rng = np.random.default_rng(0)
  conv = temporal.FrameConv(
    6, width, layers.normal(1.0), stride=stride, dilation=dilation
  )
  x = jnp.asarray(rng.normal(size=(3, num_frames, 4, 5)))
  variables = jax.tree.map(
    lambda p: jnp.asarray(rng.normal(size=p.shape)),
    conv.init(jax.random.key(0), x),
  )

  pad = dilation * (width // 2)
  reference = nn.Conv(
    6,
    (width, 1),
    (stride, 1),
    ((pad, pad), (0, 0)),
    kernel_dilation=(dilation, 1),
    use_bias=False,
    param_dtype=x.dtype,
  )

  def expected(x, kernel):
    return reference.apply({"params": {"kernel": kernel}}, x)

  def found(x, kernel):
    params = {**variables["params"], "kernel": kernel}
    return conv.apply({"params": params}, x) - params["bias"]

  kernel = variables["params"]["kernel"]
  y, pull = jax.vjp(expected, x, kernel)
  again, pull_again = jax.vjp(found, x, kernel)
  assert y.shape == (3, -(-num_frames // stride), 4, 6)
  np.testing.assert_allclose(again, y, rtol=1e-12, atol=1e-12)
  dy = jnp.asarray(rng.normal(size=y.shape))
  for a, b in zip(pull_again(dy), pull(dy), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
