# SPDX-License-Identifier: Apache-2.0
"""Sets fields of a config by `--config.<key>=<value>`."""

import ast
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ml_collections import ConfigDict

from sgcl_jax import errors
from sgcl_jax.dataset import splits

PREFIX = "--config."
WORDS = {"true": True, "false": False, "1": True, "0": False}


def override(
  config: ConfigDict, arguments: Sequence[str]
) -> tuple[ConfigDict, tuple[str, ...]]:
  """Sets fields of a config; the last value of a field counts.

  A value is `--config.<key>=<value>` or the next argument; a field that is true
  or false also takes `--config.<key>` for true. `None` opens a field: the data
  set, the stream or the backbone then decides.

  Args:
    config: Config to change.
    arguments: Such arguments and no others.

  Returns:
    The config, and the keys that were set.

  Raises:
    ConfigError: If a key is unknown or a value has a wrong type, or if there
      are other arguments.
  """
  given = _split(config, arguments)
  before = dict(_flatten(config))
  for key, text in given.items():
    path, _, name = key.rpartition(".")
    section = config[path] if path else config
    kind = section.get_type(name)
    try:
      value = _parse(text, kind)
    except ValueError:
      _refuse(key, text)
    # A list, of a config.json, becomes a tuple, and None becomes a value.
    with section.ignore_type():
      section[name] = value
  _check_split(before, dict(_flatten(config)), given)
  return config, tuple(given)


def suggest(key: str, known: Iterable[str]) -> str:
  """Returns `; did you mean config.<key>?`, nothing without a near key."""
  close = difflib.get_close_matches(key, list(known), n=1)
  return f"; did you mean config.{close[0]}?" if close else ""


def _split(config, arguments):
  """Returns the text of each key, the last one where there are several."""
  known = dict(_flatten(config))
  given = {}
  left = list(arguments)
  while left:
    argument = left.pop(0)
    if not argument.startswith(PREFIX):
      _refuse_argument(argument)
    key, equals, text = argument.removeprefix(PREFIX).partition("=")
    _check_key(key, known)
    if not equals and isinstance(known[key], bool):
      text = "true"
    elif not equals:
      if not left or left[0].startswith("--"):
        raise errors.ConfigError(f"{argument} needs a value: {argument}=...")
      text = left.pop(0)
    given.pop(key, None)
    given[key] = text
  return given


def _check_key(key, known):
  if key not in known:
    hint = suggest(key, known)
    raise errors.ConfigError(f"unknown key config.{key}{hint}")
  if isinstance(known[key], ConfigDict):
    names = ", ".join(known[key]) or "no fields"
    raise errors.ConfigError(f"config.{key} is not one field, it has {names}")
  if key in ("preset", "start"):  # They set further fields.
    raise errors.ConfigError(
      f"{key} is an option after the colon: --config FILE:{key}=..."
    )


def _check_split(before, after, given):
  """Refuses a split that would be a name alone, and change no clips."""
  key, parts = "data.split", ("data.train_split", "data.test_split")
  if before.get(key) == after.get(key) or not given.keys().isdisjoint(parts):
    return
  if after[key] not in (*splits.PROTOCOLS, "all"):
    return  # The ranges refuse it.
  if all(before.get(part) == after.get(part) for part in parts):
    raise errors.ConfigError(
      f"config.{key}={given[key]} changes no clips, since config.{parts[0]} is"
      f" {before.get(parts[0])!r}: use the option, --config"
      f" FILE:split={given[key]}, or set both {' and '.join(parts)}, too"
    )


def _parse(text, kind):
  """Turns a text into a value; a ValueError if it is none of its kind."""
  if text == "None":
    return None
  if kind is bool:
    if text.lower() not in WORDS:
      raise ValueError(text)
    return WORDS[text.lower()]
  if kind in (int, float, str):
    return kind(text)
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    if kind in (tuple, list):
      raise ValueError(text) from None
    return text  # Of an open field of a config.json, which has no type.
  if kind in (tuple, list):
    return tuple(value) if isinstance(value, list | tuple) else (value,)
  return value


def _refuse(key: str, text: str) -> NoReturn:
  # Imported late: the ranges import JAX, which takes seconds.
  from sgcl_jax.settings import ranges

  raise errors.ConfigError(ranges.describe(key, text))


def _refuse_argument(argument: str) -> NoReturn:
  if re.match("-[^0-9]", argument):  # Not a negative number: a value.
    name = argument.partition("=")[0]
    raise errors.ConfigError(f"unknown option {name}")
  raise errors.ConfigError(f"unexpected arguments: {argument}")


def _flatten(config: ConfigDict, prefix: str = "") -> Iterable[tuple[str, Any]]:
  for name, value in config.items():
    yield f"{prefix}{name}", value
    if isinstance(value, ConfigDict):
      yield from _flatten(value, f"{prefix}{name}.")
