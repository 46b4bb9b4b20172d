# SPDX-License-Identifier: Apache-2.0
"""The replicas: the name of their axis, and how a step is mapped over devices.

Only this file maps. The state has no device axis: it goes in and comes out
whole, and is equal on all replicas. The replicas of several processes are those
of process 0, then those of process 1, and so on.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils

from sgcl_jax import errors

AXIS = "replica"


def map_train_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """Maps `step(state, batch) -> (state, metrics)` over all devices.

  The batch holds the rows of this process, see `own_rows`; it is split along
  its first axis. The state is donated. The first call copies it instead, to the
  devices where a step leaves its result: otherwise the step would be compiled a
  second time for the second call.

  Returns:
    The mapped step; its attribute `lower` is like the one of `jax.jit`.
  """
  mapped = _map(step, donate=True)
  is_first = True

  def run(state, batch):
    nonlocal is_first
    if is_first:
      state, is_first = replicate(state), False
    return mapped(state, _split(batch))

  run.lower = lambda state, batch: mapped.lower(state, _split(batch))
  return run


def map_eval_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """Maps `step(variables, batch) -> [N, ...]` over all devices.

  The batch holds the rows of this process; it is split along its first axis.
  The results of all processes are joined again. The variables come from
  `replicate`; one process takes others as well, and copies them at each call.
  """
  if jax.process_count() == 1:
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0))

    def run(variables, batch):
      result = mapped(variables, _split(batch))
      return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), result)

    return run

  join = functools.partial(lax.all_gather, axis_name=AXIS, tiled=True)
  mapped = _map(lambda *args: jax.tree.map(join, step(*args)))
  return lambda variables, batch: mapped(variables, _split(batch))


def _map(step, donate=False):
  """Maps a step whose results are equal on all replicas."""
  donated = (0,) if donate else ()
  if jax.process_count() == 1:
    return jax.pmap(
      step,
      axis_name=AXIS,
      in_axes=(None, 0),
      out_axes=None,
      donate_argnums=donated,
    )
  # Between processes pmap converts every leaf of the state in Python, there and
  # back (docs/MANY_DEVICES.md has the times). `check_vma` would sum the
  # gradients over the replicas, which the step itself does.
  mapped = jax.shard_map(
    step,
    mesh=_mesh(),
    in_specs=(jax.P(), jax.P(AXIS)),
    out_specs=jax.P(),
    check_vma=False,
  )
  return jax.jit(mapped, donate_argnums=donated)


def replicate(tree: Any) -> Any:
  """Returns a copy of a tree of arrays, placed as a mapped step wants it.

  A step that is called with anything else copies it to all devices at each
  call.
  """
  if jax.process_count() > 1:
    place = jax.sharding.NamedSharding(_mesh(), jax.P())
    return jax.tree.map(functools.partial(_place, place), tree)
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
  what = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
  if jax.process_count() == 1:
    return what
  return f"{what} in {jax.process_count()} processes"


def check_batch_size(size: int, name: str) -> None:
  """Raises ConfigError if a batch does not split over the devices.

  Args:
    size: Clips of the batch.
    name: Key of the config, for the message.
  """
  if size < 1 or size % jax.device_count():
    raise errors.ConfigError(
      f"{name}={size} does not split over {jax.device_count()} devices;"
      " choose a multiple"
    )


def padded_size(size: int) -> int:
  """Returns the batch size, rounded up to one that splits over the devices."""
  return -(-size // jax.device_count()) * jax.device_count()


def own_rows(size: int) -> slice:
  """Returns the rows of a batch that the devices of this process take.

  Args:
    size: Clips of the batch over all devices; splits over them.
  """
  share = size // jax.process_count()
  return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def broadcast(tree: Any) -> Any:
  """Returns the arrays of process 0, then on the host, to all processes.

  Args:
    tree: Arrays of the same shapes and types in all processes.
  """
  if jax.process_count() == 1:
    return tree
  leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
  # As bits, because a sum of floats would lose the sign of zeros, and all in
  # one array, because each array would be a program to compile.
  bits = np.concatenate([np.frombuffer(x.tobytes(), np.uint8) for x in leaves])
  found = multihost_utils.broadcast_one_to_all(bits)
  ends = np.cumsum([x.nbytes for x in leaves])
  return jax.tree.unflatten(
    structure,
    [
      np.frombuffer(part.tobytes(), x.dtype).reshape(x.shape)
      for part, x in zip(np.split(found, ends[:-1]), leaves, strict=True)
    ],
  )


class Poll:
  """Numbers that all processes agree on: the largest that any of them has.

  The answer to a question comes with the next one, unless the process is alone:
  waiting for it would wait for the step that the devices are computing.
  """

  def __init__(self):
    self._pending = None

  def ask(self, *numbers: int) -> tuple[int, ...]:
    """Asks with the numbers of this process, from 0 on.

    All processes call it equally often.

    Returns:
      The largest numbers of the question before, at first 0.
    """
    if jax.process_count() == 1:
      return numbers
    before, self._pending = self._pending, _find_largest(numbers)
    if before is None:
      return (0,) * len(numbers)
    found = tuple(np.asarray(before).tolist())
    if any(found):  # The caller acts on it; the next question may be another.
      self._pending = None
    return found


def agree(*numbers: int) -> tuple[int, ...]:
  """Returns the largest numbers that any process calls this with."""
  if jax.process_count() == 1:
    return numbers
  return tuple(np.asarray(_find_largest(numbers)).tolist())


def _find_largest(numbers):
  """Starts to compute the largest numbers, [k] int32, of all processes."""
  rows = np.tile(np.array(numbers, np.int32), (jax.local_device_count(), 1))
  return _largest()(_split(rows))


@functools.cache
def _largest():
  whole = jax.sharding.NamedSharding(_mesh(), jax.P())
  return jax.jit(lambda x: x.max(axis=0), out_shardings=whole)


@functools.cache
def _mesh():
  """Returns the mesh of all devices, those of process 0 first."""
  # Not jax.devices(): the order of a TPU's would follow its topology.
  devices = sorted(jax.devices(), key=lambda x: (x.process_index, x.id))
  return jax.sharding.Mesh(np.array(devices), (AXIS,))


def _place(place, x):
  if isinstance(x, jax.Array) and x.sharding == place:
    return x
  return jax.make_array_from_process_local_data(place, np.asarray(x))


def _split(batch):
  if jax.process_count() > 1:
    place = jax.sharding.NamedSharding(_mesh(), jax.P(AXIS))
    return jax.tree.map(
      functools.partial(jax.make_array_from_process_local_data, place), batch
    )
  num = jax.local_device_count()
  return jax.tree.map(lambda x: x.reshape(num, -1, *x.shape[1:]), batch)
