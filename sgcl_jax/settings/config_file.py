# SPDX-License-Identifier: Apache-2.0
"""Finds the file of a config: one of the user's own, or an installed one."""

import difflib
import importlib.util
import os
import pathlib
import re

from sgcl_jax import errors

INSTALLED = pathlib.Path(__file__).resolve().parents[2] / "configs"


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
