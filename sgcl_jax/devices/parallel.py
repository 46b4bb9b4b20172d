# SPDX-License-Identifier: Apache-2.0
"""The replicas: the name of their axis, and how a step is mapped over devices.

Only this file maps. The state has no device axis: it goes in and comes out
whole, and is equal on all replicas.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgcl_jax import errors

AXIS = "replica"


def map_train_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """Maps `step(state, batch) -> (state, metrics)` over the local devices.

  The batch is split along its first axis. The state is donated. The first call
  copies it instead, to the devices where a step leaves its result: otherwise
  the step would be compiled a second time for the second call.

  Returns:
    The mapped step; its attribute `lower` is like the one of `jax.jit`.
  """
  mapped = jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
    donate_argnums=0,
  )
  is_first = True

  def run(state, batch):
    nonlocal is_first
    if is_first:
      state, is_first = replicate(state), False
    return mapped(state, _split(batch))

  run.lower = lambda state, batch: mapped.lower(state, _split(batch))
  return run


def map_eval_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """Maps `step(variables, batch) -> [N, ...]` over the local devices.

  The batch is split along its first axis, and the results are joined again.
  Variables for several calls should come from `replicate`.
  """
  mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0))

  def run(variables, batch):
    result = mapped(variables, _split(batch))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), result)

  return run


def replicate(tree: Any) -> Any:
  """Returns a copy of a tree of arrays, placed as a mapped step wants it.

  A step that is called with anything else copies it to all devices at each
  call.
  """
  return _make_copy()(tree, np.zeros(jax.local_device_count()))


@functools.cache  # Compiles once for each tree.
def _make_copy():
  return jax.pmap(
    lambda tree, _: jax.tree.map(jnp.copy, tree),
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=None,
  )


def repeat_on_devices(
  function: Callable[[jax.Array], jax.Array], x: np.ndarray
) -> Callable[[], jax.Array]:
  """Returns a function that calls function(x) on all local devices at once.

  Every device gets its copy of x in advance. The results are stacked, one per
  device.
  """
  num = jax.local_device_count()
  copies = jax.pmap(lambda x: x)(np.stack([x] * num))
  mapped = jax.pmap(function)
  return lambda: mapped(copies)


def on_host() -> contextlib.AbstractContextManager[None]:
  """Computes in this context on the CPU, if JAX has a CPU backend.

  Hundreds of small programs, as those that draw the initial state, take
  minutes to compile for a GPU.
  """
  try:
    cpu = jax.local_devices(backend="cpu")[0]
  except RuntimeError:  # JAX_PLATFORMS leaves the CPU out.
    return contextlib.nullcontext()
  return jax.default_device(cpu)


def describe_devices() -> str:
  """Returns the number and the kind of the devices, for messages."""
  return f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"


def check_batch_size(size: int, name: str) -> None:
  """Raises ConfigError if a batch does not split over the devices.

  Args:
    size: Clips of the batch.
    name: Key of the config, for the message.
  """
  if size < 1 or size % jax.local_device_count():
    raise errors.ConfigError(
      f"{name}={size} does not split over {jax.local_device_count()} devices;"
      " choose a multiple"
    )


def padded_size(size: int) -> int:
  """Returns the batch size, rounded up to one that splits over the devices."""
  return -(-size // jax.local_device_count()) * jax.local_device_count()


def _split(batch):
  num = jax.local_device_count()
  return jax.tree.map(lambda x: x.reshape(num, -1, *x.shape[1:]), batch)
