# SPDX-License-Identifier: Apache-2.0
"""NTU RGB+D 60: raw `.skeleton` files to TFRecords.

python -m data_prep.ntu60 --raw data/raw/nturgb+d_skeletons

Each clip is stored once, in the cell of its two protocols, X-Sub and X-View.
"""

import argparse
import collections
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from data_prep import align, ntu, records
from sgcl_jax import errors

NUM_CLASSES = 60
NUM_SETUPS = 17
NUM_CLIPS = 56578
# Those of data_prep.synthetic, for which there is a config of its own.
QUICKSTART_CLASSES = 10

# Shahroudy et al., 2016, Sec. 4.3; all others are for testing.
TRAIN_PERFORMERS = frozenset(
  (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
)
TRAIN_CAMERAS = frozenset((2, 3))
SPLITS = ("xsub_train", "xsub_test", "xview_train", "xview_test")


def get_cell(name: ntu.Name) -> str:
  """Returns the cell, as `xsub_train_xview_test`.

  The split `xsub_train` is the sum of the cells with `xsub_train` in the name.
  """
  xsub = "train" if name.performer in TRAIN_PERFORMERS else "test"
  xview = "train" if name.camera in TRAIN_CAMERAS else "test"
  return f"xsub_{xsub}_xview_{xview}"


def find_files(raw: pathlib.Path) -> tuple[list[pathlib.Path], int]:
  """Finds the files of NTU RGB+D 60 in a directory and those below it.

  Args:
    raw: Directory of `.skeleton` files.

  Returns:
    The files, sorted by name, and how many others belong to NTU RGB+D 120.

  Raises:
    DataError: There are none, or two of one name, or a name that is not one of
      the data set.
  """
  if not raw.is_dir():
    raise errors.DataError(
      f"{raw} is not a directory: pass that of the .skeleton files as --raw"
    )
  files = {}
  problems = []
  num_others = 0
  for path in sorted(raw.rglob("*.skeleton")):
    # macOS adds "._S001..." beside each file it packs.
    if path.name.startswith("."):
      continue
    try:
      name = ntu.parse_name(path.stem)
    except errors.DataError as error:
      problems.append(f"{path}: {error}")
      continue
    if name.setup > NUM_SETUPS or name.action > NUM_CLASSES:
      num_others += 1
    elif path.stem in files:
      problems.append(f"{path}: a second file of this name")
    else:
      files[path.stem] = path
  if problems:
    _refuse(problems)
  if not files:
    raise errors.DataError(
      f"{raw} holds no .skeleton file of NTU RGB+D 60: pass their directory as "
      "--raw"
    )
  return [files[name] for name in sorted(files)], num_others


def read_clips(
  files: Sequence[pathlib.Path],
  alignment: str | None = None,
  notes: dict[str, list[str]] | None = None,
) -> Iterator[tuple[str, records.Clip]]:
  """Reads clips one at a time.

  Args:
    files: Raw files.
    alignment: None, or how bodies are turned as InfoGCN's: `own` or `released`
      (see `align.align`).
    notes: Takes what was unusual about the alignment, by clip.

  Yields:
    Cell, and clip with skeleton [T, 2, 25, 3], zeros for an absent person.

  Raises:
    DataError: Files are broken; names each, after all have been read.
  """
  problems = []
  for path in tqdm.tqdm(files, unit="clip", disable=None):
    name = ntu.parse_name(path.stem)
    try:
      joints = ntu.parse_clip(path.read_bytes())
    except errors.DataError as error:
      problems.append(f"{path}: {error}")
      continue
    if not problems:
      joints = ntu.pad_persons(joints)
      if alignment:
        joints, unusual = align.align(
          joints, as_released=alignment == "released"
        )
        if unusual and notes is not None:
          notes[path.stem] = unusual
      clip = records.Clip(path.stem, name.action - 1, joints)
      yield get_cell(name), clip
  if problems:
    _refuse(problems)


def convert(
  raw: pathlib.Path,
  out: pathlib.Path,
  *,
  alignment: str | None = None,
  overwrite: bool = False,
) -> None:
  """Converts the data set and prints what it holds.

  Args:
    raw: Directory of `.skeleton` files.
    out: Directory of the data set.
    alignment: As of `read_clips`.
    overwrite: Replace a data set that is there.

  Raises:
    DataError: Raw files are broken or missing, or `out` is taken.
  """
  records.check_out(out, overwrite)
  files, num_others = find_files(raw)
  if num_others:
    print(f"notice: {num_others:,} files of NTU RGB+D 120 alone left out.")
  if len(files) != NUM_CLIPS:
    print(
      f"notice: {raw} has {len(files):,} clips, the official set "
      f"{NUM_CLIPS:,}; figures will not compare with others'."
    )
  lengths = []
  labels = set()
  notes = {}

  def clips():
    for cell, clip in read_clips(files, alignment, notes):
      lengths.append(len(clip.skeleton))
      labels.add(clip.label)
      yield cell, clip

  counts = records.write_dataset(
    out,
    clips(),
    name="ntu60",
    class_names=ntu.ACTIONS,
    num_persons=ntu.NUM_PERSONS,
    num_joints=ntu.NUM_JOINTS,
    description=(
      "NTU RGB+D 60, 3D joints in metres from the first actor's first spine "
      "joint, cells of X-Sub and X-View."
    ),
    aligned=bool(alignment),
    overwrite=overwrite,
  )
  config = "infogcn_ntu60" if alignment else "ctrgcn_ntu60"
  if not alignment and max(labels) < QUICKSTART_CLASSES:
    config = "quickstart"
  _print_summary(counts, lengths, labels, out, config)
  if notes:
    print(f"notice: {len(notes):,} clips were unusual to align, and are kept:")
    for name, what in notes.items():
      print(f"  {name}: {', '.join(what)}")


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.ntu60",
    description="Converts the raw skeletons of NTU RGB+D 60 to TFRecords.",
  )
  parser.add_argument(
    "--raw",
    type=pathlib.Path,
    required=True,
    help="directory of .skeleton files, flat or nested",
  )
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    help="directory to write (default: data/ntu60, or data/ntu60_aligned)",
  )
  parser.add_argument(
    "--align",
    nargs="?",
    const="own",
    choices=("own", "released"),
    help="turn each body by its first frame, as InfoGCN wants it; released: a"
    " person who is absent at first is left out, as in InfoGCN's code",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
  args = parser.parse_args(argv)
  default = "data/ntu60_aligned" if args.align else "data/ntu60"
  convert(
    args.raw,
    args.out or pathlib.Path(default),
    alignment=args.align,
    overwrite=args.overwrite,
  )


def _refuse(problems):
  raise errors.DataError(
    records.list_problems(problems)
    + "\nFetch them again, or move them out of the directory."
  )


def _print_summary(counts, lengths, labels, out, config):
  splits = collections.Counter()
  for cell, count in counts.items():
    splits.update({split: count for split in SPLITS if split in cell})
  print(f"clips   {len(lengths):,} of {len(labels)} classes")
  for split in SPLITS:
    print(f"        {split:11} {splits[split]:6,}")
  print(
    f"frames  {min(lengths)} shortest, {np.median(lengths):g} median, "
    f"{max(lengths)} longest"
  )
  print(f"wrote   {out}")
  print(
    f"next    python -m sgcl_jax.main --config configs/{config}.py"
    f" --config.data.dir={out}"
  )


if __name__ == "__main__":
  errors.run(main)
