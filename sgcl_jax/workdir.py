# SPDX-License-Identifier: Apache-2.0
"""The directory of a run: which config it belongs to."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from sgcl_jax import errors

# What a resumed run may have changed, because its finished epochs would have
# been the same.
FREE_KEYS = (
  "data.dir",
  "data.prepare",
  "eval_batch_size",
  "eval_every_epochs",
  "optim.num_epochs",
)
# What an evaluation needs to be the same, beside the model.
EVALUATION_KEYS = (
  "data.modality",
  "data.recipe",
  "data.test_split",
  "data.window",
)


def default_name(source: str, config: ConfigDict) -> str:
  """Returns what a run of the config file `source` is called."""
  parts = [pathlib.Path(source).stem, config.data.split, config.data.modality]
  if not config.gcl:
    parts.append("nogcl")
  elif config.contrast.variant != "paper":
    parts.append(config.contrast.variant)
  if config.recipe != "paper":
    parts.append(config.recipe)
  return "_".join(parts)


def check_resume(config: ConfigDict, workdir: str | os.PathLike) -> None:
  """Raises WorkdirError where a run has begun with another config."""
  begun = any(pathlib.Path(workdir).glob("checkpoints/*/metadata"))
  _check(config, workdir, lambda key: begun and key not in FREE_KEYS)


@contextlib.contextmanager
def claim(config: ConfigDict, workdir: str | os.PathLike) -> Iterator[None]:
  """Writes config.json and keeps other trainings out.

  Raises:
    WorkdirError: If another process trains there.
  """
  path = pathlib.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  with (path / "lock").open("w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise errors.WorkdirError(
        f"another process trains in {workdir}; stop it or use another --workdir"
      ) from error
    write_json(path / "config.json", config.to_dict())
    yield


def check_evaluation(config: ConfigDict, workdir: str | os.PathLike) -> None:
  """Raises WorkdirError where a run saw other inputs than the config gives."""
  _check(config, workdir, lambda key: key in EVALUATION_KEYS)


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  """Writes a file whole or not at all."""
  temporary = path.with_suffix(".tmp")
  temporary.write_text(json.dumps(content, indent=2) + "\n")
  os.replace(temporary, path)


def _check(config, workdir, matters):
  path = pathlib.Path(workdir) / "config.json"
  if not path.exists():
    return
  old = flatten(json.loads(path.read_text()))
  new = flatten(json.loads(json.dumps(config.to_dict())))
  for key in sorted(old.keys() | new.keys()):
    if matters(key) and old.get(key) != new.get(key):
      raise errors.WorkdirError(
        f"{workdir} holds a run with config.{key}={old.get(key)!r}, not"
        f" {new.get(key)!r}; use another --workdir or that value"
      )


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns a nested dict as one of dotted keys."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
