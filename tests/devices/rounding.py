# SPDX-License-Identifier: Apache-2.0
"""`python -m sgcl_jax.main` with other rounding errors.

python -m tests.devices.rounding --double ...: in double precision, for which
JAX_ENABLE_X64=1 must be set.
python -m tests.devices.rounding --noise=1e-7 ...: the initial parameters are
changed by so much, relative to themselves.

docs/MANY_DEVICES.md compares runs on several devices with such ones.
"""

import argparse
import sys

import jax
import numpy as np

from sgcl_jax import command, input_pipeline, main, state


def widen(tree):
  """Returns a tree of arrays or shapes with float64 in place of float32."""
  return jax.tree.map(_widen, tree)


def _widen(x):
  dtype = np.float64 if x.dtype == np.float32 else x.dtype
  if isinstance(x, jax.ShapeDtypeStruct):
    return x.update(dtype=dtype)
  return np.asarray(x, dtype)


def disturb(current, noise):
  """Returns a state with other parameters."""
  rng = np.random.default_rng(0)

  def change(x):
    return np.asarray(x * (1 + noise * rng.normal(size=x.shape)), x.dtype)

  return current.replace(params=jax.tree.map(change, current.params))


def follow(function, change):
  """Returns a function that changes what another one returns."""
  return lambda *args, **named: change(function(*args, **named))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(allow_abbrev=False)
  parser.add_argument("--double", action="store_true")
  parser.add_argument("--noise", type=float)
  args, rest = parser.parse_known_args()
  if args.double:
    assert jax.config.jax_enable_x64, "set JAX_ENABLE_X64=1"
    state.init = follow(state.init, widen)
    state.variable_shapes = follow(state.variable_shapes, widen)
    input_pipeline.Clips.batch = follow(input_pipeline.Clips.batch, widen)
  if args.noise:
    state.init = follow(state.init, lambda x: disturb(x, args.noise))
  sys.argv[1:] = rest
  command.run(main.main, interrupted=command.RESUMABLE)
