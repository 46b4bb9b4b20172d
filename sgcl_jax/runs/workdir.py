# SPDX-License-Identifier: Apache-2.0
"""The directory of a run: its name, its config.json and its one writer."""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from sgcl_jax import errors
from sgcl_jax.runs import digest, files, stored
from sgcl_jax.terminal import output, wording

CONFIG = "config.json"
SUMMARY = "summary.json"
CLASSES = "classes.csv"
# Keys that may change on resume: they do not affect finished epochs.
FREE_KEYS = (
  "data.dir",
  "data.prepare",
  "eval_batch_size",
  "eval_every_epochs",
  "keep_every_epochs",
  "optim.num_epochs",
  "save_every_minutes",
)
# Keys that older runs lack, with the values that they ran with.
ADDED = {"start": "auto", "deterministic": False}
# Not every command that reads a run has --config.
_MAKE_AGAIN = "start the training of the run again, which writes it"
# Keys that an evaluation must share with the training, besides the model's.
EVALUATION_KEYS = (
  "data.modality",
  "data.transform",
  "data.test_split",
  "data.window",
)


def default_name(config_name: str, record: dict[str, Any]) -> str:
  """Returns the name of a run.

  Args:
    config_name: Name of the config's file, without its suffix.
    record: Config of the run.
  """
  parts = [config_name, record["data"]["split"], record["data"]["modality"]]
  variant = record["contrast"]["variant"]
  if not record["gcl"]:
    parts.append("nogcl")
  elif variant != "paper":
    parts.append(variant)
  if record["preset"] != "paper":
    parts.append(record["preset"])
  if record["start"] not in ("auto", None):  # None: of an older run.
    parts.append(record["start"])
  return "_".join(parts)


def read_config(workdir: str | os.PathLike) -> dict[str, Any]:
  """Returns the config of a run.

  The newest checkpoint holds it; `config.json` decides about the FREE_KEYS, and
  about all keys as long as there is no checkpoint, or one of an older version.

  Raises:
    WorkdirError: If there is none, or if it cannot be read.
  """
  saved = (stored.read_metadata(workdir) or {}).get("config")
  found, fault, remedy = _read_file(workdir)
  if saved is None:
    if found is None:
      raise errors.WorkdirError(fault + remedy)
    return found
  if found is None:
    _notice(f"{fault}; the config in the checkpoint counts")
    return saved
  return _join(saved, found, pathlib.Path(workdir) / CONFIG)


def _read_file(workdir):
  """Returns what config.json holds, or None, what is wrong and what helps."""
  path = pathlib.Path(workdir) / CONFIG
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
      raise ValueError("no object")
    return content, None, None
  except FileNotFoundError:
    remedy = "name the directory of a run"
    if has_checkpoint(workdir):
      remedy = _MAKE_AGAIN
    fault = f"{workdir} holds no {CONFIG}"
    if not path.parent.exists():
      fault = f"there is no directory {workdir}"
    return None, fault, f": {remedy}"
  except ValueError as error:
    fault = f"{path} is damaged ({error})"
    return None, fault, f"; remove it and {_MAKE_AGAIN}"


def _join(saved, found, path):
  """Returns the config of the checkpoint, FREE_KEYS as in config.json."""
  ours, theirs = flatten(saved), flatten(found)
  changed = [
    key
    for key in sorted(ours.keys() | theirs.keys())
    if key not in FREE_KEYS and ours.get(key) != theirs.get(key)
  ]
  if changed:
    key = changed[0]
    _notice(
      f"{path} has been changed: {key} is {theirs.get(key)!r}, but the"
      f" checkpoint has {ours.get(key)!r}, which counts"
    )
  joined = json.loads(json.dumps(saved))
  for key in FREE_KEYS:
    *sections, name = key.split(".")
    section = joined
    for part in sections:
      section = section.get(part, {})
    if key in theirs and name in section:
      section[name] = theirs[key]
  return joined


@functools.cache  # Once a process: a command may read a config many times.
def _notice(text):
  output.notice(text)


