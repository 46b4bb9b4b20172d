# SPDX-License-Identifier: Apache-2.0
"""Your own skeletons to TFRecords; docs/CUSTOM_DATA.md describes the format.

python -m data_prep.custom --raw my_clips --layout my_layout.json
"""

import pathlib

import numpy as np

from data_prep import problems, records, tfrecord
from data_prep.clips import absent, labels, reader, summary
from sgcl_jax import command, errors, skeletons


def convert(
  raw: pathlib.Path,
  out: pathlib.Path,
  options: reader.Options,
  *,
  skip_broken: bool = False,
  overwrite: bool = False,
) -> None:
  """Converts a directory of clips and prints what it holds.

  Args:
    raw: Directory of the clips.
    out: Directory of the data set.
    options: How files become clips.
    skip_broken: Whether broken files are left out, and listed in the report.
    overwrite: Whether an existing data set is replaced.

  Raises:
    DataError: Clips are broken or missing, or `out` is taken.
  """
  records.check_out(out, overwrite)
  found = reader.read_all(raw, options)
  if found.problems and not (skip_broken and found.clips):
    remedy = f"; --skip_broken lists them in {problems.REPORT}"
    raise errors.DataError(problems.describe(found.problems, details=remedy))
  splits = {clip.split for clip in found.clips}
  for split in ("train", "test"):
    if split not in splits:
      raise errors.DataError(f"no clip of {raw} has split {split!r}")
  class_names = options.class_names or labels.sort(
    clip.label for clip in found.clips
  )
  num_persons = max(clip.skeleton.shape[1] for clip in found.clips)
  report = summary.make_report(found, class_names)
  layout = options.layout
  about = records.Description(
    name="custom",
    class_names=class_names,
    num_persons=num_persons,
    num_joints=layout.num_joints,
    text=f"Clips of {raw.name}, joints of the layout {layout.name}.",
    metadata={"aligned": False, "layout": layout.to_json()},
  )
  numbers = {name: label for label, name in enumerate(class_names)}
  pairs = (
    (
      clip.split,
      tfrecord.Clip(
        clip.name, numbers[clip.label], _pad(clip.skeleton, num_persons)
      ),
    )
    for clip in found.clips
  )
  records.write_dataset(out, pairs, about, overwrite=overwrite, report=report)
  summary.show(report, num_persons, out)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
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
  parser.add_argument(
    "--layout",
    type=command.path,
    required=True,
    help="a layout by name (coco17, openpose18, openpose25, halpe26,"
    " mediapipe33, hand21, azure32, kinect20, kinect25), or a JSON file of"
    " joints, bones, center and dimensions",
  )
  parser.add_argument(
    "--out",
    type=command.path,
    default=pathlib.Path("data/custom"),
    help="directory to write (default: data/custom)",
  )
  parser.add_argument(
    "--names",
    type=command.path,
    help="text file of the class names, one a line; labels may then be their"
    " numbers, from 0 on",
  )
  parser.add_argument(
    "--max_persons",
    type=int,
    help="of more persons, keep those that move most",
  )
  parser.add_argument(
    "--empty_frames",
    choices=absent.EMPTY_FRAMES,
    default="keep",
    help="frames in which nobody is seen: keep them, drop them, or interpolate"
    " them from the frames around (default: %(default)s)",
  )
  parser.add_argument(
    "--fill_gaps",
    type=int,
    default=0,
    metavar="FRAMES",
    help="interpolate joints that are absent for at most so many frames",
  )
  parser.add_argument(
    "--skip_broken",
    action="store_true",
    help=f"leave broken files out and list them in {problems.REPORT}",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
  args = parser.parse_args(argv)
  if args.max_persons is not None and args.max_persons < 1:
    raise errors.ConfigError(f"--max_persons {args.max_persons} is below 1")
  if args.fill_gaps < 0:
    raise errors.ConfigError(f"--fill_gaps {args.fill_gaps} is below 0")
  options = reader.Options(
    layout=skeletons.get(str(args.layout)),
    class_names=labels.read_names(args.names) if args.names else None,
    max_persons=args.max_persons,
    empty_frames=args.empty_frames,
    fill_gaps=args.fill_gaps,
  )
  convert(
    args.raw,
    args.out,
    options,
    skip_broken=args.skip_broken,
    overwrite=args.overwrite,
  )


def _pad(skeleton, num_persons):
  """Adds zeros for absent persons."""
  added = num_persons - skeleton.shape[1]
  return np.pad(skeleton, [(0, 0), (0, added), (0, 0), (0, 0)])


if __name__ == "__main__":
  command.run(main)
