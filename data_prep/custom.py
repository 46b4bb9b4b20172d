# SPDX-License-Identifier: Apache-2.0
"""Your own skeletons to TFRecords; docs/CUSTOM_DATA.md describes the format.

python -m data_prep.custom --raw my_clips --layout my_layout.json
"""

import collections
import json
import pathlib
import zipfile

import numpy as np
import tqdm

from data_prep import records, tfrecord
from sgcl_jax import command, errors, skeletons

SPLITS = ("train", "test")
KEYS = ("skeleton", "label", "split")
NUM_CHANNELS = 3


def read_clip(
  path: pathlib.Path, layout: skeletons.Skeleton
) -> tuple[np.ndarray, str, str]:
  """Reads one clip.

  Args:
    path: `.npz` or `.json` with `skeleton` [T, M, V, C] or [T, V, C], `label`
      and `split`.
    layout: Joints of the clip.

  Returns:
    Skeleton [T, M, V, 3] float32 with the origin at the center, label, split.

  Raises:
    DataError: The clip is not of this form; says why.
  """
  content = _load(path)
  missing = [key for key in KEYS if key not in content]
  if missing:
    verb = "is" if len(missing) == 1 else "are"
    raise errors.DataError(f"{', '.join(missing)} {verb} missing")
  label, split = _get_label(content), str(content["split"])
  if split not in SPLITS:
    raise errors.DataError(f"split is {split!r}, not {' or '.join(SPLITS)}")
  try:
    skeleton = np.asarray(content["skeleton"], np.float32)
  except (TypeError, ValueError) as error:
    raise errors.DataError(f"skeleton is no array of numbers ({error})") from (
      error
    )
  if skeleton.ndim == 3:
    skeleton = skeleton[:, None]
  _check_shape(skeleton, layout)
  if not np.isfinite(skeleton).all():
    frame = np.argwhere(~np.isfinite(skeleton))[0][0]
    raise errors.DataError(f"frame {frame} has a number that is not finite")
  if layout.dimensions == 2 and np.any(skeleton[..., 2:] < 0):
    raise errors.DataError(
      f"a score is negative, but the layout {layout.name} has 2 dimensions: x,"
      " y and a score"
    )
  if skeleton.shape[-1] < NUM_CHANNELS:  # A score of 1 where a joint is.
    score = np.any(skeleton != 0, axis=-1, keepdims=True)
    skeleton = np.concatenate([skeleton, score.astype(np.float32)], axis=-1)
  return center(skeleton, layout), label, split


def center(skeleton: np.ndarray, layout: skeletons.Skeleton) -> np.ndarray:
  """Moves the origin to the first person's center in its first frame.

  Args:
    skeleton: [T, M, V, 3]; joints that are 0 in all channels are absent.
    layout: Has the center, and the number of channels that are coordinates.

  Returns:
    [T, M, V, 3], absent joints still 0.

  Raises:
    DataError: If that joint is absent from all frames.
  """
  present = np.any(skeleton != 0, axis=-1, keepdims=True)
  frames = np.flatnonzero(present[:, 0, layout.center, 0].all(axis=-1))
  if not len(frames):
    raise errors.DataError(
      "the first person has no"
      f" {', '.join(layout.joints[i] for i in layout.center)}, the center"
    )
  origin = np.zeros(NUM_CHANNELS, np.float32)
  size = layout.dimensions
  center = skeleton[frames[0], 0, list(layout.center), :size]
  origin[:size] = center.mean(axis=0)
  return np.where(present, skeleton - origin, 0)


def convert(
  raw: pathlib.Path,
  layout_file: pathlib.Path,
  out: pathlib.Path,
  *,
  overwrite: bool = False,
) -> None:
  """Converts a directory of clips and prints what it holds.

  Raises:
    DataError: Clips are broken or missing (names each), or `out` is taken.
    ConfigError: The layout makes no sense.
  """
  records.check_out(out, overwrite)
  layout = skeletons.get(str(layout_file))
  clips = _read_all(raw, layout)
  class_names = sorted({label for _, label, _ in clips.values()})
  num_persons = max(skeleton.shape[1] for skeleton, _, _ in clips.values())
  pairs = [
    (
      split,
      tfrecord.Clip(
        name,
        class_names.index(label),
        np.pad(
          skeleton,
          [(0, 0), (0, num_persons - skeleton.shape[1]), (0, 0), (0, 0)],
        ),
      ),
    )
    for name, (skeleton, label, split) in sorted(clips.items())
  ]
  counts = collections.Counter(split for split, _ in pairs)
  for split in SPLITS:
    if not counts[split]:
      raise errors.DataError(f"no clip of {raw} has split {split!r}")
  about = records.Description(
    name="custom",
    class_names=class_names,
    num_persons=num_persons,
    num_joints=layout.num_joints,
    text=f"Clips of {raw.name}, joints of the layout {layout.name}.",
    metadata={"aligned": False, "layout": layout.to_json()},
  )
  records.write_dataset(out, pairs, about, overwrite=overwrite)
  _print_summary(pairs, about, out)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser(
    "data_prep.custom",
    "Converts your own skeletons to TFRecords; docs/CUSTOM_DATA.md describes"
    " the format.",
  )
  parser.add_argument(
    "--raw",
    type=pathlib.Path,
    required=True,
    help="directory of .npz or .json files, one per clip, flat or nested",
  )
  parser.add_argument(
    "--layout",
    type=pathlib.Path,
    required=True,
    help="a layout by name (coco17, openpose18, openpose25, halpe26,"
    " mediapipe33, hand21, azure32, kinect20, kinect25), or a JSON file of"
    " joints, bones, center and dimensions",
  )
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    default=pathlib.Path("data/custom"),
    help="directory to write (default: data/custom)",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
  args = parser.parse_args(argv)
  convert(args.raw, args.layout, args.out, overwrite=args.overwrite)


