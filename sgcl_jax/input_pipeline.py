# SPDX-License-Identifier: Apache-2.0
"""Reads TFRecords into padded batches of whole clips, ordered by the seed."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sgcl_jax import errors
from sgcl_jax.dataset import data_files, splits, tfrecord

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Clips:
  """The clips of one split, sorted by name, in memory.

  Attributes:
    names: [n] clip names.
    labels: [n] int32, 0-based.
    frames: [sum of T, M, V, C] float32, the frames of all clips in a row.
    offsets: [n + 1], the first frame of each clip, and the end.
    class_names: Names of the classes by label.
    metadata: Metadata of the data set, such as `aligned`.
  """

  names: np.ndarray
  labels: np.ndarray
  frames: np.ndarray
  offsets: np.ndarray
  class_names: tuple[str, ...]
  metadata: dict[str, Any]

  def __len__(self) -> int:
    return len(self.names)

  @property
  def max_frames(self) -> int:
    """Frames of the longest clip."""
    return int(np.diff(self.offsets).max())

  def digest(self, *, content: bool = False) -> str:
    """Returns a hash of the names, labels, lengths and metadata.

    Args:
      content: Whether coordinates and class names count as well.
    """
    digest = hashlib.sha256(" ".join(self.names).encode())
    digest.update(self.labels.astype("<i4").tobytes())
    digest.update(self.offsets.astype("<i8").tobytes())
    digest.update(json.dumps(self.metadata, sort_keys=True).encode())
    if content:
      digest.update(np.ascontiguousarray(self.frames, "<f4"))
      digest.update(json.dumps(self.class_names).encode())
    return digest.hexdigest()

  def batch(self, rows: np.ndarray, size: int | None = None) -> Batch:
    """Returns clips as one batch, padded with zeros.

    Args:
      rows: [k] numbers of the clips.
      size: Clips of the batch, k or more; k by default.

    Returns:
      `skeleton` [size, max_frames, M, V, C], `num_frames` [size] int32, 1 for
      added clips, and `label` [size] int32.
    """
    size = size or len(rows)
    shape = (size, self.max_frames, *self.frames.shape[1:])
    skeleton = np.zeros(shape, np.float32)
    num_frames = np.ones(size, np.int32)
    label = np.zeros(size, np.int32)
    for i, row in enumerate(rows):
      clip = self.frames[self.offsets[row] : self.offsets[row + 1]]
      skeleton[i, : len(clip)] = clip
      num_frames[i] = len(clip)
    label[: len(rows)] = self.labels[rows]
    return {"skeleton": skeleton, "num_frames": num_frames, "label": label}


class Drawn(NamedTuple):
  """The clips that a whole training draws, by class.

  Attributes:
    repeats: Passes over the clips in an epoch.
    clips: [L] training clips.
    visits: [L] how often one of these clips is in a batch.
    rows: [L] different (repeat, clip) that are in a batch.
  """

  repeats: int
  clips: np.ndarray
  visits: np.ndarray
  rows: np.ndarray


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
  lengths = [len(clip["skeleton"]) for clip in clips]
  return Clips(
    names=np.array([clip["name"] for clip in clips]),
    labels=np.array([clip["label"] for clip in clips], np.int32),
    frames=np.concatenate([clip["skeleton"] for clip in clips]),
    offsets=np.concatenate([[0], np.cumsum(lengths)]),
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
    raise errors.DataError(
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
    raise errors.DataError(
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
    reason = " ".join(str(error).split()) or type(error).__name__
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
) -> Iterator[Batch]:
  """Yields the batches of one epoch: a permutation of (repeat, clip).

  An incomplete last batch is dropped. Each batch also holds two numbers per
  clip: `index`, its row in the bank of the released code, which is repeat *
  len(clips) + rank of its name; and `position`, its place in the batch. The
  batches before number `first` are left out.
  """
  order = _draw_epoch(
    len(clips), seed=seed, epoch=epoch, repeats=repeats, batch_size=batch_size
  )
  for index in order[first:].astype(np.int32):
    batch = clips.batch(index % len(clips))
    position = np.arange(batch_size, dtype=np.int32)
    yield {**batch, "index": index, "position": position}


def count_drawn(
  labels: np.ndarray,
  num_classes: int,
  *,
  seed: int,
  num_epochs: int,
  repeats: int,
  batch_size: int,
) -> Drawn:
  """Counts what `train_batches` draws of each class in a whole training.

  It draws the epochs themselves: each drops other clips with its rest.

  Args:
    labels: [n] classes of the clips.
    num_classes: L.
    seed: Seed of the training.
    num_epochs: Epochs of the training.
    repeats: Passes over the clips in an epoch.
    batch_size: Clips of a batch.
  """
  times = np.zeros(repeats * len(labels), np.int64)  # Of each (repeat, clip).
  for epoch in range(num_epochs):
    order = _draw_epoch(
      len(labels),
      seed=seed,
      epoch=epoch,
      repeats=repeats,
      batch_size=batch_size,
    )
    times[order] += 1  # They are distinct.

  def count(weights):
    counts = np.bincount(np.tile(labels, repeats), weights, num_classes)
    return counts.astype(np.int64)

  return Drawn(
    repeats=repeats,
    clips=np.bincount(labels, minlength=num_classes),
    visits=count(times),
    rows=count(times > 0),
  )


def _draw_epoch(num_clips, *, seed, epoch, repeats, batch_size):
  """Returns the order of one epoch, repeat * num_clips + clip, by batches.

  Returns:
    [steps, batch_size]; the rest that fills no batch is dropped.
  """
  order = np.random.default_rng((seed, epoch)).permutation(repeats * num_clips)
  num_steps = len(order) // batch_size
  return order[: num_steps * batch_size].reshape(num_steps, batch_size)


def eval_batches(clips: Clips, batch_size: int) -> Iterator[tuple[Any, Batch]]:
  """Yields every clip once, in name order.

  Yields:
    (rows, batch): numbers [k] of the clips, and a batch padded to `batch_size`.
  """
  for start in range(0, len(clips), batch_size):
    rows = np.arange(start, min(start + batch_size, len(clips)))
    yield rows, clips.batch(rows, batch_size)
