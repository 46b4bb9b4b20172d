# SPDX-License-Identifier: Apache-2.0
"""The directory of a run: which config it belongs to."""

import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

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


class WorkdirError(ValueError):
  """A directory that holds another run."""


def claim(config: ConfigDict, workdir: str | os.PathLike) -> None:
  """Makes a directory the run's, by writing config.json there.

  Raises:
    WorkdirError: If it holds a run whose config differs, but in `FREE_KEYS`.
  """
  _check(config, workdir, lambda key: key not in FREE_KEYS)
  path = pathlib.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  write_json(path / "config.json", config.to_dict())


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
  old = _flatten(json.loads(path.read_text()))
  new = _flatten(json.loads(json.dumps(config.to_dict())))
  for key in sorted(old.keys() | new.keys()):
    if matters(key) and old.get(key) != new.get(key):
      raise WorkdirError(
        f"{workdir} holds a run with config.{key}={old.get(key)!r}, not"
        f" {new.get(key)!r}; use another --workdir or that value"
      )


def _flatten(tree, prefix=""):
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
