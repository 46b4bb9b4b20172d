# SPDX-License-Identifier: Apache-2.0
"""The clips that a run trains and evaluates on, and its batch sizes."""

import dataclasses
import pathlib
import shlex
from typing import Any

from sgcl_jax import errors, input_pipeline, skeletons
from sgcl_jax.dataset import data_files
from sgcl_jax.terminal import wording

_ANOTHER = "use the config of that data set, or name another --config.data.dir"


@dataclasses.dataclass(frozen=True)
class Source:
  """The data of an experiment.

  Attributes:
    data_dir: Directory of the data set.
    prepare: Command that converts the data set, for messages.
    train_split: Split to train on.
    test_split: Split to evaluate.
    repeats: Passes over the clips in an epoch.
    batch_size: Clips of a training batch, over all devices.
    eval_batch_size: Clips of an evaluation batch, over all devices.
    num_classes: L.
    num_persons: M.
    layout: Joint layout.
    require_aligned: Whether data without aligned bodies is refused.
  """

  data_dir: str
  prepare: str
  train_split: str
  test_split: str
  repeats: int
  batch_size: int
  eval_batch_size: int
  num_classes: int
  num_persons: int
  layout: skeletons.Skeleton
  require_aligned: bool

  def load_train(self) -> input_pipeline.Clips:
    """Loads the clips to train on; errors as for `load_test`."""
    return self._load("train_split")

  def load_test(self) -> input_pipeline.Clips:
    """Loads the clips to evaluate.

    Raises:
      DataError: If the data set is missing, damaged or of another layout; the
        message names the command that prepares it.
    """
    return self._load("test_split")

  def num_steps(self, num_clips: int) -> int:
    """Returns the steps of an epoch; an incomplete last batch is dropped.

    Raises:
      TrainingError: If the clips do not fill one batch.
    """
    steps = self.repeats * num_clips // self.batch_size
    if not steps:
      raise errors.TrainingError(
        f"{wording.count(num_clips, 'clip')}, each drawn"
        f" {wording.count(self.repeats, 'time')} in an epoch, do not fill one"
        f" batch of {self.batch_size}; lower --config.batch_size"
      )
    return steps

  def notices(
    self, train: input_pipeline.Clips, test: input_pipeline.Clips
  ) -> list[str]:
    """Returns a line for each thing about the clips that may be unwanted.

    Args:
      train: Clips to train on.
      test: Clips to evaluate.
    """
    found = []
    total = self.repeats * len(train)
    dropped = total % self.batch_size
    if 10 * dropped > total:
      found.append(
        f"each epoch drops {dropped} of {total} clips, the rest that fills no"
        f" batch of {self.batch_size}: lower --config.batch_size or raise"
        " --config.data.repeats"
      )
    for clips, split in ((train, self.train_split), (test, self.test_split)):
      missing = set(range(self.num_classes)) - set(clips.labels.tolist())
      if missing:
        names = [clips.class_names[label] for label in sorted(missing)]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        found.append(
          f"split {split} has no clip of {', '.join(names[:5])}{more}"
        )
      *shorter, longest = (f"{n:,}" for n in clips.padded_lengths)
      if shorter:
        found.append(
          f"the longest clip of split {split} has {longest} frames: batches"
          f" are padded to {', '.join(shorter)} or {longest} frames, and each"
          " of these lengths compiles the step when it first occurs"
        )
    return found

  def _load(self, key):
    try:
      clips = input_pipeline.load(self.data_dir, getattr(self, key))
    except errors.DataError as error:
      keys = f"--config.data.dir or --config.data.{key}"
      raise _with_remedy(error, self.prepare, self.data_dir, keys) from error
    self._check(clips)
    self._check_classes(clips)
    return clips

  def _check(self, clips):
    _, persons, joints, _ = clips.skeletons[0].shape
    expected = self.num_persons, self.layout.num_joints
    if (persons, joints) != expected:
      raise errors.DataError(
        f"{self.data_dir} holds {wording.count(persons, 'person')} of"
        f" {wording.count(joints, 'joint')}, the"
        f" config wants {self.num_persons} of {self.layout.num_joints}"
        f" ({self.layout.name}): {_ANOTHER}"
      )
    if _dimensions(clips) not in (None, self.layout.dimensions):
      raise errors.DataError(
        f"{self.data_dir} holds joints in {_dimensions(clips)} dimensions, the"
        f" config wants {self.layout.dimensions} ({self.layout.name}):"
        f" {_ANOTHER}"
      )
    if self.require_aligned and not clips.metadata.get("aligned"):
      raise errors.DataError(
        f"the bodies in {self.data_dir} are not aligned, which InfoGCN expects."
        f" Prepare aligned ones with: {self.prepare}; to train on these anyway,"
        " set --config.data.require_aligned=false"
      )

  def _check_classes(self, clips):
    if self.num_classes > len(clips.class_names):
      raise errors.DataError(
        f"{self.data_dir} has"
        f" {wording.count(len(clips.class_names), 'class')}, the config"
        f" num_classes={self.num_classes}: {_ANOTHER}"
      )
    if clips.labels.max() >= self.num_classes:
      raise errors.DataError(
        f"{self.data_dir} has label {clips.labels.max()}, the config only"
        f" num_classes={self.num_classes}: {_ANOTHER}"
      )


def describe(data_dir: str, prepare: str) -> dict[str, Any]:
  """Returns `num_classes`, `num_persons` and `skeleton` of a data set.

  Args:
    data_dir: Directory of the data set.
    prepare: Command that converts the data set, for messages.

  Raises:
    DataError: If the data set is missing or stores no joint layout.
  """
  try:
    return input_pipeline.describe(data_dir)
  except errors.DataError as error:
    raise _with_remedy(error, prepare, data_dir, "--config.data.dir") from error


def _dimensions(clips):
  """Returns 2 or 3; None where the data set stores no layout."""
  layout = clips.metadata.get("layout")
  return skeletons.get(layout).dimensions if layout else None


def _with_remedy(error, prepare, data_dir, keys):
  """Returns the error with what helps, which depends on the directory."""
  path, out = pathlib.Path(data_dir), shlex.quote(data_dir)
  if isinstance(error, errors.MisfitError):
    remedy = f"Use the config of that data set, or set {keys}"
  elif data_files.is_dataset(path):  # Damaged.
    again = f"{prepare} --out {out} --overwrite"
    remedy = f"Prepare it again with: {again}; or set {keys}"
  elif path.is_file() or (path.is_dir() and any(path.iterdir())):
    # Raw clips, perhaps: nothing must be written there.
    remedy = (
      f"If it holds raw data, convert them with: {prepare}; and set"
      " --config.data.dir to the directory that this writes"
    )
  else:
    remedy = f"Prepare it with: {prepare} --out {out}; or set {keys}"
  return errors.DataError(f"{error}. {remedy}")
