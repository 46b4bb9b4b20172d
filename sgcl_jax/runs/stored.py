# SPDX-License-Identifier: Apache-2.0
"""The metadata of the newest checkpoint, read without JAX and Orbax."""

import json
import os
import pathlib
from typing import Any

from sgcl_jax.runs import digest


def read_metadata(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """Returns the metadata of the newest checkpoint.

  Returns:
    None without a checkpoint, or if its metadata are damaged:
    `checkpoint.Checkpoints` says so when it restores it.
  """
  steps = {
    int(path.name): path
    for path in pathlib.Path(workdir).glob("checkpoints/*")
    if path.name.isdecimal()
  }
  if not steps:
    return None
  path = steps[max(steps)] / "metadata" / "metadata"
  try:
    metadata = json.loads(path.read_text(encoding="utf-8"))
    is_whole = digest.find_damage(metadata, {}) is None
  except (OSError, ValueError, TypeError):
    return None
  return metadata if is_whole else None
