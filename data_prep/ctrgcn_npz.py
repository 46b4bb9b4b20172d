# SPDX-License-Identifier: Apache-2.0
"""The .npz files of CTR-GCN and its successors to TFRecords.

python -m data_prep.ctrgcn_npz --raw NTU60_CS.npz

A file holds one protocol of NTU RGB+D 60 or 120, see docs/HELD_DATA.md.
"""

import contextlib
import dataclasses
import pathlib
import re

import numpy as np

from data_prep import records, tfrecord, walk
from data_prep.held import clips, npz, summary
from data_prep.ntu import actors, align, raw_set, skeleton_file
from sgcl_jax import command, errors, skeletons
from sgcl_jax.settings import config_file
from sgcl_jax.terminal import progress

PARTS = ("train", "test")
SHAPE = (actors.NUM_PERSONS, skeleton_file.NUM_JOINTS, 3)
WIDTH = int(np.prod(SHAPE))
# Protocol in the name of a file, such as NTU60_CS.npz or NTU120_CSet.npz.
PROTOCOLS = {
  "xsub": ("cs", "csub", "xsub"),
  "xview": ("cv", "cview", "xview"),
  "xset": ("cset", "xset"),
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How to convert a file.

  Attributes:
    split: Protocol, `xsub`, `xview` or `xset`; by default as in the name.
    names: Text file with the name of a class in each line.
    aligned: Whether to turn the bodies as InfoGCN wants it.
    skip_broken: Leave broken clips out instead of refusing the file.
    overwrite: Replace an existing data set.
  """

  split: str | None = None
  names: pathlib.Path | None = None
  aligned: bool = False
  skip_broken: bool = False
  overwrite: bool = False


def convert(raw: pathlib.Path, out: pathlib.Path, options: Options) -> None:
  """Converts a file and prints what it holds.

  Memory stays small: one clip is read at a time.

  Raises:
    DataError: The file or a clip is not usable, or `out` is taken; nothing is
      written.
  """
  walk.check_raw(raw, "an .npz file")
  records.check_out(out, options.overwrite)
  with contextlib.closing(npz.Reader(raw)) as reader:
    num_classes = _check_shapes(reader)
    wanted = _find_set(num_classes)
    protocol = _find_protocol(raw, wanted, options.split)
    if wanted and not options.names:
      names = wanted.actions
    else:
      names = clips.make_class_names(options.names, num_classes)
    is_aligned = "aligned" in raw.stem.lower()  # InfoGCN's files.
    if is_aligned and options.aligned:
      raise errors.DataError(f"{raw} is aligned by its name: omit --align")
    aligned = is_aligned or options.aligned
    about = clips.describe(
      raw,
      wanted,
      skeletons.NTU,
      names,
      SHAPE[0],
      unit_name="metres",
      aligned=aligned,
      lone_person=_find_lone_person(reader),
    )
    unusual = clips.Found(options.skip_broken)
    tally = summary.Tally()
    pairs = tally.count(_read_clips(reader, protocol, options, unusual))
    records.write_dataset(out, pairs, about, overwrite=options.overwrite)
  notices = ["clips are named by their rows: the file stores no names"]
  notices += unusual.notices()
  config = clips.find_config(
    wanted, skeletons.NTU, [protocol] if protocol else [], aligned
  )
  summary.show(tally, out, config, names, notices=notices, wanted=wanted)


def read_clip(row: np.ndarray) -> np.ndarray:
  """Cuts the padding off a row.

  Args:
    row: [T, 150], zeros after the last frame: per person the 25 joints.

  Returns:
    [T, 2, 25, 3] float32.

  Raises:
    DataError: A number is not finite, or all are zero.
  """
  frames = np.flatnonzero(row.any(axis=1))
  if not len(frames):
    raise errors.DataError("all joints of all frames are zero")
  joints = row[: frames[-1] + 1].astype(np.float32)
  clips.check_finite(joints)
  return joints.reshape(-1, *SHAPE)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("data_prep.ctrgcn_npz", __doc__)
  parser.add_argument(
    "--raw", type=command.path, required=True, help="file of one protocol, .npz"
  )
  parser.add_argument(
    "--split",
    choices=tuple(PROTOCOLS),
    help="protocol of the file (default: as in its name, CS, CV, CSub or CSet)",
  )
  clips.add_options(parser)
  args = parser.parse_args(argv)
  config_file.check_clash("data_prep.ctrgcn_npz")
  options = Options(
    split=args.split,
    names=args.names,
    aligned=args.align,
    skip_broken=args.skip_broken,
    overwrite=args.overwrite,
  )
  convert(args.raw, args.out or pathlib.Path("data", args.raw.stem), options)


def _check_shapes(reader):
  """Checks the four arrays by their headers; returns the number of classes."""
  classes = set()
  for part in PARTS:
    x, y = reader.describe(f"x_{part}"), reader.describe(f"y_{part}")
    if len(x.shape) != 3 or x.shape[2] != WIDTH or x.dtype.kind != "f":
      raise errors.DataError(
        f"{reader.path}: {x.name} is {x.dtype} of shape {x.shape}, not floats"
        f" of shape (clips, frames, {WIDTH})"
      )
    if len(y.shape) != 2 or y.shape[0] != x.shape[0]:
      raise errors.DataError(
        f"{reader.path}: {y.name} has shape {y.shape}, not ({x.shape[0]},"
        " classes): one row for each clip, 1 at its class"
      )
    classes.add(y.shape[1])
  if len(classes) > 1 or 0 in classes:
    raise errors.DataError(
      f"{reader.path}: y_train and y_test have"
      f" {' and '.join(map(str, sorted(classes)))} classes"
    )
  return classes.pop()


def _find_set(num_classes) -> raw_set.RawSet | None:
  """Returns NTU RGB+D 60 or 120 by the number of classes."""
  for wanted in clips.NTU_SETS.values():
    if len(wanted.actions) == num_classes:
      return wanted
  return None


def _find_protocol(raw, wanted, split):
  """Returns the protocol, None for a set that has none."""
  if wanted is None:
    return None
  words = re.split(r"[^a-z0-9]+", raw.stem.lower())
  for name, marks in PROTOCOLS.items():
    if split is None and any(mark in words for mark in marks):
      split = name
  if split is None:
    raise errors.DataError(
      f"{raw}: the name tells no protocol; add --split"
      f" {' or '.join(wanted.protocols)}"
    )
  if split not in wanted.protocols:
    raise errors.DataError(
      f"{raw} has the classes of {wanted.title}, which has no protocol {split};"
      f" add --split {' or '.join(wanted.protocols)}"
    )
  return split


def _find_lone_person(reader):
  """Returns what the second slot of the first lone person holds."""
  for row in reader.rows("x_test"):
    first, second = np.split(row, 2, axis=1)
    if first.any() and (first == second).all():
      return "repeat"
    if first.any() and not second.any():
      return "zeros"
  return "zeros"


def _read_clips(reader, protocol, options, unusual):
  """Yields pairs of cell and clip."""
  for part in PARTS:
    cell = f"{protocol}_{part}" if protocol else part
    x, y = reader.rows(f"x_{part}"), reader.rows(f"y_{part}")
    num_clips = reader.describe(f"x_{part}").shape[0]
    width = len(str(num_clips))
    rows = zip(x, y, strict=True)
    bar = progress.bar(rows, cell, total=num_clips, unit="clips")
    for i, (joints, one_hot) in enumerate(bar):
      try:
        label = _read_label(one_hot)
        skeleton = read_clip(joints)
        if options.aligned:
          skeleton, _ = align.align(skeleton)
      except errors.DataError as error:
        unusual.broken.append(f"row {i} of {part}: {error}")
        continue
      yield cell, tfrecord.Clip(f"{part}_{i:0{width}}", label, skeleton)
  unusual.raise_if_broken()


def _read_label(one_hot):
  labels = np.flatnonzero(one_hot)
  if len(labels) != 1 or one_hot[labels[0]] != 1:
    raise errors.DataError("its row of y is not one 1 among zeros")
  return int(labels[0])


if __name__ == "__main__":
  command.run(main)
