# SPDX-License-Identifier: Apache-2.0
"""Draws a clip in motion; needs `pip install -e ".[report]"`."""

import pathlib
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from data_prep.quality import measure
from sgcl_jax import errors, skeletons
from sgcl_jax.runs import files

MOST_FRAMES = 60
SUFFIXES = (".gif", ".mp4")
LEFT, RIGHT, MIDDLE = "tab:blue", "tab:red", "black"
# Joints that are above and below in a body that stands.
ABOVE, BELOW = ("head", "nose", "neck"), ("ankle", "foot", "knee", "hip")


def write(
  clip: dict[str, Any],
  layout: skeletons.Skeleton,
  out: pathlib.Path,
  answers: Sequence[tuple[str, float]] | None = None,
) -> int:
  """Writes up to `MOST_FRAMES` frames of a clip.

  Beside it are the names of the joints, or a model's answers.

  Args:
    clip: `name` and `skeleton` [T, M, V, 3], 0 where a joint is absent.
    layout: Joints of the clip.
    out: The file, a GIF or an MP4, which is replaced.
    answers: Classes and their probabilities, the best first.

  Returns:
    The number of frames that were drawn.

  Raises:
    ConfigError: A package is not installed, or the name is of another kind.
    DataError: The clip holds nobody.
  """
  writer, figure = make_writer(out)
  from matplotlib import animation

  skeleton = clip["skeleton"]
  present = measure.find_present(skeleton, layout)
  if not present.any():
    raise errors.DataError(f"clip {clip['name']} holds nobody in any frame")
  if layout.dimensions == 3:  # The root of relative poses is at 0, and there.
    present[:, :, list(layout.center)] |= present.any(axis=-1, keepdims=True)
  numbers = np.unique(
    np.linspace(0, len(skeleton) - 1, MOST_FRAMES).astype(int)
  )
  drawing = figure.Figure(dpi=80)
  views = _make_views(drawing, skeleton, present, layout)
  if answers is None:
    _list_joints(drawing, layout)
  else:
    _list_answers(drawing, answers)
  moving = []

  def draw(number):
    for artist in moving:
      artist.remove()
    moving.clear()
    last = len(skeleton) - 1
    drawing.suptitle(f"{clip['name']}, frame {number} (0 to {last})")
    for ax, channels in views:
      for points, there in zip(skeleton[number], present[number], strict=True):
        flat = points[:, channels]
        moving.extend(_draw_body(ax, flat, there, layout, answers is None))

  player = animation.FuncAnimation(drawing, draw, numbers, init_func=list)
  with files.replacing(out) as partial:
    player.save(partial, writer)
  return len(numbers)


def make_writer(out: pathlib.Path) -> tuple[Any, ModuleType]:
  """Returns the writer of a file's kind, and matplotlib's module `figure`.

  Raises:
    ConfigError: A package is not installed, or the name is of another kind.
  """
  if out.suffix.lower() not in SUFFIXES:
    raise errors.ConfigError(f"{out} is neither a GIF nor an MP4: *.gif, *.mp4")
  try:
    import matplotlib
    from matplotlib import animation, figure

    if out.suffix.lower() == ".gif":
      return animation.PillowWriter(fps=15), figure
    import imageio_ffmpeg
  except ImportError as error:
    needed = error.name or "matplotlib"
    remedy = (
      "pip install imageio-ffmpeg, or name a *.gif"
      if needed == "imageio_ffmpeg"
      else 'pip install -e ".[report]"'
    )
    raise errors.ConfigError(f"{out} needs {needed}: {remedy}") from error
  matplotlib.rcParams["animation.ffmpeg_path"] = imageio_ffmpeg.get_ffmpeg_exe()
  return animation.FFMpegWriter(fps=15), figure


