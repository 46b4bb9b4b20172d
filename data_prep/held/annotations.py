# SPDX-License-Identifier: Apache-2.0
"""The annotation files of pyskl and mmaction2."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.clips import unit
from data_prep.held import clips, pickles
from sgcl_jax import errors, skeletons
from sgcl_jax.dataset import splits
from sgcl_jax.terminal import wording

# What these files call the split that is tested on.
TEST_NAMES = ("test", "val")
KEYS = ("frame_dir", "label", "keypoint")


def read(
  path: pathlib.Path,
) -> tuple[dict[str, Sequence[str]], list[dict[str, Any]]]:
  """Reads the splits and the annotations of a file.

  Returns:
    splits: Name -> the `frame_dir` of its clips.
    annotations: Each with at least the KEYS.

  Raises:
    DataError: The file is not of this form, or names a clip twice.
  """
  content = pickles.load(path)
  if not isinstance(content, dict) or not {"split", "annotations"} <= set(
    content
  ):
    raise errors.DataError(
      f"{path} holds no dict with the keys split and annotations, as the files"
      " of pyskl and mmaction2 do"
    )
  parts, annotations = content["split"], content["annotations"]
  if not isinstance(parts, dict) or not isinstance(annotations, list):
    raise errors.DataError(
      f"{path}: split is no dict, or annotations is no list"
    )
  for name, members in parts.items():
    if not isinstance(name, str) or not name.isprintable():
      raise errors.DataError(
        f"{path}: the name of a split is {wording.quote(name)}, no printable"
        " name"
      )
    if not isinstance(members, list | tuple | set | np.ndarray) or not all(
      isinstance(member, str) for member in members
    ):
      raise errors.DataError(f"{path}: split {name} is no list of clip names")
  seen = set()
  for i, annotation in enumerate(annotations):
    problem = _find_problem(annotation, seen)
    if problem:
      raise errors.DataError(f"{path}, annotation {i}: {problem}")
    seen.add(annotation["frame_dir"])
  return parts, annotations


def find_cells(
  parts: Mapping[str, Sequence[str]], names: tuple[str, str] | None
) -> dict[str, str]:
  """Returns the cell of each clip (see `splits.make_cell`).

  Args:
    parts: Name of each split -> its clips.
    names: Training and test split. By default, those of the protocols `xsub`,
      `xview` and `xset`; without these, `train` and `test` or `val`.

  Raises:
    DataError: There are no such splits, or a clip is in both.
  """
  chosen = {"": names} if names else _find_protocols(parts)
  found = {}
  for protocol, pair in chosen.items():
    for part, name in zip(("train", "test"), pair, strict=True):
      if name not in parts:
        raise errors.DataError(
          f"there is no split {name!r}; the file has {', '.join(parts)}"
        )
      for clip in parts[name]:
        split = f"{protocol}_{part}" if protocol else part
        cell = found.setdefault(clip, {})
        if cell.setdefault(protocol, split) != split:
          raise errors.DataError(
            f"clip {clip} is in both splits, {' and '.join(pair)}"
          )
  return {
    clip: splits.make_cell(*cell.values()) for clip, cell in found.items()
  }


def read_joints(
  annotation: Mapping[str, Any], layout: skeletons.Skeleton, scaled: bool
) -> np.ndarray:
  """Returns the joints of an annotation.

  Args:
    annotation: With `keypoint` [M, T, V, C] and, for 2D joints, perhaps
      `keypoint_score` [M, T, V].
    layout: Joints of the clip.
    scaled: Whether to divide 2D coordinates by half of the image's height.

  Returns:
    [T, M, V, 3] float32. With 2D joints the third channel is the score.

  Raises:
    DataError: The annotation is not of this form.
  """
  keypoint = np.asarray(annotation["keypoint"])
  channels = (2, 3) if layout.dimensions == 2 else (3,)
  if (
    keypoint.ndim != 4
    or not keypoint.size
    or keypoint.shape[2] != layout.num_recorded
    or keypoint.shape[3] not in channels
    or keypoint.dtype.kind not in "iuf"
  ):
    raise errors.DataError(
      f"keypoint is {keypoint.dtype} of shape {keypoint.shape}, not numbers of"
      f" (persons, frames, {layout.num_recorded} joints,"
      f" {' or '.join(map(str, channels))} channels)"
    )
  num_frames = annotation.get("total_frames", keypoint.shape[1])
  if num_frames != keypoint.shape[1]:
    raise errors.DataError(
      f"total_frames is {num_frames}, but keypoint has {keypoint.shape[1]}"
    )
  keypoint = keypoint.astype(np.float32)
  if layout.dimensions == 2:
    keypoint = _add_score(keypoint, annotation.get("keypoint_score"))
    if scaled:
      keypoint[..., :2] /= unit.find_height(annotation["img_shape"]) / 2
  clips.check_finite(keypoint.transpose(1, 0, 2, 3))
  if not keypoint.any():
    raise errors.DataError("all joints of all frames are zero")
  return keypoint.transpose(1, 0, 2, 3)


def _find_problem(annotation, seen):
  """Returns why an annotation is of no use, None if it is well-formed."""
  if not isinstance(annotation, dict):
    return "no dict"
  missing = [key for key in KEYS if key not in annotation]
  if missing:
    return f"{', '.join(missing)} missing"
  name, label = annotation["frame_dir"], annotation["label"]
  if not isinstance(name, str) or not name.isprintable() or not name:
    return f"frame_dir is {wording.quote(name)}, no printable name"
  if isinstance(label, bool) or not isinstance(label, int | np.integer):
    return f"label is {wording.quote(label)}, not the number of a class"
  if label < 0:
    return f"label is {label}, below 0"
  if name in seen:
    return f"a second clip of the name {name}"
  annotation["label"] = int(label)
  for key in ("keypoint", "keypoint_score"):
    try:
      if annotation.get(key) is not None:
        annotation[key] = np.asarray(annotation[key])
    except (OverflowError, RecursionError, TypeError, ValueError):
      return f"{key} is no array: its rows have unequal lengths"
  return None


def _find_protocols(parts):
  """Returns protocol -> names of its two splits; "" for a set without one."""

  def find(prefix):
    tests = [f"{prefix}{test}" for test in TEST_NAMES]
    tests = [test for test in tests if test in parts]
    train = f"{prefix}train"
    return (train, tests[0]) if train in parts and tests else None

  found = {
    protocol: find(f"{protocol}_")
    for protocol in splits.PROTOCOLS
    if find(f"{protocol}_")
  }
  if not found and find(""):
    found = {"": find("")}
  if not found:
    raise errors.DataError(
      f"the splits are {', '.join(map(str, parts))}; name two of them, as in"
      " --splits train1 test1"
    )
  return found


def _add_score(keypoint, score):
  """Adds the score as the third channel, 1 for a joint that is not 0."""
  if keypoint.shape[-1] == 2:
    if score is None:
      score = keypoint.any(axis=-1)
    score = np.asarray(score)
    if score.shape != keypoint.shape[:3] or score.dtype.kind not in "biuf":
      raise errors.DataError(
        f"keypoint_score is {score.dtype} of shape {score.shape}, not numbers"
        f" of {keypoint.shape[:3]}"
      )
    score = score.astype(np.float32)[..., None]
    keypoint = np.concatenate([keypoint, score], axis=-1)
  if (keypoint[..., 2] < 0).any():
    raise errors.DataError("a score is negative")
  return keypoint