def _read_all(raw, layout):
  """Returns name -> (skeleton, label, split)."""
  clips, problems = {}, []
  if not raw.is_dir():
    raise errors.DataError(f"{raw} is no directory: pass that of the clips")
  paths = [
    path
    for path in sorted(raw.rglob("*"))
    if path.suffix in (".npz", ".json") and not path.name.startswith(".")
  ]
  for path in tqdm.tqdm(paths, unit=" clips", disable=None):
    try:
      if path.stem in clips:
        raise errors.DataError("a second file of this name")
      clips[path.stem] = read_clip(path, layout)
    except errors.DataError as error:
      problems.append(f"{path}: {error}")
  if problems:
    raise errors.DataError(records.list_problems(problems))
  if not clips:
    raise errors.DataError(
      f"{raw} holds no .npz or .json file: pass the directory of the clips"
    )
  return clips


def _print_summary(pairs, about, out):
  counts = collections.Counter(split for split, _ in pairs)
  lengths = [len(clip.skeleton) for _, clip in pairs]
  print(f"clips   {len(pairs):,} of {len(about.class_names)} classes")
  for split in SPLITS:
    print(f"        {split:11} {counts[split]:6,}")
  print(
    f"frames  {min(lengths)} shortest, {np.median(lengths):g} median,"
    f" {max(lengths)} longest"
  )
  print(f"persons {about.num_persons} at most")
  found = collections.Counter((clip.label, split) for split, clip in pairs)
  for label, name in enumerate(about.class_names):
    parts = [f"{found[label, split]:,} {split}" for split in SPLITS]
    print(f"class   {name}: {', '.join(parts)}")
    if not found[label, "train"]:
      print(f"notice  no training clip of class {name!r}")
  print(f"wrote   {out}")
  print(
    "next    python -m sgcl_jax.main --config configs/ctrgcn_custom.py"
    f" --config.data.dir={out}"
  )


def _load(path):
  try:
    if path.suffix == ".npz":
      # NumPy would not close a broken file that it opens itself.
      with path.open("rb") as file, np.load(file) as arrays:
        return {key: arrays[key] for key in arrays.files}
    content = json.loads(path.read_text())
  except (
    OSError,
    EOFError,
    TypeError,  # A single array is no context manager.
    ValueError,
    zipfile.BadZipFile,
  ) as error:
    raise errors.DataError(f"cannot be read ({error})") from error
  if not isinstance(content, dict):
    raise errors.DataError("holds no object with skeleton, label and split")
  return content


def _get_label(content):
  label = content["label"]
  if isinstance(label, np.ndarray) and label.ndim == 0:
    label = label.item()
  # Names are stored one per line; a blank must not make two classes of one.
  if (
    not isinstance(label, str)
    or not label.isprintable()
    or label != label.strip()
    or not label
  ):
    raise errors.DataError(
      f"label is {label!r}, not the name of a class in one line without blanks"
      " around it"
    )
  return label


def _check_shape(skeleton, layout):
  channels = (2, 3) if layout.dimensions == 2 else (3,)
  if skeleton.ndim != 4 or not skeleton.size:
    raise errors.DataError(
      f"skeleton has shape {skeleton.shape}, not (frames, persons, joints,"
      " channels)"
    )
  joints, size = skeleton.shape[2:]
  if joints != layout.num_joints:
    raise errors.DataError(
      f"{joints} joints, but the layout {layout.name} has {layout.num_joints}"
    )
  if size not in channels:
    raise errors.DataError(
      f"{size} channels, not {' or '.join(map(str, channels))} as a layout of"
      f" {layout.dimensions} dimensions has"
    )


if __name__ == "__main__":
  command.run(main)
