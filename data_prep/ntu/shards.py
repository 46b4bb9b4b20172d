# SPDX-License-Identifier: Apache-2.0
"""The unit of a conversion: raw files that become one file of records."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from data_prep import tfrecord
from data_prep.ntu import actors, align, raw_files, skeleton_file
from sgcl_jax import errors
from sgcl_jax.runs import files

# In the working directory: the future data set, and the workers' results.
DATA, RESULTS = "data", "results"


@dataclasses.dataclass(frozen=True)
class Shard:
  """The work of one process at a time.

  Attributes:
    cell: Split of TensorFlow Datasets.
    files: Raw files, by name.
    path: File of the records.
    lone_person: As in a `raw_set.RawSet`.
    alignment: None, or `own` or `released` (see `align.align`).
  """

  cell: str
  files: tuple[raw_files.RawFile, ...]
  path: pathlib.Path
  lone_person: str
  alignment: str | None

  @property
  def result_path(self) -> pathlib.Path:
    """The worker's result, written after the records."""
    return self.path.parent.with_name(RESULTS) / f"{self.path.name}.json"

  def is_begun(self) -> bool:
    """Returns whether a result of the shard exists."""
    return self.result_path.exists()

  def read_result(self) -> dict[str, Any] | None:
    """Returns what `write` returned; None if that, or the records, changed."""
    try:
      result = json.loads(self.result_path.read_text(encoding="utf-8"))
      with self.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    except (FileNotFoundError, ValueError, RecursionError):
      return None
    if not isinstance(result, dict):
      return None
    seal = result.pop("seal", None)
    return result if seal == _seal(result, digest) else None


def read_clip(
  file: raw_files.RawFile, lone_person: str, alignment: str | None
) -> tuple[tfrecord.Clip, list[str]]:
  """Turns one raw file into a clip.

  Args:
    file: The raw file.
    lone_person: As in a `raw_set.RawSet`.
    alignment: As in a `Shard`.

  Returns:
    The clip, [T, 2, 25, 3], and what was unusual about it.

  Raises:
    DataError: The file is damaged; names the line.
  """
  recording = skeleton_file.parse(raw_files.read(file))
  joints, notes = actors.clean(recording)
  if joints.shape[1] == 1 and lone_person == "repeat":
    joints = np.repeat(joints, 2, axis=1)
  joints = actors.pad(joints)
  if alignment:
    joints, unusual = align.align(joints, as_released=alignment == "released")
    notes = [*notes, *unusual]
  label = skeleton_file.parse_name(file.stem).action - 1
  return tfrecord.Clip(file.stem, label, joints), notes


def write(shard: Shard) -> dict[str, Any]:
  """Writes one shard and, to `result_path`, what it returns.

  Returns:
    lengths: Frames of each clip.
    labels: Of each clip.
    broken: A line for each broken file.
    notes: Name -> what is unusual about the clip.
    num_bytes: Size of all records.
  """
  result = {"lengths": [], "labels": [], "broken": [], "notes": {}}
  with (
    files.replacing(shard.path) as partial,
    tfrecord.RecordWriter(partial) as writer,
  ):
    for file in shard.files:
      try:
        clip, notes = read_clip(file, shard.lone_person, shard.alignment)
      except errors.DataError as error:
        result["broken"].append(f"{file}: {error}")
        continue
      writer.write(clip)
      result["lengths"].append(len(clip.skeleton))
      result["labels"].append(clip.label)
      if notes:
        result["notes"][clip.name] = notes
  result["num_bytes"] = writer.num_bytes
  seal = _seal(result, writer.digest())
  files.write_json(shard.result_path, {**result, "seal": seal})
  return result


def _seal(result, digest):
  """Returns what proves a result and its records to be those written."""
  text = json.dumps(result, sort_keys=True).encode()
  return hashlib.sha256(digest + text).hexdigest()
