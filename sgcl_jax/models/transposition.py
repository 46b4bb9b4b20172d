# SPDX-License-Identifier: Apache-2.0
"""Transpositions that XLA does not fuse into what uses them, on CPU."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import xla_metadata

_is_plain = contextvars.ContextVar("is_plain", default=False)


@contextlib.contextmanager
def plain() -> Iterator[None]:
  """Makes `transpose` equal `jnp.transpose` in what is traced meanwhile.

  Converters to other runtimes know no choice by platform.
  """
  token = _is_plain.set(True)
  try:
    yield
  finally:
    _is_plain.reset(token)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def transpose(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  """Returns `jnp.transpose(x, axes)`, as a separate operation on CPU.

  On CPU, XLA fuses a transposition into each operation that uses it. All of
  them then read x in strides, which takes at least ten times as long. XLA
  removes barriers before it fuses, so they do not prevent that. A call that is
  not inlined does.
  """
  if _is_plain.get():
    return jnp.transpose(x, axes)
  return lax.platform_dependent(
    x,
    cpu=functools.partial(_transpose_alone, axes=axes),
    default=functools.partial(jnp.transpose, axes=axes),
  )


def _transpose_forward(x, axes):
  return transpose(x, axes), None


def _transpose_backward(axes, _, dy):
  return (transpose(dy, tuple(np.argsort(axes).tolist())),)


transpose.defvjp(_transpose_forward, _transpose_backward)


def _transpose_alone(x, axes):
  with xla_metadata.set_xla_metadata(inlineable="false"):
    return jax.jit(functools.partial(jnp.transpose, axes=axes))(x)
