# SPDX-License-Identifier: Apache-2.0
"""Writes clips as TFRecords with the metadata of TensorFlow Datasets.

What is written opens with `tfds.builder_from_directory(out)`.
"""

import collections
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sgcl_jax import errors

# A clip of NTU RGB+D takes 50 kB on average: 2,500 of them a shard.
SHARD_BYTES = 128 * 1024**2

# What a directory may hold for `overwrite` to replace it.
DATASET_FILES = (
  "*.tfrecord-*",
  "dataset_info.json",
  "metadata.json",
  "features.json",
  "*.labels.txt",
)


class Clip(NamedTuple):
  """One clip.

  Attributes:
    name: Unique in the data set.
    label: Class, from 0.
    skeleton: [T, M, V, C] float32, metres; zeros for an absent person.
  """

  name: str
  label: int
  skeleton: np.ndarray


def check_out(out: str | os.PathLike, overwrite: bool) -> None:
  """Refuses a destination that is taken.

  Args:
    out: Directory of the data set to be.
    overwrite: Whether a data set that is there already may be replaced.

  Raises:
    DataError: `out` exists and may not be replaced. Whatever is not a data set
      written here is never replaced, as its content would be lost.
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
  clips: Iterable[tuple[str, Clip]],
  *,
  name: str,
  class_names: Sequence[str],
  num_persons: int,
  num_joints: int,
  num_channels: int = 3,
  description: str = "",
  aligned: bool = False,
  overwrite: bool = False,
  shard_bytes: int = SHARD_BYTES,
) -> dict[str, int]:
  """Writes a data set whole or not at all.

  Everything goes to a hidden directory beside `out` that takes its name at the
  end. Clips are written as they come; equal clips make equal files.

  Args:
    out: Directory of the data set.
    clips: Pairs of cell and clip, names increasing within a cell. A cell
      becomes one split of TensorFlow Datasets; cells without clips do not
      exist. An exception it raises leaves nothing behind.
    name: Of the data set, the first part of each file's name.
    class_names: [L] in label order.
    num_persons: M.
    num_joints: V.
    num_channels: C.
    description: One sentence on what the data are.
    aligned: Whether the bodies are turned as InfoGCN's are, for the metadata.
    overwrite: Replace a data set that is there, once the new one is complete.
    shard_bytes: Records of one file, about.

  Returns:
    Clips per cell, in the order of their first clip.

  Raises:
    DataError: `out` is taken, or a clip does not fit the arguments.
  """
  out = pathlib.Path(os.path.abspath(out))
  check_out(out, overwrite)
  tf, tfds = _tensorflow()
  shape = (num_persons, num_joints, num_channels)
  checked = _check_clips(clips, len(class_names), shape)
  made = _make_parents(out)
  partial = out.with_name(f".{out.name}.incomplete-{os.getpid()}")
  try:
    partial.mkdir()
    shards = _write_shards(partial, checked, name, shard_bytes, tf)
    if not shards:
      raise errors.DataError(f"there is no clip to write to {out}")
    _write_metadata(
      partial, shards, name, class_names, shape, description, aligned, tfds
    )
    check_out(out, overwrite)
    _move_into_place(partial, out)
  except tf.errors.OpError as error:
    raise errors.DataError(f"cannot write {out}: {error.message}") from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)
    for parent in made:
      # Those that hold the data set are not empty, and stay.
      if not any(parent.iterdir()):
        parent.rmdir()
  return {
    cell: sum(length for length, _ in sizes) for cell, sizes in shards.items()
  }


def encode_clip(clip: Clip) -> bytes:
  """Returns the clip as a serialised `tf.train.Example`.

  The bytes are those of `SerializeToString(deterministic=True)`, sixty times
  faster: with the protobuf package this took longer than parsing the raw file.
  """
  values = {
    b"label": _field(3, _field(1, _varint(clip.label))),
    b"name": _field(1, _field(1, clip.name.encode())),
    b"skeleton": _field(2, _field(1, clip.skeleton.astype("<f4").tobytes())),
  }
  return _field(
    1,
    b"".join(
      _field(1, _field(1, key) + _field(2, value))
      for key, value in sorted(values.items())
    ),
  )


def list_problems(problems: Sequence[str]) -> str:
  """Returns the message that refuses broken files, a line for each."""
  files = "1 file is" if len(problems) == 1 else f"{len(problems)} files are"
  return "\n  ".join([f"{files} broken, nothing was written:", *problems])


def _tensorflow():
  # Imported late: it takes seconds, which a wrong argument, a broken raw file
  # and whoever only parses skeletons should not pay for.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  # Its lines on standard error do not heed the level.
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  import tensorflow as tf
  import tensorflow_datasets as tfds

  # Nothing here computes: leave the accelerators to who does.
  tf.config.set_visible_devices([], "GPU")
  return tf, tfds


def _check_clips(clips, num_classes, shape) -> Iterator[tuple[str, Clip]]:
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


def _write_shards(directory, clips, name, shard_bytes, tf):
  """Returns, per cell, [(number of clips, bytes)] of its shards."""
  shards = collections.defaultdict(list)
  writers = {}

  def path(cell, index, count):
    suffix = f"{index:05d}-of-{count:05d}" if count else f"{index:05d}.open"
    return os.path.join(directory, f"{name}-{cell}.tfrecord-{suffix}")

  try:
    for cell, clip in clips:
      record = encode_clip(clip)
      sizes = shards[cell]
      if not sizes or sizes[-1][1] + len(record) > shard_bytes:
        if cell in writers:
          writers[cell].close()
        writers[cell] = tf.io.TFRecordWriter(path(cell, len(sizes), None))
        sizes.append((0, 0))
      writers[cell].write(record)
      sizes[-1] = (sizes[-1][0] + 1, sizes[-1][1] + len(record))
  finally:
    for writer in writers.values():
      writer.close()
  for cell, sizes in shards.items():
    for i in range(len(sizes)):
      os.rename(path(cell, i, None), path(cell, i, len(sizes)))
  return dict(shards)


def _write_metadata(
  directory, shards, name, class_names, shape, description, aligned, tfds
):
  features = {
    "label": tfds.features.ClassLabel(names=list(class_names)),
    "name": tfds.features.Text(),
    "skeleton": tfds.features.Tensor(shape=(None, *shape), dtype=np.float32),
  }
  splits = []
  for cell, sizes in sorted(shards.items()):
    template = tfds.core.ShardedFileTemplate(
      dataset_name=name,
      split=cell,
      filetype_suffix="tfrecord",
      data_dir=directory,
    )
    lengths, num_bytes = zip(*sizes, strict=True)
    splits.append(
      tfds.core.SplitInfo(
        name=cell,
        shard_lengths=list(lengths),
        num_bytes=sum(num_bytes),
        filename_template=template,
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=directory,
    features=tfds.features.FeaturesDict(features),
    split_infos=splits,
    version="1.0.0",
    description=description or name,
    metadata=tfds.core.MetadataDict(aligned=aligned),
  )


def _make_parents(out):
  """Makes the directories above `out`; returns the new ones, deepest first."""
  made = [parent for parent in out.parents if not parent.exists()]
  out.parent.mkdir(parents=True, exist_ok=True)
  return made


def _move_into_place(partial, out):
  if not out.exists():
    partial.rename(out)
    return
  old = out.with_name(f".{out.name}.old-{os.getpid()}")
  out.rename(old)
  try:
    partial.rename(out)
  except BaseException:
    old.rename(out)
    raise
  shutil.rmtree(old)


def _varint(value):
  out = bytearray()
  while value > 127:
    out.append(value & 127 | 128)
    value >>= 7
  out.append(value)
  return bytes(out)


def _field(number, data):
  # Wire type 2: length-delimited.
  return _varint(number << 3 | 2) + _varint(len(data)) + data
