# SPDX-License-Identifier: Apache-2.0
"""Recordings of several actions: which frames of which file are a clip."""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_prep.clips import clip_file
from sgcl_jax import errors
from sgcl_jax.dataset import regular_file
from sgcl_jax.terminal import wording

COLUMNS = ("file", "first", "last", "label")


class Segment(NamedTuple):
  """A clip of a recording.

  Attributes:
    first: Its first frame, from 0 on.
    last: Its last frame.
    label: Name or number of the class, as in the file.
    split: Its split, None if the recording has it.
  """

  first: int
  last: int
  label: str
  split: str | None

  def cut(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of the clip, from that of its recording.

    Args:
      name: Name of the recording.
      content: Has the key `skeleton`, frames first.

    Raises:
      DataError: The recording has no such frames.
    """
    skeleton = content.get("skeleton")
    try:
      num_frames = len(skeleton)
    except TypeError:
      raise errors.DataError("skeleton is missing") from None
    if self.last >= num_frames:
      raise errors.DataError(
        f"last is {self.last}, but {name} has {num_frames} frames, from 0 on"
      )
    own = {"skeleton": skeleton[self.first : self.last + 1]}
    own["label"] = int(self.label) if _is_number(self.label) else self.label
    if self.split is not None:
      own["split"] = self.split
    return {**content, **own}

  def rename(self, name: str) -> str:
    """Returns the name of the clip, from that of its recording."""
    return f"{name}_{self.first:06d}_{self.last:06d}"


def read(path: pathlib.Path) -> dict[str, list[Segment]]:
  """Reads a table of segments.

  Args:
    path: CSV with the columns `file`, `first`, `last`, `label` and, if the
      recordings have none, `split`.

  Returns:
    Name of each recording, without folders and suffix -> its segments.

  Raises:
    DataError: The table is not of this form; names the line.
  """
  try:
    text = regular_file.read_utf8(path)
  except (OSError, ValueError) as error:
    raise errors.DataError(f"{path} cannot be read ({error})") from error
  rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
  missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
  if missing:
    raise errors.DataError(
      f"{path} has no column {', '.join(missing)}: its first line names"
      f" {', '.join(COLUMNS)} and, if you like, split"
    )
  found = {}
  for row in rows:
    try:
      name, segment = _parse(row)
      others = found.setdefault(name, [])
      if any(segment[:2] == other[:2] for other in others):
        raise errors.DataError(f"the same frames of {name} come twice")
      others.append(segment)
    except errors.DataError as error:
      raise errors.DataError(f"{path}, line {rows.line_num}: {error}") from (
        error
      )
  if not found:
    raise errors.DataError(f"{path} holds no segment")
  return found


def _is_number(text):
  # Python refuses to read numbers of thousands of digits.
  return text.isascii() and text.isdecimal() and len(text) < 10


def _parse(row):
  values = {key: (row[key] or "").strip() for key in COLUMNS}
  name = pathlib.PurePosixPath(values["file"].replace("\\", "/")).name
  if name.lower().endswith(clip_file.SUFFIXES):
    name = name.rpartition(".")[0]
  empty = [key for key, value in values.items() if not value]
  if empty or not name:
    raise errors.DataError(f"{', '.join(empty) or 'file'} is empty")
  frames = []
  for key in ("first", "last"):
    if not _is_number(values[key]):
      raise errors.DataError(
        f"{key} is {wording.quote(values[key])}, no number of a frame"
      )
    frames.append(int(values[key]))
  if frames[0] > frames[1]:
    raise errors.DataError(f"first is {frames[0]}, after last, {frames[1]}")
  split = (row.get("split") or "").strip() or None
  return name, Segment(*frames, values["label"], split)


def find_missing(
  segments: Mapping[str, Sequence[Segment]], names: Sequence[str]
) -> list[str]:
  """Returns a line for each recording of the table that is not there."""
  return [
    f"{name}: no such file, but {len(parts)} segments of it"
    for name, parts in segments.items()
    if name not in names
  ]
