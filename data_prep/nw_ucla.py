# SPDX-License-Identifier: Apache-2.0
"""NW-UCLA: the JSON skeletons of `all_sqe.tar.xz` or `.zip` to TFRecords.

python -m data_prep.nw_ucla --raw data/raw/all_sqe.tar.xz

Trains on cameras 1 and 2, tests on camera 3.
"""

import collections
import json
import pathlib
import re

import numpy as np

from data_prep import (
  class_names,
  problems,
  records,
  tfrecord,
  training,
  ucla_files,
  walk,
)
from sgcl_jax import command, errors
from sgcl_jax.settings import config_file
from sgcl_jax.terminal import progress, wording

ARCHIVE = ucla_files.ARCHIVE
NUM_JOINTS = 20
NUM_CLIPS = {"train": 1020, "test": 464}
SPLITS = {1: "train", 2: "train", 3: "test"}

CLASSES = class_names.NW_UCLA

NAME = re.compile(r"a([0-9]{2})_s[0-9]{2}_e[0-9]{2}_v([0-9]{2})")


def parse_clip(name: str, data: bytes) -> tuple[str, tfrecord.Clip]:
  """Reads one file.

  Args:
    name: Name of the file without its ending, such as `a12_s06_e04_v03`.
    data: Content of the file.

  Returns:
    The split, and the clip with skeleton [T, 1, 20, 3], metres.

  Raises:
    DataError: The file is damaged or not part of the data set; says why.
  """
  match = NAME.fullmatch(name)
  if not match:
    raise errors.DataError("its name is not of the form a01_s01_e00_v01")
  action, camera = int(match[1]), int(match[2])
  if action not in CLASSES:
    raise errors.DataError(f"unknown class a{action:02d}")
  if camera not in SPLITS:
    raise errors.DataError(f"unknown camera v{camera:02d}")
  try:
    content = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise errors.DataError(f"it is not JSON: {error}") from error
  if not isinstance(content, dict):
    raise errors.DataError("it is not a JSON object")
  for key in ("file_name", "skeletons"):
    if key not in content:
      raise errors.DataError(f"it has no key {key!r}")
  if content["file_name"] != name:
    raise errors.DataError(
      f"its file_name is {wording.quote(content['file_name'])}, not the file's"
      " own name"
    )
  label = list(CLASSES).index(action)
  skeleton = _parse_skeletons(content["skeletons"])
  return SPLITS[camera], tfrecord.Clip(name, label, skeleton)


def read_clips(
  raw: pathlib.Path, passed: collections.Counter
) -> list[tuple[str, tfrecord.Clip]]:
  """Reads all clips of the archive, or of the directory of its files.

  Args:
    raw: The archive, a directory with the archive, or its unpacked files.
    passed: Is increased by the files that are passed over, by kind.

  Returns:
    Pairs of split and clip, sorted by name.

  Raises:
    DataError: There is nothing to read, or files are broken; names each.
  """
  pairs, first = {}, {}
  broken = []
  source = ucla_files.find_source(raw)
  try:
    for path, read in progress.bar(
      ucla_files.read(source, passed),
      total=sum(NUM_CLIPS.values()),
      unit="clips",
    ):
      name, shown = pathlib.PurePath(path).stem, wording.show(path)
      try:
        if name in pairs:
          raise errors.DataError(
            f"another file of this name, after {first[name]}"
          )
        first[name] = shown
        pairs[name] = parse_clip(name, read())
      except errors.DataError as error:
        broken.append(f"{shown}: {error}")
  except ucla_files.DAMAGE as error:
    broken.append(
      f"{source}: the archive is damaged after {len(pairs) + len(broken)} "
      f"files: {error}"
    )
  if broken:
    raise errors.DataError(
      problems.describe(broken)
      + f"\nFetch {ARCHIVE} again, and pass it as --raw."
    )
  if not pairs:
    raise errors.DataError(
      f"{source} holds no JSON file: pass {ARCHIVE}, or the directory it "
      "unpacks to, as --raw"
    )
  return [pairs[name] for name in sorted(pairs)]


