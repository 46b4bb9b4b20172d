# SPDX-License-Identifier: Apache-2.0
"""The figures of a report but for the skeletons; each returns a Figure."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import figure, patches, ticker

from sgcl_jax.report import diagnostics, style

BASELINE = "baseline, "
WIDTH = 4.1  # Inches; on a phone, text of this width is still read.


def curves(
  series: dict[str, tuple[Sequence[int], Sequence[float | None]]],
  title: str,
  unit: str = "",
  limits: tuple[float | None, float | None] = (None, None),
) -> figure.Figure:
  """Draws values over the epochs.

  Args:
    series: Label -> (epochs, values); None leaves a gap. A label that starts
      with `BASELINE` is drawn dashed, in the colour of the one without.
    title: What the values are.
    unit: Unit of the values.
    limits: Ends of the vertical axis.
  """
  with mpl.rc_context(style.STYLE):
    drawn = style.new_figure(WIDTH, 2.5)
    axes = drawn.subplots()
    own = [label.removeprefix(BASELINE) for label in series]
    colors = dict(zip(dict.fromkeys(own), style.LINES, strict=False))
    for label, (epochs, values) in series.items():
      values = np.array(values, float)
      color = colors[label.removeprefix(BASELINE)]
      dashed = "--" if label.startswith(BASELINE) else "-"
      line = {"linestyle": dashed, "color": color}
      marker = "o" if len(epochs) < 15 else ""
      axes.plot(epochs, values, label=label, marker=marker, ms=3, **line)
    axes.set_title(f"{title}, {unit}" if unit else title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_ylim(*limits)
    axes.margins(x=0.02)
    if len(series) > 1:
      axes.legend()
  return drawn


def confusion(matrix: np.ndarray, names: Sequence[str]) -> figure.Figure:
  """Draws a confusion matrix: rows true, columns predicted classes.

  Args:
    matrix: [L, L] numbers of clips.
    names: [L].
  """
  num = len(names)
  shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
  small = num > 25
  cell = 0.13 if small else 0.3
  size = num * cell + 1.6
  with mpl.rc_context(style.STYLE):
    drawn = style.new_figure(max(size, WIDTH), max(size, WIDTH) - 0.1)
    axes = drawn.subplots()
    for row, column in np.argwhere(matrix):
      # The background shows through; the root makes rare cases visible.
      axes.add_patch(
        patches.Rectangle(
          (column - 0.5, row - 0.5),
          1,
          1,
          facecolor=style.BLUE if row == column else style.RED,
          alpha=np.sqrt(shares[row, column]),
          linewidth=0,
        )
      )
    axes.set_xlim(-0.5, num - 0.5)
    axes.set_ylim(num - 0.5, -0.5)
    axes.set_aspect("equal")
    font = 5 if small else 7.5
    for row, column in np.argwhere(matrix):
      axes.text(
        column,
        row,
        str(matrix[row, column]),
        ha="center",
        va="center",
        fontsize=3.5 if small else 7,
      )
    axes.set_xticks(range(num), names, rotation=90, fontsize=font)
    axes.set_yticks(range(num), names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
      spine.set_visible(False)
  return drawn


def classes(
  changes: Sequence[diagnostics.Change], names: Sequence[str], title: str
) -> figure.Figure:
  """Draws the accuracy of some classes, beside the baseline's if there is one.

  Args:
    changes: The classes, from top to bottom.
    names: [L].
    title: What they have in common.
  """
  places = np.arange(len(changes))
  paired = changes[0].baseline is not None
  height = 0.36 if paired else 0.6
  with mpl.rc_context(style.STYLE):
    drawn = style.new_figure(WIDTH, 0.75 + 0.31 * len(changes))
    axes = drawn.subplots()
    bars = [("this run", style.BLUE, [c.accuracy for c in changes])]
    if paired:
      theirs = [c.baseline for c in changes]
      bars.insert(0, ("baseline", style.MUTED, theirs))
    for i, (label, color, values) in enumerate(bars):
      offset = (i - 0.5) * height if paired else 0
      axes.barh(places + offset, values, height, color=color, label=label)
      for place, value in zip(places, values, strict=True):
        axes.text(
          value + 1, place + offset, f"{value:.0f}", va="center", fontsize=7.5
        )
    axes.set_yticks(places, [names[c.label] for c in changes], fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("accuracy, %")
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
    if paired:
      drawn.legend(loc="outside lower right", ncols=2)
  return drawn


def ranks(
  rows: Sequence[dict], baseline: Sequence[dict] | None
) -> figure.Figure:
  """Draws the accuracy by the rank of the graph distance (Tab. 10).

  Args:
    rows: See `diagnostics.accuracy_by_rank`.
    baseline: Those of another run.
  """
  with mpl.rc_context(style.STYLE):
    drawn = style.new_figure(WIDTH, 2.6)
    axes = drawn.subplots()
    labels = [describe_ranks(row) for row in rows]
    places = np.arange(len(rows))
    pairs = [("this run", style.BLUE, rows)]
    if baseline is not None:
      pairs.insert(0, ("baseline", style.MUTED, baseline))
    width = 0.7 / len(pairs)
    for i, (label, color, found) in enumerate(pairs):
      offset = (i - (len(pairs) - 1) / 2) * width
      values = [row["accuracy"] or 0 for row in found]
      axes.bar(places + offset, values, width, color=color, label=label)
      for place, row in zip(places, found, strict=True):
        if row["accuracy"] is not None:
          axes.text(
            place + offset,
            row["accuracy"] + 2,
            f"{row['accuracy']:.0f}",
            ha="center",
            fontsize=7.5,
          )
    axes.set_xticks(places, labels)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(False, axis="x")
    axes.set_xlabel("rank of the distance to the own class")
    axes.set_title("accuracy, %")
    if len(pairs) > 1:
      drawn.legend(loc="outside lower right", ncols=2)
  return drawn


def describe_ranks(row: dict) -> str:
  """Returns a group of ranks as text, such as `2-5`."""
  first, last = row["first"], row["last"]
  return str(first) if first == last else f"{first}-{last}"


def project(points: np.ndarray, seed: int = 0) -> np.ndarray:
  """Returns [n, 2] the t-SNE of points [n, D] (van der Maaten & Hinton, 2008).

  It starts from the two main components, so the same points give the same map.
  """
  import threadpoolctl
  from sklearn import manifold

  perplexity = min(30.0, (len(points) - 1) / 3)
  points = points - points.mean(axis=0)
  scale = points.std()  # Of all values: distances keep their proportions.
  points = (points / scale if scale else points).astype(np.float32)
  tsne = manifold.TSNE(init="pca", perplexity=perplexity, random_state=seed)
  # With one thread the sums have one order, and no thread waits for another.
  with threadpoolctl.threadpool_limits(1):
    return tsne.fit_transform(points)


def scatter(
  places: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str
) -> figure.Figure:
  """Draws points in the colours of their classes (Fig. 4).

  Args:
    places: [n, 2], see `project`.
    labels: [n].
    names: [L].
    title: What the points are.
  """
  with mpl.rc_context(style.STYLE):
    drawn = style.new_figure(WIDTH, WIDTH + 0.2)
    axes = drawn.subplots()
    for i, label in enumerate(np.unique(labels)):
      chosen = places[labels == label]
      color = style.CLASSES[i % len(style.CLASSES)]
      axes.scatter(
        *chosen.T,
        s=9,
        color=color,
        label=names[label],
        linewidths=0,
        alpha=0.85,
      )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    drawn.legend(loc="outside lower left", ncols=2, markerscale=2)
  return drawn
