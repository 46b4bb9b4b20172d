# SPDX-License-Identifier: Apache-2.0
"""Which paths a command takes: local ones, of names that can be read again."""

import os
import pathlib
import re

from sgcl_jax import errors

URL = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
# Orbax matches the path of a checkpoint as a pattern. A path with these does
# not match itself, or matches others as well.
PATTERN = re.compile(r"[*?\[\]\\]")


def expand(text: str | os.PathLike) -> pathlib.Path:
  """Returns a local path with `~` and `~user` expanded.

  Raises:
    ConfigError: If it is empty, a URL, or in the home of an unknown user.
  """
  text = os.fspath(text)
  if not text.strip():
    raise errors.ConfigError("the path is empty")
  if not text.isprintable():
    raise errors.ConfigError(f"{text!r} has characters that cannot be printed")
  if URL.match(text):
    raise errors.ConfigError(
      f"{text} is not a local path: mount it, or copy it to a disk"
    )
  try:
    return pathlib.Path(text).expanduser()
  except RuntimeError as error:
    raise errors.ConfigError(
      f"{text} is in the home directory of a user who does not exist; write"
      f" ./{text} for a file of this name"
    ) from error


def check_workdir(path: str | os.PathLike) -> None:
  """Refuses a directory whose checkpoints could not be read again.

  Raises:
    ConfigError: Names the directory and the character.
  """
  whole = os.path.abspath(path)
  found = PATTERN.search(whole)
  if found:
    raise errors.ConfigError(
      f"{whole} has {found[0]!r} in its name, and checkpoints cannot be read"
      " from such a path: rename it, or name another directory"
    )
