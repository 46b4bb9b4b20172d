# SPDX-License-Identifier: Apache-2.0
"""Names of classes: their form, files of them, and those without a name."""

import pathlib
from collections.abc import Sequence
from typing import Any

from sgcl_jax import errors
from sgcl_jax.dataset import regular_file
from sgcl_jax.terminal import wording


def fill(names: Sequence[str], num_classes: int) -> list[str]:
  """Returns a name for each class.

  Args:
    names: In label order; there may be more or fewer than classes.
    num_classes: L.

  Returns:
    [L]; a class without a name is `class 7`, or `class 07` of 11 to 100.
  """
  width = len(str(num_classes - 1))
  missing = range(len(names), num_classes)
  filled = [*names, *(f"class {label:0{width}}" for label in missing)]
  return filled[:num_classes]


def read(path: pathlib.Path) -> list[str]:
  """Reads a file of class names, one a line, the first for the label 0.

  Raises:
    DataError: It cannot be read, or a line is no name, or comes twice.
  """
  try:
    lines = regular_file.read_utf8(path).splitlines()
  except (OSError, ValueError) as error:
    raise errors.DataError(f"{path} cannot be read ({error})") from error
  for number, line in enumerate(lines, 1):
    try:
      check(line)
    except errors.DataError as error:
      raise errors.DataError(f"{path}, line {number}: {error}") from error
    if line in lines[: number - 1]:
      raise errors.DataError(f"{path}, line {number}: {line!r} comes twice")
  if not lines:
    raise errors.DataError(f"{path} holds no class name")
  return lines


def check(label: Any) -> None:
  """Raises DataError if a label is not the name of a class."""
  # Names are stored one per line; a blank must not make two classes of one.
  if (
    not isinstance(label, str)
    or not label.isprintable()
    or label != label.strip()
    or not label
  ):
    raise errors.DataError(
      f"label is {wording.quote(label)}, not the name of a class in one line"
      " without blanks around it"
    )
