# SPDX-License-Identifier: Apache-2.0
"""Draws the test accuracy of runs over their epochs."""

import hashlib
import json
import pathlib
import textwrap
from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.results import lines, store, table
from sgcl_jax.runs import files
from sgcl_jax.terminal import wording

# Colours that differ in print and for colour-blind readers (Okabe and Ito).
COLOURS = {"off": "#595959", "paper": "#0072b2", "released": "#d55e00"}
LABELS = {"off": "without", "paper": "SkeletonGCL", "released": "as released"}
COLUMNS = 2
SIZE = 3.6, 2.5  # Of a panel, in inches.
TITLE_WIDTH = 50  # Letters that fit above a panel.


def draw(found: dict[str, store.Tables], path: pathlib.Path) -> None:
  """Writes an SVG with a panel for each kind of run.

  Thin lines are runs, thick ones their means. Without curves nothing is
  written.

  Args:
    found: Tables by name.
    path: The file.

  Raises:
    ConfigError: If matplotlib is not installed.
  """
  panels = _find_panels(found)
  if not panels:
    return
  try:
    import matplotlib
    from matplotlib import figure
  except ImportError as error:
    raise errors.ConfigError(
      'the figure needs matplotlib: pip install "sgcl_jax[report]"'
    ) from error
  columns = min(COLUMNS, len(panels))
  num_rows = -(-len(panels) // columns)
  canvas = figure.Figure(
    figsize=(SIZE[0] * columns, SIZE[1] * num_rows), layout="constrained"
  )
  axes = iter(canvas.subplots(num_rows, columns, squeeze=False).flat)
  for title, runs in panels.items():
    _draw_panel(next(axes), title, runs)
  for axis in axes:  # Those that are left.
    axis.set_axis_off()
  metadata = {"Description": digest(found), "Date": None}
  # Text stays text, and the same runs give the same file.
  settings = {"svg.fonttype": "none", "svg.hashsalt": "sgcl_jax"}
  with (
    files.replacing(path) as partial,
    matplotlib.rc_context(settings),
  ):
    canvas.savefig(partial, metadata=metadata)


def digest(found: dict[str, store.Tables]) -> str:
  """Returns a digest of all that the figure shows; it is in its metadata."""
  text = json.dumps(_find_panels(found), sort_keys=True)
  return f"curves {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _find_panels(found) -> dict[str, list[dict[str, Any]]]:
  """Returns title -> runs with `contrast`, `seed`, `epochs` and `top1`."""
  panels = {}
  for tables in found.values():
    by_run = {}
    for line in tables.curves:
      if line["top1"]:
        by_run.setdefault(line["run"], []).append(line)
    shared = table.find_shared(tables.runs)
    for run in tables.runs:
      if run["run"] not in by_run:
        continue
      key = lines.find_baseline_key(run)
      rest = [x for x in key[-1].split() if x not in shared]
      title = table.name({**run, "overrides": " ".join(rest)})
      title += f", {run['epochs']} epochs"
      panels.setdefault(title, []).append(
        {
          "contrast": run["contrast"],
          "seed": run["seed"],
          "epochs": [int(line["epoch"]) for line in by_run[run["run"]]],
          "top1": [float(line["top1"]) for line in by_run[run["run"]]],
        }
      )
  return panels


def _draw_panel(axis, title, runs):
  for contrast, colour in COLOURS.items():
    chosen = [run for run in runs if run["contrast"] == contrast]
    for run in chosen:
      axis.plot(run["epochs"], run["top1"], color=colour, lw=0.6, alpha=0.5)
    if not chosen:
      continue
    # Where all runs were tested; they may have been at different epochs.
    epochs = sorted(set.intersection(*(set(run["epochs"]) for run in chosen)))
    mean = [
      np.mean([run["top1"][run["epochs"].index(e)] for run in chosen])
      for e in epochs
    ]
    label = f"{LABELS[contrast]}, {wording.count(len(chosen), 'run')}"
    axis.plot(epochs, mean, color=colour, lw=2, label=label)
  axis.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=8)
  axis.set_xlabel("epoch", fontsize=8)
  axis.set_ylabel("test top-1, %", fontsize=8)
  axis.tick_params(labelsize=7)
  axis.grid(alpha=0.3, lw=0.5)
  axis.legend(fontsize=7, loc="lower right", frameon=False)
