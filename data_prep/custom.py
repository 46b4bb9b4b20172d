# SPDX-License-Identifier: Apache-2.0
"""Your own skeletons to TFRecords; docs/CUSTOM_DATA.md describes the format.

python -m data_prep.custom --raw my_clips --layout my_layout.json
"""

import argparse
import dataclasses
import pathlib

import numpy as np

from data_prep import problems, records, tfrecord
from data_prep.clips import absent, labels, like, reader, segments, summary
from sgcl_jax import command, errors, skeletons
from sgcl_jax.dataset import naming
from sgcl_jax.settings import config_file
from sgcl_jax.terminal import wording


def convert(
  raw: pathlib.Path,
  out: pathlib.Path,
  options: reader.Options,
  *,
  num_persons: int | None = None,
  skip_broken: bool = False,
  overwrite: bool = False,
) -> None:
  """Converts a directory of clips and prints what it holds.

  Args:
    raw: Directory of the clips.
    out: Directory of the data set.
    options: How files become clips.
    num_persons: Persons of the data set that this one is to equal, which need
      not have all splits; None if the clips decide.
    skip_broken: Whether broken files are left out, and listed in the report.
    overwrite: Whether an existing data set is replaced.

  Raises:
    DataError: Clips are broken or missing, or `out` is taken.
  """
  reader.check_raw(raw)
  records.check_out(out, overwrite)
  found = reader.read_all(raw, options)
  if num_persons is not None:
    _refuse_unlabelled(raw, found)
    _drop_crowds(found, num_persons)
  if found.problems and not (skip_broken and found.clips):
    text = problems.describe(found.problems)
    if found.clips:
      text += (
        "\nTo convert the others, add --skip_broken: it lists all broken ones"
        f" in {problems.REPORT}."
      )
    raise errors.DataError(text)
  splits = {clip.split for clip in found.clips}
  for split in ("train", "test"):
    if num_persons is None and split not in splits:
      raise errors.DataError(f"no clip of {raw} has split {split!r}")
  class_names = options.class_names or labels.sort(
    clip.label for clip in found.clips
  )
  if num_persons is None:
    num_persons = max(clip.skeleton.shape[1] for clip in found.clips)
  report = summary.make_report(found, class_names)
  layout = options.layout
  about = records.Description(
    name="custom",
    class_names=class_names,
    num_persons=num_persons,
    num_joints=layout.num_joints,
    text=f"Clips of {raw.name}, joints of the layout {layout.name}.",
    metadata={
      "aligned": False,
      "layout": layout.to_json(),
      like.METADATA: like.describe(options),
    },
  )
  pairs = _make_pairs(found.clips, class_names, num_persons)
  records.write_dataset(out, pairs, about, overwrite=overwrite, report=report)
  summary.show(report, num_persons, out)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  args = _parse(argv)
  num_persons = None
  if args.like is None:
    options = reader.Options(skeletons.get(str(args.layout)))
  else:
    options, num_persons = like.read(args.like)
  given = {
    "class_names": args.names and naming.read(args.names),
    "cuts": args.segments and segments.read(args.segments),
    "max_persons": args.max_persons,
    "empty_frames": args.empty_frames,
    "fill_gaps": args.fill_gaps,
  }
  given = {key: value for key, value in given.items() if value is not None}
  convert(
    args.raw,
    args.out,
    dataclasses.replace(options, **given),
    num_persons=num_persons,
    skip_broken=args.skip_broken,
    overwrite=args.overwrite,
  )


def _parse(argv):
  parser = command.Parser(
    "data_prep.custom",
    "Converts your own skeletons to TFRecords; docs/CUSTOM_DATA.md describes"
    " the format.",
  )
  parser.add_argument(
    "--raw",
    type=command.path,
    required=True,
    help="directory of .npz or .json files, one per clip, flat or nested",
  )
  known = parser.add_mutually_exclusive_group(required=True)
  known.add_argument(
    "--layout",
    type=command.path,
    help="a layout by name (coco17, openpose18, openpose25, halpe26,"
    " mediapipe33, hand21, azure32, kinect20, kinect25), or a JSON file of"
    " joints, bones, center and dimensions",
  )
  known.add_argument(
    "--like",
    type=command.path,
    metavar="DIR",
    help="classes, persons, layout and options of a data set that exists; clips"
    " without a split are test clips",
  )
  parser.add_argument(
    "--out",
    type=command.path,
    default=summary.DEFAULT_OUT,
    help="directory to write (default: %(default)s)",
  )
  parser.add_argument(
    "--names",
    type=command.path,
    help="text file of the class names, one a line; labels may then be their"
    " numbers, from 0 on",
  )
  _add_conversion(parser)
  parser.add_argument(
    "--skip_broken",
    action="store_true",
    help=f"leave broken files out and list them in {problems.REPORT}",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
  args = parser.parse_args(argv)
  config_file.check_clash("data_prep.custom")
  if args.like and args.names:
    raise errors.ConfigError("--like has the class names: leave out --names")
  return args


def _add_conversion(parser):
  """Declares how files become clips, see `reader.Options`."""
  parser.add_argument(
    "--segments",
    type=command.path,
    help="CSV of file, first, last, label and perhaps split: the clips are"
    " these frames of the files, from 0 on, the last one included",
  )
  parser.add_argument(
    "--max_persons",
    type=_count(1),
    help="of more persons, keep those that move most",
  )
  parser.add_argument(
    "--empty_frames",
    choices=absent.EMPTY_FRAMES,
    help="frames in which nobody is seen: keep them, drop them, or interpolate"
    " them from the frames around (default: keep)",
  )
  parser.add_argument(
    "--fill_gaps",
    type=_count(0),
    metavar="FRAMES",
    help="interpolate joints that are absent for at most so many frames"
    " (default: 0)",
  )


def _count(least):
  """Returns a parser of whole numbers that refuses those below `least`."""

  def parse(text):
    if not (text.isascii() and text.removeprefix("-").isdecimal()):
      raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    if int(text) < least:
      raise argparse.ArgumentTypeError(f"{text} is below {least}")
    return int(text)

  return parse


def _refuse_unlabelled(raw, found):
  """Refuses recordings for which `predict` is the right command."""
  if found.clips or found.num_unlabelled < len(found.problems):
    return
  answer = wording.command_line(
    "sgcl_jax.predict", "--checkpoint", "RUN", str(raw)
  )
  raise errors.DataError(
    f"no clip of {raw} has a label: there is nothing to convert. For answers, a"
    f" run on the set of --like reads the files as they are: {answer}"
  )


def _drop_crowds(found, num_persons):
  """Moves clips of more persons to the problems."""
  clips, found.clips = found.clips, []
  for clip in clips:
    persons = clip.skeleton.shape[1]
    if persons <= num_persons:
      found.clips.append(clip)
      continue
    found.problems.append(
      f"{clip.name}: {persons} persons, but --like has {num_persons}; add"
      f" --max_persons {num_persons}"
    )


def _make_pairs(clips, class_names, num_persons):
  """Yields the cell and the record of each clip."""
  numbers = {name: label for label, name in enumerate(class_names)}
  for clip in clips:
    # Zeros stand for absent persons.
    added = num_persons - clip.skeleton.shape[1]
    skeleton = np.pad(clip.skeleton, [(0, 0), (0, added), (0, 0), (0, 0)])
    yield clip.split, tfrecord.Clip(clip.name, numbers[clip.label], skeleton)


if __name__ == "__main__":
  command.run(main)
