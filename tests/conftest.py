# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the whole suite."""

import pathlib

import jax
import numpy as np
import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def golden():
  """Returns a loader of reference outputs; skips where there are none."""

  def load(name):
    path = SHARED / "golden" / name
    if not path.exists():
      pytest.skip(f"reference outputs are not here: {path}")
    return np.load(path)

  return load


@pytest.fixture
def x64():
  """Double precision for one test."""
  with jax.enable_x64(True):
    yield
