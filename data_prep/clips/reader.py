# SPDX-License-Identifier: Apache-2.0
"""Turns one file into clips, and a directory into the clips of a data set."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_prep import walk
from data_prep.clips import (
  absent,
  clip_file,
  labels,
  origin,
  segments,
  skeleton_array,
  unit,
)
from sgcl_jax import errors, skeletons
from sgcl_jax.terminal import progress, wording

SPLITS = ("train", "val", "test")
# Notes of this kind about several joints are shown as one.
ZERO = " at exactly zero "
# A note that means something only if all clips have it.
SCORES = (
  "z lies in 0 to 1, x and y do not; if it is a score, the layout has 2"
  " dimensions"
)


@dataclasses.dataclass(frozen=True)
class Options:
  """How files become clips.

  Attributes:
    layout: Joints of the clips.
    class_names: [L] in label order, None if the clips decide.
    drop_unseen: Whether persons who are never seen leave their slots.
    max_persons: How many persons are kept, those that move most; None for all.
    empty_frames: See `absent.treat_empty`.
    fill_gaps: See `absent.fill_gaps`.
    unit: See `unit.scale`.
    cuts: See `segments.read`; None if a file is a clip.
    split: Split of clips that name none; None if they must.
  """

  layout: skeletons.Skeleton
  class_names: Sequence[str] | None = None
  drop_unseen: bool = False
  max_persons: int | None = None
  empty_frames: str = "keep"
  fill_gaps: int = 0
  unit: str | None = None
  cuts: Mapping[str, Sequence[segments.Segment]] | None = None
  split: str | None = None


class Clip(NamedTuple):
  """One clip.

  Attributes:
    name: Unique in the data set.
    skeleton: [T, M, V, 3] float32 with the origin at the center, absent joints
      0.
    label: Name of the class.
    split: One of `SPLITS`.
    notes: What was unusual.
  """

  name: str
  skeleton: np.ndarray
  label: str
  split: str
  notes: tuple[str, ...]


@dataclasses.dataclass
class Found:
  """The clips of a directory.

  Attributes:
    clips: Sorted by name.
    problems: A line for each broken file.
    passed: Files that were passed over, by kind.
    num_unlabelled: Clips among the problems that have no label.
  """

  clips: list[Clip]
  problems: list[str]
  passed: collections.Counter
  num_unlabelled: int = 0


def read_clip(path: pathlib.Path, options: Options) -> Clip:
  """Reads the clip of a file.

  Args:
    path: `.npz` or `.json` with `skeleton` [T, M, V, C] or [T, V, C], `label`
      and `split`.
    options: How.

  Raises:
    DataError: The file is not of this form; says why.
  """
  return make_clip(clip_file.get_name(path), clip_file.load(path), options)


def make_clip(name: str, content: Mapping[str, Any], options: Options) -> Clip:
  """Does the same as `read_clip` with the content of a file.

  Args:
    name: Name of the clip.
    content: Has the keys `skeleton`, `label` and `split`, and perhaps
      `img_shape`.
    options: How.
  """
  _check_keys(content, has_split=options.split is not None)
  split = str(content.get("split", options.split))
  if split not in SPLITS:
    raise errors.DataError(
      f"split is {wording.quote(split)}, not one of {', '.join(SPLITS)}"
    )
  label = labels.parse(content["label"], options.class_names)
  skeleton = skeleton_array.parse(
    content["skeleton"],
    options.layout,
    any_persons=options.max_persons is not None,
  )
  skeleton = unit.scale(skeleton, options.unit, content.get("img_shape"))
  skeleton, notes = prepare(skeleton, options)
  return Clip(name, skeleton, label, split, notes)


def prepare(
  skeleton: np.ndarray, options: Options
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Selects persons, treats what is absent, and makes the layout's joints.

  Args:
    skeleton: [T, M, V, 3] of the recorded joints, see `skeleton_array.parse`.
    options: How.

  Returns:
    [T, M, V, 3] with the origin at the center, absent joints 0; and what was
    unusual.

  Raises:
    DataError: No joint is left.
  """
  layout = options.layout
  if options.drop_unseen:
    skeleton = absent.drop_unseen(skeleton)
  notes = [
    f"{joint!r}{ZERO}in {which} frames, taken for a position (absent is NaN)"
    for joint, which in skeleton_array.find_zeros(skeleton, layout).items()
  ]
  if _may_hold_scores(skeleton, layout):
    notes.append(SCORES)
  if options.max_persons is not None and (
    skeleton.shape[1] > options.max_persons
  ):
    notes.append("the persons that move least are left out (--max_persons)")
    skeleton = absent.keep_moving(
      skeleton, options.max_persons, layout.dimensions
    )
  skeleton = layout.derive(absent.fill_gaps(skeleton, options.fill_gaps))
  empty = absent.find_empty(skeleton)
  if empty.all():
    raise errors.DataError("no joint that the layout keeps is seen")
  if empty.any():
    done = {"keep": "kept", "drop": "dropped"}
    notes.append(
      "nobody is seen in some frames,"
      f" {done.get(options.empty_frames, 'interpolated')} (--empty_frames)"
    )
  skeleton = absent.treat_empty(skeleton, options.empty_frames)
  skeleton, found = origin.center(skeleton, layout)
  if not found:
    center = " and ".join(layout.joints[joint] for joint in layout.center)
    notes.append(
      f"the first person has no {center}, the center; the mean of the joints is"
      " the origin"
    )
  return skeleton, tuple(notes)


