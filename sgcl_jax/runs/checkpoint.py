# SPDX-License-Identifier: Apache-2.0
"""Orbax checkpoints: the model, the rest of the training, and metadata."""

import contextlib
import os
import pathlib
import re
import shutil
import threading
import time
from typing import Any

import jax
import orbax.checkpoint as ocp

from sgcl_jax import errors, state
from sgcl_jax.devices import hosts
from sgcl_jax.runs import digest, files, orbax_calls
from sgcl_jax.terminal import paths

TrainState = state.TrainState

# Metadata value for fields that imported weights do not store: fits any config.
ANY = "any"
# Changes with the layout of the item `training`.
FORMAT = 2
# Field that older runs stored, though it changes neither variables nor logits.
IGNORED = "model.graph_block"
# Longest wait for the threads of a save that failed.
THREAD_SECONDS = 10.0
# How TensorStore, below Orbax, reports an error of the operating system.
OS_ERROR = re.compile(r"os_error_code='([0-9]+)'")


class Checkpoints:
  """The checkpoints of one run, at least the last two kept.

  A checkpoint has three items: `model` (the variables that evaluation needs),
  `training` (the rest of the state) and `metadata`.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    writable: bool = False,
    keep_every_steps: int | None = None,
  ):
    """Opens the checkpoints of a run, which may not exist yet.

    Args:
      workdir: Directory of the run.
      writable: Whether to remove what a killed writer left. There must be only
        one writer at a time.
      keep_every_steps: Checkpoints of its multiples are kept for good.

    Raises:
      ConfigError: If Orbax could not read checkpoints from such a path.
    """
    paths.check_workdir(workdir)
    self.path = pathlib.Path(workdir) / "checkpoints"
    self._metadata = None  # Of the checkpoint that was read last.
    options = ocp.CheckpointManagerOptions(
      max_to_keep=2,
      keep_period=keep_every_steps,
      create=False,
      cleanup_tmp_directories=writable,
      enable_async_checkpointing=False,
      multiprocessing_options=_take_part(),
    )
    with orbax_calls.quiet():
      self._manager = ocp.CheckpointManager(
        self.path.absolute(), options=options
      )

  def save(self, state: TrainState, metadata: dict[str, Any]) -> None:
    """Saves a state under its step, whole or not at all.

    Raises:
      DiskError: If it cannot be written; older checkpoints stay.
    """
    model, training = _split(state)
    metadata = digest.add(
      {**metadata, "format": FORMAT, "step": int(state.step)},
      {"model": model, "training": training},
    )
    args = ocp.args.Composite(
      model=ocp.args.StandardSave(model),
      training=ocp.args.StandardSave(training),
      metadata=ocp.args.JsonSave(metadata),
    )
    step = int(state.step)
    try:
      with orbax_calls.quiet(), _waiting():
        saved = self._manager.save(step, args=args)
    except Exception as error:
      # What is half-written takes room, and nobody reads it.
      for partial in self.path.glob(f"{step}.*"):
        shutil.rmtree(partial, ignore_errors=True)
      refusal = _find_refusal(error)
      if refusal is None:
        raise
      raise files.refuse(self.path / str(step), refusal) from error
    self._metadata = None
    assert saved, f"{self.path} has a checkpoint of step {step}"

  def latest(self) -> int | None:
    """Returns the step of the newest checkpoint, None without one."""
    return self._manager.latest_step()

  def metadata(self) -> dict[str, Any]:
    """Returns the metadata of the newest checkpoint, or of the restored one.

    Raises:
      CheckpointError: If there is none, or if it cannot be read.
    """
    if self._metadata is None:
      self._restore()
    return self._metadata

  def restore_model(
    self, variables: dict[str, Any], model: dict[str, Any]
  ) -> dict[str, Any]:
    """Restores the variables of the backbone.

    Args:
      variables: A tree of arrays or shapes like the one to restore.
      model: Fields of the model that the metadata must share.

    Raises:
      CheckpointError: If there is none, or if it is damaged or of another
        model.
    """
    self.check_model(model)
    args = ocp.args.StandardRestore(_abstract(variables))
    return self._restore(model=args)["model"]

  def restore(self, state: TrainState, model: dict[str, Any]) -> TrainState:
    """Restores a whole state; errors as for `restore_model`.

    Args:
      state: A state of arrays or shapes like the one to restore.
      model: Fields of the model that the metadata must share.
    """
    self.check_model(model)
    if self.metadata().get("format") != FORMAT:
      raise errors.CheckpointError(
        f"{self.path}: another version of sgcl_jax wrote the checkpoint; it can"
        " be evaluated, but not resumed: use another --workdir"
      )
    variables, training = _split(state)
    items = self._restore(
      model=ocp.args.StandardRestore(_abstract(variables)),
      training=ocp.args.StandardRestore(_abstract(training)),
    )
    restored = items["training"]
    params = {"backbone": items["model"]["params"], **restored.pop("params")}
    return TrainState(
      params=params,
      batch_stats=items["model"]["batch_stats"],
      constants=items["model"]["constants"],
      **restored,
    )

  def check_model(self, model: dict[str, Any]) -> None:
    """Raises CheckpointError if the newest checkpoint is of another model.

    A field `model.*` that the metadata lack fits any value: older runs stored
    only those that were set. The restore still compares the shapes.
    """
    saved = self.metadata()["model"]
    for key in sorted((saved.keys() | model.keys()) - {IGNORED}):
      if key.startswith("model.") and key not in saved:
        continue
      if saved.get(key) not in (model.get(key), ANY):
        raise errors.CheckpointError(
          f"{self.path}: the checkpoint was made with {key}="
          f"{saved.get(key)!r}, the config has {model.get(key)!r}; use that"
          " config or another --workdir"
        )

  def close(self) -> None:
    """Closes the checkpoints."""
    with orbax_calls.quiet():
      self._manager.close()

  def _restore(self, **items):
    """Restores items and the metadata of the newest checkpoint."""
    step = self.latest()
    if step is None:
      raise errors.CheckpointError(f"no checkpoint in {self.path}; train first")
    try:
      return self._read(step, items)
    except errors.CheckpointError:
      # A training may have deleted it meanwhile, after it saved newer ones.
      self._manager.reload()
      newest = self.latest()
      if newest in (step, None):
        raise
      return self._read(newest, items)

  def _read(self, step, items):
    args = ocp.args.Composite(**items, metadata=ocp.args.JsonRestore())
    try:
      with orbax_calls.quiet():
        found = self._manager.restore(step, args=args)
    except Exception as error:  # Orbax raises bare Exceptions on damage.
      problem = f"cannot be restored ({_summarize(error)})"
      raise self._refuse(step, problem) from error
    metadata = found["metadata"]
    damage = digest.find_damage(metadata, {name: found[name] for name in items})
    if damage:
      raise self._refuse(step, f"is damaged: {damage} is not as it was saved")
    if metadata.get("step", step) != step:
      raise self._refuse(step, f"is that of step {metadata['step']}")
    self._metadata = metadata
    return found

  def _refuse(self, step, problem):
    older = [other for other in self._manager.all_steps() if other < step]
    if older:
      remedy = f"move it away to go on from that of step {max(older)}"
    else:
      remedy = "it is the only one: train again in another --workdir"
    return errors.CheckpointError(
      f"{self.path / str(step)} {problem}; {remedy}"
    )


@contextlib.contextmanager
def _waiting():
  """Waits for the threads of a save that fails.

  The error of one of them is raised; the others would go on writing.
  """
  before = set(threading.enumerate())
  try:
    yield
  except Exception:
    deadline = time.monotonic() + THREAD_SECONDS
    for thread in set(threading.enumerate()) - before:
      with contextlib.suppress(Exception):  # Orbax's `join` raises its error.
        thread.join(max(0.0, deadline - time.monotonic()))
    raise


def _find_refusal(error):
  """Returns the error of the operating system behind one of Orbax, or None."""
  while error is not None:
    if isinstance(error, OSError) and error.errno:
      return error
    found = OS_ERROR.search(str(error))
    if found:
      return OSError(int(found[1]), os.strerror(int(found[1])))
    error = error.__cause__ or error.__context__
  return None


def _take_part():
  """Lets Orbax wait for no other process: only the first calls it."""
  if hosts.count() == 1:
    return ocp.options.MultiprocessingOptions()
  return ocp.options.MultiprocessingOptions(
    active_processes={0}, barrier_sync_key_prefix="first"
  )


def _summarize(error):
  """Returns the beginning of Orbax's text, which goes on with its settings."""
  text = (str(error) or type(error).__name__).splitlines()[0]
  return text.split(" [")[0].rstrip(": ")


def read_metadata(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """Returns the metadata of a run's newest checkpoint, None without one.

  Raises:
    CheckpointError: If it cannot be read.
  """
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    return None if checkpoints.latest() is None else checkpoints.metadata()


def _split(state):
  """Returns the variables that evaluation needs, and the rest of a state."""
  params = dict(state.params)
  model = {**state.variables(), "params": params.pop("backbone")}
  training = {
    "step": state.step,
    "params": params,
    "opt_state": state.opt_state,
    "memory": state.memory,
  }
  return model, training


def _abstract(tree):
  """Returns the shapes of a tree, to be restored to the first device."""
  sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )
