# SPDX-License-Identifier: Apache-2.0
"""Writes a run whose weights come from elsewhere: whole, or nothing."""

import contextlib
import os
import pathlib
import shutil
from typing import Any

from sgcl_jax import errors, state
from sgcl_jax.runs import checkpoint, workdir


def check_empty(directory: str | os.PathLike) -> pathlib.Path:
  """Returns the path of a workdir to write.

  Raises:
    CheckpointError: If it holds something.
  """
  path = pathlib.Path(directory)
  if path.exists() and any(path.iterdir()):
    raise errors.CheckpointError(f"{path} is not empty; choose another --out")
  return path


def write(
  directory: str | os.PathLike,
  record: dict[str, Any],
  current: state.TrainState,
  metadata: dict[str, Any],
) -> None:
  """Writes a checkpoint and its config.json.

  Args:
    directory: Workdir, new or empty.
    record: Config of the run.
    current: Its state; the optimizer's and the contrast's part may be None.
    metadata: Metadata of the checkpoint.

  Raises:
    CheckpointError: If the directory is not empty.
  """
  path = check_empty(directory)
  path.mkdir(parents=True, exist_ok=True)
  try:
    workdir.write_config(path, record)
    with contextlib.closing(
      checkpoint.Checkpoints(path, writable=True)
    ) as checkpoints:
      checkpoints.save(current, {**metadata, "config": record})
  except BaseException:
    shutil.rmtree(path)
    raise
