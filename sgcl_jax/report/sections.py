# SPDX-License-Identifier: Apache-2.0
"""The sections of a report, in their order."""

from collections.abc import Sequence
from typing import Any

from sgcl_jax import errors
from sgcl_jax.report import (
  accuracy,
  content,
  diagnostics,
  graphs,
  runs,
  skeleton,
)


def make(
  run: runs.Run,
  baseline: runs.Run | None,
  anchor: str | None = None,
  pair: Sequence[str] | None = None,
) -> tuple[list[content.Section], dict[str, Any]]:
  """Computes a report.

  Args:
    run: The run.
    baseline: Another run on the same clips, to compare with.
    anchor: Name of the joint whose connections are drawn.
    pair: Names of two classes to draw: of the clips' own, and of the one that
      they were taken for.

  Returns:
    The sections, and their numbers for `--json`.

  Raises:
    ConfigError: If there is no such joint or class.
  """
  joint = skeleton.find_anchor(run.layout, anchor)
  chosen = _find_pair(run, pair)
  parts = [
    accuracy.summary(run, baseline),
    accuracy.training(run, baseline),
    accuracy.contrast(run),
    accuracy.confusion(run),
    accuracy.classes(run, baseline),
    graphs.distances(run, baseline),
    graphs.ranks(run, baseline),
    graphs.maps(run, baseline),
    graphs.skeletons(run, joint, chosen),
  ]
  sections = [section for section, _ in parts if section is not None]
  numbers = {}
  for _, found in parts:
    numbers |= found
  return sections, numbers


def _find_pair(run, pair):
  """Returns two labels: by their names, or those confused most often."""
  if pair is None:
    pairs = diagnostics.confused_pairs(run.confusion(), 1)
    return (pairs[0].label, pairs[0].predicted) if pairs else None
  if pair[0] == pair[1]:
    raise errors.ConfigError(f"--classes: {pair[0]!r} twice; name two classes")
  for name in pair:
    if name not in run.class_names:
      raise errors.ConfigError(
        f"--classes: there is no class {name!r}; the classes are"
        f" {', '.join(run.class_names)}"
      )
  return tuple(run.class_names.index(name) for name in pair)