def check_raw(raw: pathlib.Path) -> None:
  """Raises DataError if a path is not a directory, which clips are read of."""
  walk.check_raw(raw, "the directory of the clips")
  if not raw.is_dir():
    raise errors.DataError(f"{raw} is no directory: pass that of the clips")


def read_all(raw: pathlib.Path, options: Options) -> Found:
  """Reads all clips below a directory.

  Args:
    raw: Directory of the files. A layout among them is passed over.
    options: How.

  Raises:
    DataError: There is no file.
  """
  check_raw(raw)
  found = Found([], [], collections.Counter())
  paths = [*walk.files(raw, clip_file.SUFFIXES, found.passed)]
  first = {}  # Name -> its first file.
  for path in progress.bar(paths, unit="clips"):
    try:
      content = clip_file.load(path)
      if clip_file.is_layout(content):
        found.passed["layout"] += 1
        continue
      name = clip_file.get_name(path)
      if name in first:
        raise errors.DataError(
          f"another file of the name {name}, after {wording.show(first[name])}"
        )
      first[name] = path
    except errors.DataError as error:
      found.problems.append(f"{wording.show(path)}: {error}")
      continue
    if options.cuts is not None and name not in options.cuts:
      found.passed["without a segment"] += 1
      continue
    _add_clips(found, path, name, content, options)
  if options.cuts is not None:
    found.problems += segments.find_missing(options.cuts, first)
  if not found.clips and not found.problems:
    raise errors.DataError(
      f"{raw} holds no .npz or .json file of a clip: pass the directory of the"
      " clips"
    )
  found.clips.sort(key=lambda clip: clip.name)
  return found


def _add_clips(found, path, name, content, options):
  """Adds the clip of a file, or those of its segments, or what is wrong."""
  if options.cuts is None:
    parts = {name: None}
  else:
    parts = {part.rename(name): part for part in options.cuts[name]}
  for clip_name, part in parts.items():
    try:
      own = content if part is None else part.cut(name, content)
      found.num_unlabelled += "label" not in own
      found.clips.append(make_clip(clip_name, own, options))
    except errors.DataError as error:
      where = wording.show(path)
      if part is not None:
        where = f"{where}, segment {clip_name}"
      found.problems.append(f"{where}: {error}")


def _check_keys(content, has_split):
  keys = ("skeleton", "label") if has_split else ("skeleton", "label", "split")
  missing = [key for key in keys if key not in content]
  if missing:
    verb = "is" if len(missing) == 1 else "are"
    found = wording.show(", ".join(sorted(content)[:10])) or "none"
    raise errors.DataError(
      f"{', '.join(missing)} {verb} missing (found: {found})"
    )


def _may_hold_scores(skeleton, layout):
  if layout.dimensions == 2:
    return False
  low, high = np.nanmin(skeleton, (0, 1, 2)), np.nanmax(skeleton, (0, 1, 2))
  inside = (low >= 0) & (high <= 1)
  return bool(inside[2] and not inside[:2].any())
