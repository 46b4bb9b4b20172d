# SPDX-License-Identifier: Apache-2.0
"""What a run has cost and which code has trained it, over all its resumes."""

import functools
import importlib.metadata
import pathlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import sgcl_jax

PACKAGES = ("jax", "jaxlib", "flax", "orbax-checkpoint", "numpy")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def follow(saved: dict[str, Any] | None) -> Callable[[], dict[str, Any]]:
  """Starts the clock of a training.

  Args:
    saved: Metadata of the checkpoint that the training resumes from, or None.

  Returns:
    A function that returns the fields to save with a checkpoint: `seconds` of
    training and its tests, those of resumed parts included; `revisions`, see
    `find_revision`, without repetition; and `versions` of the packages.
  """
  saved, begin = saved or {}, time.monotonic()
  before = saved.get("seconds", 0.0)
  revisions = saved.get("revisions", [])
  if find_revision() not in revisions:
    revisions = [*revisions, find_revision()]
  return lambda: {
    "seconds": before + time.monotonic() - begin,
    "revisions": revisions,
    "versions": find_versions(),
  }


def describe_changes(saved: dict[str, Any]) -> list[str]:
  """Returns what has changed since a checkpoint, a line for each.

  Args:
    saved: Metadata of the checkpoint.
  """
  now = find_versions()
  pairs = [
    (name, version, now.get(name))
    for name, version in saved.get("versions", {}).items()
  ]
  if saved.get("revisions"):
    pairs.append(("the code", saved["revisions"][-1], find_revision()))
  return [
    f"{name} was {before} when the checkpoint was saved, and is {after} now"
    for name, before, after in pairs
    if before != after
  ]


def find_versions() -> dict[str, str]:
  """Returns the versions of the packages that compute and save."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


@functools.cache
def find_revision() -> str:
  """Returns the code's Git commit, or its version if it is no checkout.

  `+` follows a commit whose tracked files were changed.
  """
  version = f"version {sgcl_jax.__version__}"
  if not (ROOT / ".git").exists():
    return version
  try:
    commit = _git("rev-parse", "--short=7", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
  except (OSError, subprocess.CalledProcessError):
    return version  # No Git, or no permission to read the checkout.
  return f"{commit}+" if changed else commit


def _git(*args):
  line = ["git", "-C", str(ROOT), *args]
  done = subprocess.run(line, check=True, capture_output=True, text=True)
  return done.stdout.strip()
