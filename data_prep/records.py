# SPDX-License-Identifier: Apache-2.0
"""Writes clips as TFRecords with the metadata of TensorFlow Datasets.

The result opens with `tfds.builder_from_directory(out)`.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_prep import problems, tfrecord
from sgcl_jax import errors
from sgcl_jax.dataset import data_files
from sgcl_jax.runs import files

SHARD_BYTES = 128 * 1024**2

# What a directory may hold for `overwrite` to replace it.
DATASET_FILES = (
  "*.tfrecord-*",
  "dataset_info.json",
  "metadata.json",
  "features.json",
  data_files.CHECKSUMS,
  problems.REPORT,
  "*.labels.txt",
)


class Description(NamedTuple):
  """The content of the metadata.

  Attributes:
    name: Name of the data set, the first part of each file's name.
    class_names: [L] in label order.
    num_persons: M.
    num_joints: V.
    text: One sentence about the data.
    num_channels: C.
    metadata: Further values, for `builder.info.metadata`.
  """

  name: str
  class_names: Sequence[str]
  num_persons: int
  num_joints: int
  text: str = ""
  num_channels: int = 3
  metadata: Mapping[str, Any] = {"aligned": False}

  @property
  def shape(self) -> tuple[int, int, int]:
    """Returns (M, V, C)."""
    return self.num_persons, self.num_joints, self.num_channels


class Shard(NamedTuple):
  """A written file of records.

  Attributes:
    cell: Split of TensorFlow Datasets.
    path: The file.
    num_clips: Number of its records.
    num_bytes: Size of the records.
  """

  cell: str
  path: pathlib.Path
  num_clips: int
  num_bytes: int


def check_out(out: str | os.PathLike, overwrite: bool) -> None:
  """Refuses a destination that is taken.

  Args:
    out: Directory of the future data set.
    overwrite: Whether an existing data set may be replaced.

  Raises:
    DataError: `out` exists and may not be replaced. A directory with any other
      content than a data set is never replaced: that content would be lost.
  """
  out = pathlib.Path(out)
  if not out.exists():
    return
  if not overwrite:
    raise errors.DataError(
      f"{out} exists already: name another --out, or pass --overwrite to "
      "replace it"
    )
  if not out.is_dir():
    raise errors.DataError(f"{out} is not a directory: name another --out")
  for entry in sorted(out.iterdir()):
    if not any(entry.match(pattern) for pattern in DATASET_FILES):
      raise errors.DataError(
        f"{out} holds {entry.name}, which is no part of a data set, and is not "
        "overwritten: name another --out"
      )


def write_dataset(
  out: str | os.PathLike,
  clips: Iterable[tuple[str, tfrecord.Clip]],
  about: Description,
  *,
  overwrite: bool = False,
  report: Mapping[str, Any] | None = None,
  shard_bytes: int = SHARD_BYTES,
) -> dict[str, int]:
  """Writes a data set whole or not at all.

  Everything goes to a hidden directory beside `out` that takes its name at the
  end. Clips are written in the given order; equal clips make equal files.

  Args:
    out: Directory of the data set.
    clips: Pairs of cell and clip, names increasing within a cell. A cell
      becomes one split of TensorFlow Datasets; cells without clips do not
      exist. If the iterable raises, nothing is left behind.
    about: Description of the clips.
    overwrite: Replace an existing data set, once the new one is complete.
    report: Content of `problems.REPORT`, a file beside the records.
    shard_bytes: Approximate size of one file.

  Returns:
    Clips per cell, in the order of their first clip.

  Raises:
    DataError: `out` is taken, or a clip does not fit the description.
    DiskError: It cannot be written.
  """
  check_out(out, overwrite)
  shown, out = out, pathlib.Path(os.path.realpath(out))
  checked = _check_clips(clips, len(about.class_names), about.shape)
  partial = out.with_name(f".{out.name}.incomplete-{os.getpid()}")
  made = []
  try:
    with files.writing(shown, out, *out.parents):
      made = make_parents(out)
      partial.mkdir()
    with files.writing(shown, out, partial):
      shards = _write_shards(partial, checked, shard_bytes)
      if not shards:
        raise errors.DataError(f"there is no clip to write to {shown}")
      if report is not None:
        files.write_json(partial / problems.REPORT, report)
      finish(partial, out, shards, about, overwrite=overwrite)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
    remove_empty(made)
  counts = {}
  for shard in shards:
    counts[shard.cell] = counts.get(shard.cell, 0) + shard.num_clips
  return counts


def finish(
  partial: pathlib.Path,
  out: pathlib.Path,
  shards: Sequence[Shard],
  about: Description,
  *,
  overwrite: bool,
) -> None:
  """Names the shards, writes the metadata, and moves it all into place.

  Args:
    partial: Directory of the shards; all its content becomes the data set.
    out: Directory of the data set.
    shards: In the order of the clips of a cell.
    about: For the metadata.
    overwrite: Replace an existing data set.

  Raises:
    DataError: `out` is taken.
  """
  cells = {}
  for shard in shards:
    cells.setdefault(shard.cell, []).append(shard)
  named = {}
  try:
    for cell, parts in cells.items():
      for i, shard in enumerate(parts):
        name = f"{about.name}-{cell}.tfrecord-{i:05d}-of-{len(parts):05d}"
        os.rename(shard.path, partial / name)
        named[partial / name] = shard.path
    _write_metadata(partial, cells, about)
    data_files.write_checksums(partial)
    check_out(out, overwrite)
    files.move_into_place(partial, out)
  except BaseException:
    # So that the caller can try again with the same shards.
    for name, path in named.items():
      if name.exists():
        os.rename(name, path)
    raise


def _check_clips(
  clips, num_classes, shape
) -> Iterator[tuple[str, tfrecord.Clip]]:
  last = {}
  seen = set()
  for cell, clip in clips:
    skeleton = clip.skeleton
    if skeleton.shape[1:] != shape or not len(skeleton):
      raise errors.DataError(
        f"clip {clip.name} has shape {skeleton.shape}, not (T >= 1, *{shape})"
      )
    if skeleton.dtype != np.float32 or not np.isfinite(skeleton).all():
      raise errors.DataError(
        f"clip {clip.name} is not of finite float32 numbers"
      )
    if not 0 <= clip.label < num_classes:
      raise errors.DataError(
        f"clip {clip.name} has label {clip.label} of {num_classes} classes"
      )
    if clip.name in seen:
      raise errors.DataError(f"clip {clip.name} comes twice")
    if clip.name < last.get(cell, ""):
      raise errors.DataError(
        f"clip {clip.name} comes after {last[cell]} in {cell}"
      )
    seen.add(clip.name)
    last[cell] = clip.name
    yield cell, clip


def _write_shards(directory, clips, shard_bytes):
  writers = {}  # cell -> its writers, of which the last is open
  with contextlib.ExitStack() as open_writers:
    for cell, clip in clips:
      parts = writers.setdefault(cell, [])
      if not parts or parts[-1].num_bytes + clip.skeleton.nbytes > shard_bytes:
        if parts:
          parts[-1].close()
        writer = tfrecord.RecordWriter(directory / f"{cell}-{len(parts):05d}")
        parts.append(open_writers.enter_context(writer))
      parts[-1].write(clip)
  return [
    Shard(cell, writer.path, writer.num_clips, writer.num_bytes)
    for cell, parts in writers.items()
    for writer in parts
  ]


def _write_metadata(directory, cells, about):
  # Imported late: a wrong argument or a broken raw file should not wait for it.
  import tensorflow_datasets as tfds

  features = {
    "label": tfds.features.ClassLabel(names=list(about.class_names)),
    "name": tfds.features.Text(),
    "skeleton": tfds.features.Tensor(
      shape=(None, *about.shape), dtype=np.float32
    ),
  }
  splits = []
  for cell, parts in sorted(cells.items()):
    template = tfds.core.ShardedFileTemplate(
      dataset_name=about.name,
      split=cell,
      filetype_suffix="tfrecord",
      data_dir=directory,
    )
    splits.append(
      tfds.core.SplitInfo(
        name=cell,
        shard_lengths=[shard.num_clips for shard in parts],
        num_bytes=sum(shard.num_bytes for shard in parts),
        filename_template=template,
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=directory,
    features=tfds.features.FeaturesDict(features),
    split_infos=splits,
    version="1.0.0",
    description=about.text or about.name,
    metadata=tfds.core.MetadataDict(**about.metadata),
    check_data=False,  # The check reads a clip with TensorFlow.
  )


def make_parents(out: pathlib.Path) -> list[pathlib.Path]:
  """Makes the directories above `out`; returns the new ones, deepest first."""
  made = [parent for parent in out.parents if not parent.exists()]
  out.parent.mkdir(parents=True, exist_ok=True)
  return made


def remove_empty(directories: Sequence[pathlib.Path]) -> None:
  """Removes those that are empty."""
  for directory in directories:
    if not any(directory.iterdir()):
      directory.rmdir()