def find_up(
  skeleton: np.ndarray, present: np.ndarray, layout: skeletons.Skeleton
) -> bool:
  """Tells whether y points up: the head is above the feet in most clips.

  Args:
    skeleton: [T, M, V, 3].
    present: [T, M, V].
    layout: Names of the joints. If they name no head or no foot, y points down
      in pictures, and up in space.
  """
  heights = []
  for words in (ABOVE, BELOW):
    joints = [
      i
      for i, name in enumerate(layout.joints)
      if any(word in name.lower() for word in words)
    ]
    values = skeleton[:, :, joints, 1][present[:, :, joints]]
    heights.append(np.median(values) if len(values) else np.nan)
  if np.isnan(heights).any():
    return layout.dimensions == 3
  return bool(heights[0] > heights[1])


def _make_views(drawing, skeleton, present, layout):
  """Returns the axes from the front and, in space, from the side.

  Returns:
    Pairs of matplotlib's axes and the two channels that they show.
  """
  views = [[0, 1], [2, 1]][: layout.dimensions - 1]
  width = 4 * len(views) + 2.2  # The list of the joints takes 2.2 inches.
  drawing.set_size_inches(width, 4.8)
  axes = drawing.subplots(1, len(views), squeeze=False)[0]
  drawing.subplots_adjust(left=0.75 / width, right=1 - 2.2 / width, wspace=0.25)
  up = find_up(skeleton, present, layout)
  for ax, channels in zip(axes, views, strict=True):
    _set_limits(ax, skeleton[..., channels][present], up)
    ax.set_xlabel("xyz"[channels[0]])
    ax.set_ylabel("xyz"[channels[1]])
  return list(zip(axes, views, strict=True))


def _set_limits(ax, points, up):
  low, high = points.min(axis=0), points.max(axis=0)
  middle, half = (low + high) / 2, max((high - low).max() / 2, 1e-6) * 1.1
  ax.set_xlim(middle[0] - half, middle[0] + half)
  bottom, top = middle[1] - half, middle[1] + half
  ax.set_ylim((bottom, top) if up else (top, bottom))
  ax.set_aspect("equal")
  ax.tick_params(labelsize=7)


def _list_joints(drawing, layout):
  for i, name in enumerate(layout.joints):
    drawing.text(
      1 - 2.1 / drawing.get_figwidth(),
      0.9 - 0.86 * i / max(layout.num_joints, 20),
      f"{i} {name}",
      fontsize=8 if layout.num_joints < 28 else 7,
      color=_find_colour(name),
    )


def _list_answers(drawing, answers):
  from matplotlib import patches

  left, width = 1 - 2.1 * 80 / drawing.bbox.width, 1.9 * 80
  width /= drawing.bbox.width
  for i, (name, probability) in enumerate(answers[:5]):
    top = 0.86 - 0.16 * i
    text = "\n".join(textwrap.wrap(name, 26)[:2])
    drawing.text(left, top, text, fontsize=8, va="bottom")
    for share, colour in ((1, "0.9"), (probability, LEFT)):
      place, size = (left, top - 0.035), (width * share, 0.025)
      drawing.add_artist(patches.Rectangle(place, *size, color=colour))
    drawing.text(
      left, top - 0.045, f"{100 * probability:.1f} %", fontsize=7, va="top"
    )


def _draw_body(ax, points, there, layout, with_numbers):
  for joint, parent in enumerate(layout.parents):
    if joint != parent and there[joint] and there[parent]:
      ends = points[[joint, parent]].T
      colour = _find_colour(layout.joints[joint])
      yield from ax.plot(*ends, color=colour, linewidth=1.5)
  if not with_numbers:
    yield from ax.plot(*points[there].T, ".", color=MIDDLE, markersize=5)
    return
  for joint in np.flatnonzero(there):
    yield ax.text(*points[joint], str(joint), fontsize=7, clip_on=True)


def _find_colour(name):
  words = name.lower().split()
  return LEFT if "left" in words else RIGHT if "right" in words else MIDDLE