def convert(
  raw: pathlib.Path,
  out: pathlib.Path,
  *,
  overwrite: bool = False,
  allow_incomplete: bool = False,
) -> None:
  """Converts the data set and prints what it holds.

  Args:
    raw: See `read_clips`.
    out: Directory of the data set.
    overwrite: Replace an existing data set.
    allow_incomplete: Accept another number of clips than the official 1,484.

  Raises:
    DataError: Raw files are broken or missing, or `out` is taken.
  """
  ucla_files.find_source(raw)  # Refuses a misspelt --raw first.
  records.check_out(out, overwrite)
  passed = collections.Counter()
  pairs = read_clips(raw, passed)
  counts = collections.Counter(split for split, _ in pairs)
  found, wanted = (
    ", ".join(f"{numbers[split]:,} {split}" for split in NUM_CLIPS)
    for numbers in (counts, NUM_CLIPS)
  )
  if counts != NUM_CLIPS:
    message = f"{raw} has {found} clips, the official set {wanted}"
    if not allow_incomplete:
      raise errors.DataError(
        f"{message}: fetch {ARCHIVE} again, or pass --allow_incomplete to "
        "convert these clips"
      )
    print(f"notice: {message}; figures will not compare with others'.")
  records.write_dataset(
    out,
    pairs,
    records.Description(
      name="nw_ucla",
      class_names=list(CLASSES.values()),
      num_persons=1,
      num_joints=NUM_JOINTS,
      text="NW-UCLA, 3D joints in metres, cross-view split.",
    ),
    overwrite=overwrite,
  )
  _print_summary(pairs, out, found, passed)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser(
    "data_prep.nw_ucla",
    f"Converts the skeletons of NW-UCLA ({ARCHIVE} or .zip) to TFRecords.",
  )
  parser.add_argument(
    "--raw",
    type=command.path,
    required=True,
    help=f"{ARCHIVE} or .zip, a directory with it, or what it unpacks to",
  )
  parser.add_argument(
    "--out",
    type=command.path,
    default=pathlib.Path("data/nw_ucla"),
    help="directory to write (default: %(default)s)",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
  parser.add_argument(
    "--allow_incomplete",
    action="store_true",
    help="convert also when clips of the official set are missing",
  )
  args = parser.parse_args(argv)
  config_file.check_clash("data_prep.nw_ucla")
  convert(
    args.raw,
    args.out,
    overwrite=args.overwrite,
    allow_incomplete=args.allow_incomplete,
  )


def _parse_skeletons(skeletons):
  """Returns [T, 1, 20, 3] of the nested lists [T][20][3]."""
  if not isinstance(skeletons, list):
    raise errors.DataError("its skeletons are not a list of frames")
  if not skeletons:
    raise errors.DataError("it has no frame")
  for t, frame in enumerate(skeletons):
    if not isinstance(frame, list) or len(frame) != NUM_JOINTS:
      count = len(frame) if isinstance(frame, list) else 0
      raise errors.DataError(
        f"frame {t} has {wording.count(count, 'joint')}, not {NUM_JOINTS}"
      )
    for v, joint in enumerate(frame):
      if not isinstance(joint, list) or len(joint) != 3:
        count = len(joint) if isinstance(joint, list) else 0
        raise errors.DataError(
          f"frame {t}, joint {v} has {wording.count(count, 'column')}, not 3"
        )
      for value in joint:
        # NumPy would also take strings, booleans and null.
        if type(value) is not float and type(value) is not int:
          raise errors.DataError(
            f"frame {t}, joint {v} has {wording.quote(value)}, not a number"
          )
  try:
    with np.errstate(over="ignore"):
      skeleton = np.array(skeletons, np.float32)
  except OverflowError:
    raise errors.DataError("a number is too large") from None
  broken = np.argwhere(~np.isfinite(skeleton))
  if len(broken):
    t, v, _ = broken[0]
    raise errors.DataError(f"frame {t}, joint {v} is not finite")
  return skeleton[:, None]


def _print_summary(pairs, out, found, passed):
  counts = collections.Counter((split, clip.label) for split, clip in pairs)
  lengths = np.array([len(clip.skeleton) for _, clip in pairs])
  print(f"{'label':>5}  {'class':22}  {'train':>5}  {'test':>5}")
  for label, name in enumerate(CLASSES.values()):
    train, test = counts["train", label], counts["test", label]
    print(f"{label:5}  {name:22}  {train:5}  {test:5}")
  print(f"clips   {found}")
  print(
    f"frames  {lengths.min()} shortest, {np.median(lengths):g} median, "
    f"{lengths.max()} longest"
  )
  if passed:
    print(f"left    {walk.describe(passed)}")
  print(f"wrote   {out}")
  clips = {label: counts["train", label] for label in range(len(CLASSES))}
  line = training.make_command("ctrgcn_ucla", out, {"train": clips})
  print(f"next    {line}")


if __name__ == "__main__":
  command.run(main)
