# SPDX-License-Identifier: Apache-2.0
"""The order of class names, and labels that are numbers."""

import numbers
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.dataset import naming
from sgcl_jax.terminal import wording


def sort(names: Iterable[str]) -> list[str]:
  """Sorts names so that numbers in them count as numbers: 2 before 10."""
  return sorted(set(names), key=_make_key)


def parse(label: Any, class_names: Sequence[str] | None) -> str:
  """Returns the class of a clip.

  Args:
    label: A name or, if the class names are known, the number of one.
    class_names: [L] in label order, or None if the clips decide.

  Raises:
    DataError: The label is neither.
  """
  if isinstance(label, np.ndarray) and label.ndim == 0:
    label = label.item()
  if isinstance(label, numbers.Integral) and not isinstance(label, bool):
    if class_names is None:
      raise errors.DataError(
        f"label is {label}, not the name of a class; with --names FILE, labels"
        " may be numbers from 0 on"
      )
    if not 0 <= label < len(class_names):
      raise errors.DataError(
        f"label is {label}, but there are {len(class_names)} class names"
      )
    return class_names[label]
  naming.check(label)
  if class_names is not None and label not in class_names:
    raise errors.DataError(
      f"label is {wording.quote(label)}, which is no known class"
    )
  return label


def _make_key(name):
  # The odd places of the split are numbers.
  parts = re.split(r"([0-9]+)", name)
  # Longer numbers are larger; Python reads none of thousands of digits.
  digits = [part.lstrip("0") for part in parts[1::2]]
  parts[1::2] = [(len(number), number) for number in digits]
  return parts, name