def read_summary(workdir: str | os.PathLike) -> dict[str, Any]:
  """Returns the summary of a run, an empty one without the file.

  Raises:
    WorkdirError: If it cannot be read.
  """
  path = pathlib.Path(workdir) / SUMMARY
  try:
    summary = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(summary, dict):
      raise ValueError("no object")
    if digest.find_damage(summary, {}):
      raise ValueError("it is not as it was written")
    return summary
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise errors.WorkdirError(
      f"{path} is damaged ({error}); remove it and evaluate again"
    ) from error


def require_summary(workdir: str | os.PathLike) -> dict[str, Any]:
  """Returns the summary of a run that was evaluated.

  Raises:
    WorkdirError: If there is none, or if it cannot be read.
  """
  summary = read_summary(workdir)
  if not summary:
    evaluate = wording.command_line(
      "sgcl_jax.main", "--mode=evaluate", "--workdir", str(workdir)
    )
    raise errors.WorkdirError(
      f"{workdir} has no {SUMMARY}: its training is not finished, or it was not"
      f" evaluated: {evaluate}"
    )
  return summary


def write_config(workdir: str | os.PathLike, record: dict[str, Any]) -> None:
  """Writes config.json."""
  files.write_json(pathlib.Path(workdir) / CONFIG, record)


def check_resume(record: dict[str, Any], workdir: str | os.PathLike) -> None:
  """Raises WorkdirError if the run began with another config."""
  if has_checkpoint(workdir):
    _check(record, workdir, lambda key: key not in FREE_KEYS)


def check_evaluation(
  record: dict[str, Any], workdir: str | os.PathLike
) -> None:
  """Raises WorkdirError if the run was trained on other kinds of inputs."""
  _check(record, workdir, lambda key: key in EVALUATION_KEYS)


def has_checkpoint(workdir: str | os.PathLike) -> bool:
  """Tells whether the run has saved a checkpoint."""
  found = pathlib.Path(workdir).glob("checkpoints/*/metadata")
  return any(path.parent.name.isdecimal() for path in found)  # Not unfinished.


def check_free(workdir: str | os.PathLike) -> None:
  """Raises WorkdirError if no training could begin there now.

  Nothing is made or changed.
  """
  path = pathlib.Path(workdir)
  for parent in (path, *path.parents):
    if parent.exists():
      if not parent.is_dir():
        raise errors.WorkdirError(
          f"{parent} is not a directory: use another --workdir"
        )
      if not os.access(parent, os.W_OK | os.X_OK):
        raise errors.WorkdirError(
          f"{parent} cannot be written to: change its permissions, or use"
          " another --workdir"
        )
      break
  if (path / files.LOCK).exists():
    with files.claim(path, _taken(workdir)):
      pass


@contextlib.contextmanager
def claim(record: dict[str, Any], workdir: str | os.PathLike) -> Iterator[None]:
  """Makes the directory, locks it for this training and writes config.json.

  Raises:
    WorkdirError: If another process trains there, or if the run began with
      another config.
  """
  path = pathlib.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  with files.claim(path, _taken(workdir)):
    # A run may have begun and ended since the caller's own check.
    check_resume(record, path)
    write_config(path, record)
    yield


def _taken(workdir):
  return errors.WorkdirError(
    f"another process trains in {workdir}; stop it or use another --workdir"
  )


def _check(record, workdir, matters):
  is_saved = "config" in (stored.read_metadata(workdir) or {})
  if not is_saved and not (pathlib.Path(workdir) / CONFIG).exists():
    return
  old = ADDED | flatten(read_config(workdir))
  new = ADDED | flatten(json.loads(json.dumps(record)))
  for key in sorted(old.keys() | new.keys()):
    if matters(key) and old.get(key) != new.get(key):
      raise errors.WorkdirError(
        f"{workdir} holds a run with config.{key}={old.get(key)!r}, not"
        f" {new.get(key)!r}; use another --workdir or that value"
      )


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns a nested dict as a flat one with dotted keys."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
