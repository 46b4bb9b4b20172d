# SPDX-License-Identifier: Apache-2.0
"""Learned graphs, drawn on the skeletons of their clips (Fig. 1)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import figure

from sgcl_jax import errors, skeletons
from sgcl_jax.report import style

# The tip of a hand where there is one, as in the paper.
ANCHORS = ("right hand tip", "right hand", "right wrist")
MAX_AREA, MAX_WIDTH = 110.0, 3.2  # Points squared, and points.


class Row(NamedTuple):
  """Clips to draw side by side.

  Attributes:
    title: What they have in common.
    poses: [k, V, C] joints.
    strengths: [k, V] connections of the anchor, with their signs.
  """

  title: str
  poses: np.ndarray
  strengths: np.ndarray


def find_anchor(layout: skeletons.Skeleton, name: str | None = None) -> int:
  """Returns the index of the anchor joint.

  Args:
    layout: Joint layout.
    name: Name of the joint; by default a hand, or without hands the joint
      with most bones between it and the root.

  Raises:
    ConfigError: If the layout has no joint of that name.
  """
  # Layouts of 2D detectors write right_wrist.
  plain = [joint.replace("_", " ").lower() for joint in layout.joints]
  if name is not None:
    wanted = name.replace("_", " ").lower()
    if wanted not in plain:
      raise errors.ConfigError(
        f"--anchor={name}: the layout {layout.name} has the joints"
        f" {', '.join(layout.joints)}"
      )
    return plain.index(wanted)
  for known in ANCHORS:
    if known in plain:
      return plain.index(known)
  return int(np.argmax([_depth(layout, j) for j in range(layout.num_joints)]))


def _depth(layout, joint):
  depth = 0
  while layout.parents[joint] != joint:
    joint, depth = layout.parents[joint], depth + 1
  return depth


def connections(graphs: np.ndarray, anchor: int) -> np.ndarray:
  """Returns [n, V] how much the anchor takes from each joint.

  It is row `anchor` of the graph, averaged over the sub-graphs: row u gathers
  from column v.

  Args:
    graphs: [n, S, V, V].
    anchor: Index of the joint.
  """
  return graphs[:, :, anchor].mean(axis=1, dtype=np.float64)


def draw(
  rows: Sequence[Row], layout: skeletons.Skeleton, anchor: int
) -> figure.Figure:
  """Draws rows of skeletons; circles and lines share one scale.

  The area of a circle and the width of a line grow with the size of a
  connection. A negative one is orange.

  Args:
    rows: One or more rows with one or more clips.
    layout: Joint layout.
    anchor: Index of the joint whose connections are drawn.
  """
  columns = max(len(row.poses) for row in rows)
  strongest = max(np.abs(row.strengths).max() for row in rows if len(row.poses))
  view = find_view(np.concatenate([row.poses for row in rows]), layout)
  with mpl.rc_context(style.STYLE):
    drawn = style.new_figure(1.45 * columns + 0.2, 2.15 * len(rows))
    parts = drawn.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
      part.suptitle(row.title, fontsize=8, x=0.01, ha="left")
      for i, axes in enumerate(part.subplots(1, columns, squeeze=False)[0]):
        axes.set_axis_off()
        if i < len(row.poses):
          share = row.strengths[i] / (strongest or 1)
          points = flatten(row.poses[i], view, layout.dimensions)
          _draw_one(axes, points, share, layout, anchor)
  return drawn


def flatten(
  pose: np.ndarray, view: tuple[int, int, int], dimensions: int = 3
) -> np.ndarray:
  """Returns [V, 2] joints of a pose, NaN for joints that were not found.

  Args:
    pose: [V, C].
    view: See `find_view`.
    dimensions: With 2, the third channel is a score, 0 where nothing was found.
  """
  horizontal, vertical, sign = view
  points = np.stack([pose[:, horizontal], sign * pose[:, vertical]], axis=1)
  if dimensions == 2:
    points[pose[:, 2] == 0] = np.nan
  return points


def _draw_one(axes, points, share, layout, anchor):
  for joint, parent in enumerate(layout.parents):
    line = points[[joint, parent]].T
    axes.plot(
      *line, color=style.MUTED, lw=1.6, solid_capstyle="round", zorder=1
    )
  for joint, strength in enumerate(share):
    if joint != anchor:
      axes.plot(
        *points[[anchor, joint]].T,
        color=style.BLUE if strength >= 0 else style.ORANGE,
        lw=MAX_WIDTH * abs(strength),
        alpha=0.75,
        zorder=2,
      )
  axes.scatter(
    *points.T,
    s=2 + MAX_AREA * np.abs(share),
    color=style.RED,
    linewidths=0,
    alpha=0.8,
    zorder=3,
  )
  axes.scatter(
    *points[anchor],
    s=26,
    facecolors="none",
    edgecolors=style.INK,
    lw=1,
    zorder=4,
  )
  names = [name.lower() for name in layout.joints]
  head = next((names.index(x) for x in ("head", "nose") if x in names), None)
  if head is not None:  # So that one sees what is up.
    axes.scatter(
      *points[head],
      s=230,
      facecolors="none",
      edgecolors=style.MUTED,
      lw=1.2,
      zorder=1,
    )
  axes.set_aspect("equal", adjustable="datalim")
  axes.margins(0.15)


def find_view(
  poses: np.ndarray, layout: skeletons.Skeleton
) -> tuple[int, int, int]:
  """Returns the horizontal and the vertical channel, and 1 if it grows upwards.

  The last number is -1 if the vertical channel grows downwards, as in images.
  In other 3D layouts than Kinect's, the vertical channel is the one in which
  the bodies are longest, upwards from feet to head.

  Args:
    poses: [n, V, C]; in a layout of 2 dimensions the third channel is a score.
    layout: Joint layout.
  """
  if layout.dimensions == 2:
    return 0, 1, -1
  if layout.name in ("ntu", "ucla"):
    return 0, 1, 1
  extents = np.ptp(poses, axis=1).mean(axis=0)
  vertical, horizontal = np.argsort(-extents, kind="stable")[:2]
  heights = poses[:, :, vertical].mean(axis=0)  # [V]
  head, feet = (
    [
      i
      for i, name in enumerate(layout.joints)
      if re.search(words, name.lower())
    ]
    for words in ("head|nose", "foot|ankle|toe")
  )
  upright = not (head and feet) or heights[head].mean() > heights[feet].mean()
  return int(horizontal), int(vertical), 1 if upright else -1
