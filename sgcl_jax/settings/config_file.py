# SPDX-License-Identifier: Apache-2.0
"""Finds and runs a config file: one of the user's own, or an installed one."""

import difflib
import importlib.util
import os
import pathlib
import re
import traceback

from ml_collections import ConfigDict

from sgcl_jax import errors
from sgcl_jax.terminal import wording

INSTALLED = pathlib.Path(__file__).resolve().parents[2] / "configs"


def load(spec: str) -> ConfigDict:
  """Runs the `get_config` of a config file.

  Args:
    spec: `FILE`, or `FILE:options`; `get_config` is called with the options.
      The file is a path, or the name of an installed config.

  Raises:
    ConfigError: If there is no such file, or if it fails; names its line.
  """
  name, options = split(spec)
  path = find(name)
  if path.parent == INSTALLED:
    check_clash(path)
  loaded = importlib.util.spec_from_file_location("loaded_config", path)
  if loaded is None:
    raise errors.ConfigError(f"--config={path} is not a Python file")
  module = importlib.util.module_from_spec(loaded)
  try:
    loaded.loader.exec_module(module)
    config = module.get_config(*([options] if options else []))
  except errors.UserError:
    raise
  except Exception as error:
    if needs_package(path):
      check_clash(path)
    raise errors.ConfigError(_locate(error, path)) from error
  if not isinstance(config, ConfigDict):
    hint = "; its `return config` is missing" if config is None else ""
    raise errors.ConfigError(
      f"get_config of {path} returns no ConfigDict{hint}"
    )
  return config


def split(spec: str) -> tuple[str, str]:
  """Splits `FILE:options`; a file `*.py` may have a colon in its name."""
  if spec.endswith(".py"):
    return spec, ""
  head, found, options = spec.rpartition(".py:")
  if found:
    return f"{head}.py", options
  name, _, options = spec.partition(":")
  return name, options


def find(name: str) -> pathlib.Path:
  """Returns the path of a config file.

  Args:
    name: A path, or the name of an installed config, with or without `.py`.

  Raises:
    ConfigError: If there is none; suggests a near name.
  """
  path = pathlib.Path(name).expanduser()
  if path.is_file():
    return path
  is_bare = path.name == name and path.suffix in ("", ".py")
  if is_bare and path.stem in list_installed():
    return INSTALLED / f"{path.stem}.py"
  raise errors.ConfigError(f"there is no config file {name}{_suggest(path)}")


def list_installed() -> list[str]:
  """Returns the names of the installed configs."""
  return _list_names(INSTALLED)


def find_clash() -> str | None:
  """Returns what Python imports as `configs`, None if it is the right package.

  A folder `configs` in the directory that a command is started from comes first
  on Python's path. So may a package of that name.
  """
  try:
    spec = importlib.util.find_spec("configs")
  except ValueError:  # A module without a spec.
    return None
  if spec is None:
    return None
  found = [*(spec.submodule_search_locations or ()), spec.origin][0]
  return None if os.path.realpath(found) == str(INSTALLED) else found


def needs_package(path: pathlib.Path) -> bool:
  """Tells whether a config file imports from the package `configs`."""
  text = path.read_text(encoding="utf-8", errors="replace")
  return bool(re.search(r"^\s*(from|import)\s+configs\b", text, re.MULTILINE))


def check_clash(user: str | pathlib.Path) -> None:
  """Refuses to go on with a package `configs` that is not ours.

  Args:
    user: The config file or the command that needs it, for the message.

  Raises:
    ConfigError: Names the other package.
  """
  found = find_clash()
  if found is not None:
    raise errors.ConfigError(
      f"{user} needs the package `configs` in {INSTALLED}, but Python finds"
      f" another one in {found}: rename that folder, uninstall that package, or"
      " start from another directory"
    )


def _locate(error, path):
  """Returns an error's text, with the line of the file that led to it."""
  text = f"{type(error).__name__}: {wording.in_one_line(error)}"
  frames = traceback.extract_tb(error.__traceback__)
  lines = [
    f.lineno
    for f in frames
    if os.path.realpath(f.filename) == os.path.realpath(path)
  ]
  return f"{path}, line {lines[-1]}: {text}" if lines else f"{path}: {text}"


def _suggest(path):
  folder = path.parent if path.parent != pathlib.Path() else INSTALLED
  names = _list_names(folder)
  close = difflib.get_close_matches(path.stem, names, n=1)
  if close:
    near = path.with_name(f"{close[0]}.py") if folder != INSTALLED else close[0]
    return f"; did you mean {near}?"
  if folder == INSTALLED or not path.stem:
    return f"; installed: {', '.join(list_installed())}"
  if path.stem in list_installed():
    return f"; an installed one has no folder: --config {path.stem}"
  return ""


def _list_names(folder):
  return sorted(path.stem for path in folder.glob("*.py") if _is_config(path))


def _is_config(path):
  text = path.read_text(encoding="utf-8", errors="replace")
  return "def get_config(" in text
