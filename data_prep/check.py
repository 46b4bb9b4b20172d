# SPDX-License-Identifier: Apache-2.0
"""Checks a converted data set on one page, or draws a clip of it.

python -m data_prep.check --data data/custom
python -m data_prep.check --data data/custom --show CLIP
"""

import difflib
import pathlib
from typing import Any

import numpy as np

from data_prep.quality import judge, measure
from sgcl_jax import command, errors, input_pipeline, skeletons
from sgcl_jax.dataset import data_files
from sgcl_jax.terminal import progress, wording

MOST_CLASSES = 12
# Data sets whose metadata name no layout.
LAYOUTS = {"ntu60": "ntu", "ntu120": "ntu", "nw_ucla": "ucla"}


def check(data: pathlib.Path) -> dict[str, Any]:
  """Measures all clips of a data set.

  Args:
    data: Directory of a data set that a command of `data_prep` wrote.

  Returns:
    The figures of the page, and `problems` and `notices`, lines of text.

  Raises:
    DataError: There is no data set, or it is damaged.
  """
  info = input_pipeline.read_dataset_info(data)
  layout = find_layout(info)
  class_names = info.features["label"].names
  num_clips = info.splits.total_num_examples
  with progress.bar(total=num_clips, unit="clips") as bar:
    clips = []
    for cell in sorted(info.splits):
      for clip in input_pipeline.read_clips(data, cell):
        clips.append(measure.measure(clip, cell, layout))
        bar.update()
  counts = judge.count(clips, len(class_names))
  frames = np.array([clip.num_frames for clip in clips])
  extents = np.array([clip.extent for clip in clips])
  empty = sum(clip.num_empty for clip in clips)
  absent = judge.find_absent(clips)
  _, persons, joints, _ = info.features["skeleton"].shape
  return {
    "data": str(data),
    "num_clips": len(clips),
    "num_classes": len(class_names),
    "num_persons": persons,
    "num_joints": joints,
    "layout": layout and layout.name,
    "dimensions": layout and layout.dimensions,
    "splits": {split: int(count.sum()) for split, count in counts.items()},
    "frames": _spread(frames, clips),
    "extent": _spread(extents, clips),
    "empty_frames": empty / int(frames.sum()),
    "absent_joints": float(absent.mean()),
    "absent": {
      layout.joints[i] if layout else str(i): float(absent[i])
      for i in np.argsort(-absent, kind="stable")[:MOST_CLASSES]
      if absent[i]
    },
    "classes": {
      name: {split: int(count[label]) for split, count in counts.items()}
      for label, name in enumerate(class_names)
    },
    "problems": judge.find_problems(clips, class_names),
    "notices": judge.find_notices(clips, class_names, layout),
  }


def find_layout(info: Any) -> skeletons.Skeleton | None:
  """Returns the layout that the metadata of a data set name, or None."""
  text = (info.metadata or {}).get("layout", LAYOUTS.get(info.name))
  return skeletons.get(text) if text else None


def find_clip(data: pathlib.Path, name: str) -> dict[str, Any]:
  """Returns a clip by name, as `input_pipeline.read_clips` yields it.

  Raises:
    DataError: There is no such clip, or no data set.
  """
  names = []
  for cell in sorted(input_pipeline.read_dataset_info(data).splits):
    for clip in input_pipeline.read_clips(data, cell):
      if clip["name"] == name:
        return clip
      names.append(clip["name"])
  close = difflib.get_close_matches(name, names, n=1)
  hint = f"did you mean {close[0]}?" if close else f"it has {names[0]}, ..."
  raise errors.DataError(f"{data} has no clip {name!r}; {hint}")


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("data_prep.check", __doc__)
  parser.add_argument(
    "--data",
    type=command.path,
    required=True,
    help="directory of a converted data set",
  )
  parser.add_argument(
    "--show", metavar="CLIP", help="draw this clip as an animated GIF instead"
  )
  parser.add_argument(
    "--out",
    type=command.path,
    help="the GIF (default: CLIP.gif); replaced if it exists",
  )
  parser.add_json("the figures")
  args = parser.parse_args(argv)
  _check_converted(args.data)
  if args.show is not None:
    _show(args)
    return
  if args.out:
    raise errors.ConfigError("--out is the GIF of --show CLIP")
  result = check(args.data)
  if args.json:
    command.print_json(result)
  else:
    _print_page(result)
  if result["problems"]:
    number = len(result["problems"])
    raise errors.DataError(
      f"{args.data} has {wording.count(number, 'problem')}"
    )


