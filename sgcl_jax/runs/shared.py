# SPDX-License-Identifier: Apache-2.0
"""The files of a run, for all its processes: only the first touches them."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from sgcl_jax import state
from sgcl_jax.devices import hosts, parallel
from sgcl_jax.runs import checkpoint, history, record, workdir


class Checkpoints:
  """The checkpoints of one run, see `checkpoint.Checkpoints`.

  All processes call each method, with the same arguments. What the first reads
  goes to all.
  """

  def __init__(self, directory: str | os.PathLike, **options: Any):
    """Opens the checkpoints of a run, which may not exist yet."""
    self.path = pathlib.Path(directory).absolute() / "checkpoints"
    self._own = None
    if hosts.is_first():
      self._own = checkpoint.Checkpoints(directory, **options)

  def save(self, current: state.TrainState, metadata: dict[str, Any]) -> None:
    """Saves a state under its step, whole or not at all."""
    # Orbax would wait for other processes if it got arrays of theirs.
    several = hosts.count() > 1
    hosts.on_first(
      lambda: self._own.save(
        jax.tree.map(np.asarray, current) if several else current, metadata
      )
    )

  def latest(self) -> int | None:
    """Returns the step of the newest checkpoint, None without one."""
    return hosts.on_first(lambda: self._own.latest())

  def metadata(self) -> dict[str, Any]:
    """Returns the metadata of the newest checkpoint, or of the restored one."""
    return hosts.on_first(lambda: self._own.metadata())

  def restore_model(
    self, variables: dict[str, Any], model: dict[str, Any]
  ) -> dict[str, Any]:
    """Restores the variables of the backbone."""
    return self._restore("restore_model", variables, model)

  def restore(
    self, current: state.TrainState, model: dict[str, Any]
  ) -> state.TrainState:
    """Restores a whole state."""
    return self._restore("restore", current, model)

  def close(self) -> None:
    """Closes the checkpoints."""
    if self._own is not None:
      self._own.close()

  def _restore(self, name, tree, model):
    if self._own is not None:
      tree = getattr(self._own, name)(tree, model)
    else:
      tree = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
    return parallel.broadcast(tree)


class _NoRecord:
  """Takes what another process records."""

  def write(self, split: str, step: int, epoch: int, **values: float) -> None:
    pass

  def seal(self) -> dict[str, Any]:
    return {}

  def close(self) -> None:
    pass


def open_record(
  directory: str | os.PathLike, step: int, epoch: int
) -> record.Recorder | _NoRecord:
  """Opens the record of a run, see `record.Recorder`."""
  if hosts.is_first():
    return record.Recorder(directory, step, epoch)
  return _NoRecord()


@contextlib.contextmanager
def claim(
  config: dict[str, Any], directory: str | os.PathLike
) -> Iterator[None]:
  """Claims a directory for all processes, see `workdir.claim`."""
  if not hosts.is_first():
    yield
    return
  with workdir.claim(config, directory):
    yield


def check_equal(metadata: dict[str, Any]) -> None:
  """Refuses processes that differ in config, data or code.

  Args:
    metadata: Metadata of the checkpoints.

  Raises:
    HostsError: Names what differs.
  """
  fields = workdir.flatten({"config": metadata["config"]})
  hosts.check_equal(
    **fields,
    **{
      "training set": metadata["data"],
      "test set": metadata["test"]["digest"],
      "version of the code": history.find_revision(),
      "versions of packages": history.find_versions(),
    },
  )
