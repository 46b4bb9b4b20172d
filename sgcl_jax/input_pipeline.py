# SPDX-License-Identifier: Apache-2.0
"""Reads TFRecords into padded batches of whole clips, ordered by the seed."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.dataset import data_files, order, splits, tfrecord
from sgcl_jax.terminal import wording

Batch = dict[str, np.ndarray]

# Batches of short clips are padded to no less, see `Clips.padded_lengths`. So
# all batches of NTU RGB+D, whose longest clip has 300 frames, have one length.
SHORTEST = 256


@dataclasses.dataclass(frozen=True)
class Clips:
  """The clips of one split, sorted by name, in memory.

  Attributes:
    names: [n] clip names.
    labels: [n] int32, 0-based.
    skeletons: [n] clips, each [T, M, V, C] float32 with its own T.
    class_names: Names of the classes by label.
    metadata: Metadata of the data set, such as `aligned`.
  """

  names: np.ndarray
  labels: np.ndarray
  skeletons: Sequence[np.ndarray]
  class_names: tuple[str, ...]
  metadata: dict[str, Any]

  def __len__(self) -> int:
    return len(self.names)

  @functools.cached_property
  def num_frames(self) -> np.ndarray:
    """Frames [n] of the clips, int32."""
    return np.array([len(clip) for clip in self.skeletons], np.int32)

  def digest(self, *, content: bool = False) -> str:
    """Returns a hash of the names, labels, lengths and metadata.

    Args:
      content: Whether coordinates and class names count as well.
    """
    return self._content_digest if content else self._start_digest().hexdigest()

  @functools.cached_property
  def _content_digest(self):
    """Hashes gigabytes, and is asked for by the run and by its result."""
    digest = self._start_digest()
    for clip in self.skeletons:
      digest.update(np.ascontiguousarray(clip, "<f4"))
    digest.update(json.dumps(self.class_names).encode())
    return digest.hexdigest()

  def _start_digest(self):
    offsets = np.cumsum([0, *self.num_frames], dtype="<i8")
    digest = hashlib.sha256(" ".join(self.names).encode())
    digest.update(self.labels.astype("<i4").tobytes())
    digest.update(offsets.tobytes())
    digest.update(json.dumps(self.metadata, sort_keys=True).encode())
    return digest

  @functools.cached_property
  def padded_lengths(self) -> np.ndarray:
    """Frames to which batches are padded, ascending.

    These are the frames of the longest clip, and a fourth, a sixteenth, ... of
    them where they suit some clips. So one long clip does not pad all batches,
    and the step is compiled for few lengths. The padding does not change what
    the transforms return.
    """
    lengths = [self.num_frames.max()]
    while (shorter := -(-lengths[0] // 4)) >= SHORTEST:
      lengths.insert(0, shorter)
    used = np.unique(np.searchsorted(lengths, self.num_frames))
    return np.array(lengths)[used]

  def padded_frames(self, rows: np.ndarray) -> int:
    """Returns the frames to which a batch is padded.

    Args:
      rows: Numbers of all clips of the batch.
    """
    longest = self.num_frames[rows].max()
    lengths = self.padded_lengths
    return int(lengths[np.searchsorted(lengths, longest)])

  def batch(
    self, rows: np.ndarray, padded_frames: int, size: int | None = None
  ) -> Batch:
    """Returns clips as one batch, padded with zeros.

    Args:
      rows: [k] numbers of the clips.
      padded_frames: T, at least the frames of each clip.
      size: Clips of the batch, k or more; k by default.

    Returns:
      `skeleton` [size, T, M, V, C], `num_frames` [size] int32, 1 for added
      clips, and `label` [size] int32.
    """
    size = size or len(rows)
    shape = (size, padded_frames, *self.skeletons[0].shape[1:])
    skeleton = np.zeros(shape, np.float32)
    num_frames = np.ones(size, np.int32)
    label = np.zeros(size, np.int32)
    for i, row in enumerate(rows):
      skeleton[i, : self.num_frames[row]] = self.skeletons[row]
    num_frames[: len(rows)] = self.num_frames[rows]
    label[: len(rows)] = self.labels[rows]
    return {"skeleton": skeleton, "num_frames": num_frames, "label": label}


def read_clips(data_dir: str | os.PathLike, split: str) -> Iterator[dict]:
  """Reads whole clips as they are stored.

  Args:
    data_dir: A data set written by `data_prep`.
    split: `train` or `test` (NW-UCLA, custom), `xsub_train`, `xsub_test`,
      `xview_*` (NTU60), `xset_*` (NTU120).

  Yields:
    {"name": str, "label": int, "skeleton": [T, M, V, C] float32, metres}.

  Raises:
    DataError: If the data set or the split is missing, or a file is damaged.
  """
  yield from _read(data_files.open_builder(data_dir), split)


def load(data_dir: str | os.PathLike, split: str) -> Clips:
  """Loads a split; clips are sorted by name, so that shards do not matter.

  Args:
    data_dir: A data set written by `data_prep`.
    split: Name of the split, see `read_clips`.

  Raises:
    DataError: If the data set or the split is missing, or a file is damaged.
  """
  builder = data_files.open_builder(data_dir)
  clips = sorted(_read(builder, split), key=lambda clip: clip["name"])
  return Clips(
    names=np.array([clip["name"] for clip in clips]),
    labels=np.array([clip["label"] for clip in clips], np.int32),
    skeletons=[clip["skeleton"] for clip in clips],
    class_names=tuple(builder.info.features["label"].names),
    metadata=dict(builder.info.metadata or {}),
  )


def read_dataset_info(data_dir: str | os.PathLike) -> Any:
  """Returns the metadata of a data set, a `tfds.core.DatasetInfo`.

  Raises:
    DataError: If the data set is missing or damaged.
  """
  return data_files.open_builder(data_dir).info


def describe(data_dir: str | os.PathLike) -> dict[str, Any]:
  """Returns `num_classes`, `num_persons` and `skeleton` of a data set.

  Raises:
    DataError: If the data set is missing or stores no joint layout.
  """
  info = data_files.open_builder(data_dir).info
  if "layout" not in (info.metadata or {}):
    raise errors.MisfitError(
      f"{data_dir} names no joint layout: set --config.skeleton,"
      " --config.num_classes and --config.num_persons"
    )
  return {
    "num_classes": info.features["label"].num_classes,
    "num_persons": info.features["skeleton"].shape[1],
    "skeleton": info.metadata["layout"],
  }


def read_info(
  data_dir: str | os.PathLike,
) -> tuple[tuple[str, ...], dict[str, Any]]:
  """Returns the class names and the metadata of a data set.

  Raises:
    DataError: If the data set is missing or damaged.
  """
  info = data_files.open_builder(data_dir).info
  return tuple(info.features["label"].names), dict(info.metadata or {})


def _read(builder, split):
  cells = splits.find_cells(split, builder.info.splits)
  if not cells:
    raise errors.MisfitError(
      f"{builder.data_path} has no split {split!r}; it has"
      f" {', '.join(sorted(builder.info.splits))}"
    )
  for cell in cells:
    info = builder.info.splits[cell]
    for path, num_clips in zip(info.filepaths, info.shard_lengths, strict=True):
      for offset, payload in tfrecord.read_records(path, num_clips):
        yield _decode(builder.info.features, payload, path, offset)


def _decode(features, payload, path, offset):
  """Returns one clip; a DataError names its place in the file."""
  try:
    clip = features.deserialize_example_np(payload)
    return {
      "name": clip["name"].decode(),
      "label": int(clip["label"]),
      "skeleton": clip["skeleton"],
    }
  except Exception as error:  # From protobuf, tfds or numpy.
    reason = wording.in_one_line(error)
    what = f"a record is not a clip ({reason})"
    raise tfrecord.damage(path, offset, what) from error


def train_batches(
  clips: Clips,
  *,
  seed: int,
  epoch: int,
  repeats: int,
  batch_size: int,
  first: int = 0,
  rows: slice = slice(None),
) -> Iterator[Batch]:
  """Yields the batches of one epoch: a permutation of (repeat, clip).

  An incomplete last batch is dropped. Each batch also holds two numbers per
  clip: `index`, its row in the bank of the released code, which is repeat *
  len(clips) + rank of its name; and `position`, its place in the batch. The
  batches before number `first` are left out, and so are the clips of each batch
  that are not at its `rows`: other processes take them.
  """
  batches = order.draw_epoch(
    len(clips), seed=seed, epoch=epoch, repeats=repeats, batch_size=batch_size
  )
  position = np.arange(batch_size, dtype=np.int32)[rows]
  for index in batches[first:].astype(np.int32):
    numbers = index % len(clips)
    batch = clips.batch(numbers[rows], clips.padded_frames(numbers))
    yield {**batch, "index": index[rows], "position": position}


def eval_batches(
  clips: Clips, batch_size: int, rows: slice = slice(None)
) -> Iterator[tuple[np.ndarray, Batch]]:
  """Yields every clip once, in name order.

  Yields:
    (numbers, batch): numbers [k] of the clips, and a batch that is padded to
      `batch_size`, of which the `rows` are left.
  """
  size = len(range(batch_size)[rows])
  for start in range(0, len(clips), batch_size):
    numbers = np.arange(start, min(start + batch_size, len(clips)))
    padded_frames = clips.padded_frames(numbers)
    yield numbers, clips.batch(numbers[rows], padded_frames, size)