def _check_converted(data):
  """Refuses a path that holds no data set, perhaps raw clips."""
  if data_files.is_dataset(data):
    return
  remedy = "name a directory that a command of data_prep wrote"
  if data.exists():
    convert = wording.command_line(
      *("data_prep.custom", "--raw", str(data), "--layout", "NAME_OR_FILE")
    )
    remedy = f"if it holds clips of your own, convert them first: {convert}"
  raise errors.DataError(f"no data set in {data}: {remedy}")


def _show(args):
  # Imported late: it needs matplotlib.
  from data_prep.quality import draw

  out = args.out or pathlib.Path(f"{pathlib.PurePath(args.show).name}.gif")
  layout = find_layout(input_pipeline.read_dataset_info(args.data))
  if layout is None:
    raise errors.DataError(f"{args.data} names no joint layout to draw")
  num_frames = draw.write(find_clip(args.data, args.show), layout, out)
  if args.json:
    command.print_json({"gif": str(out), "num_frames": num_frames})
  else:
    print(f"wrote   {out}, {wording.count(num_frames, 'frame')}")


def _spread(values, clips):
  """Returns where the values of the clips lie, and the clips at the ends."""
  low, high = int(values.argmin()), int(values.argmax())
  return {
    "smallest": float(values[low]),
    "smallest_clip": clips[low].name,
    "p5": float(np.percentile(values, 5)),
    "median": float(np.median(values)),
    "p95": float(np.percentile(values, 95)),
    "largest": float(values[high]),
    "largest_clip": clips[high].name,
  }


def _print_page(result):
  layout, size = result["layout"], result["dimensions"]
  named = f" ({layout}, {'x, y, score' if size == 2 else 'x, y, z'})"
  print(
    f"data     {result['data']}: {wording.count(result['num_clips'], 'clip')},"
    f" {wording.count(result['num_classes'], 'class')}, persons at most"
    f" {result['num_persons']}, {wording.count(result['num_joints'], 'joint')}"
    f"{named if layout else ''}"
  )
  for split, count in result["splits"].items():
    print(f"         {split:11} {count:7,}")
  for key, what in (("frames", "of a clip"), ("extent", "of a body")):
    spread = result[key]
    print(
      f"{key:8} {what}: {spread['smallest']:.4g} ({spread['smallest_clip']}),"
      f" 5 % {spread['p5']:.4g}, median {spread['median']:.4g},"
      f" 95 % {spread['p95']:.4g},"
      f" {spread['largest']:.4g} ({spread['largest_clip']})"
    )
  print(f"empty    {result['empty_frames']:.2%} of the frames")
  most = ", ".join(
    f"{joint} {share:.1%}" for joint, share in [*result["absent"].items()][:4]
  )
  print(
    f"absent   {result['absent_joints']:.2%} of the joints of bodies"
    + (f"; most: {most}" if most else "")
  )
  _print_classes(result["classes"])
  for kind in ("problem", "notice"):
    for line in result[f"{kind}s"]:
      print(f"{kind:8} {line}")
  if not result["problems"]:
    print("ok       nothing is surely wrong")


def _print_classes(classes):
  """Prints the classes; of many, those with the fewest clips."""
  totals = {name: sum(counts.values()) for name, counts in classes.items()}
  order = (
    sorted(classes, key=totals.get) if len(classes) > MOST_CLASSES else None
  )
  for name in (order or list(classes))[:MOST_CLASSES]:
    counts = ", ".join(f"{n:,} {split}" for split, n in classes[name].items())
    print(f"class    {name}: {counts}")
  if order:
    print(f"class    ... and {len(classes) - MOST_CLASSES} with more clips")


if __name__ == "__main__":
  command.run(main)
