# SPDX-License-Identifier: Apache-2.0
"""Reads and compares stored values of the reference implementations."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sgcl_jax import import_torch
from sgcl_jax.import_torch import tables


def read_variables(
  backbone: str, data: Mapping[str, np.ndarray], dtype: str
) -> dict[str, Any]:
  """Returns the variables of a backbone from the stored state dict."""
  state = {
    key.removeprefix("state/"): data[key].astype(dtype)
    for key in data
    if key.startswith("state/")
  }
  return import_torch.convert(backbone, state)


def pick(tree: Mapping[str, Any], entry: tables.Entry) -> np.ndarray:
  """Returns the part of variables that one reference tensor fills."""
  return np.asarray(entry.find(tree))[entry.slot]


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
  """Checks the golden README's "rel": max|a - b| / max|b|."""
  actual, expected = np.asarray(actual), np.asarray(expected)
  assert actual.shape == expected.shape, (actual.shape, expected.shape)
  error = np.abs(actual - expected).max()
  assert error <= tolerance * np.abs(expected).max(), error
