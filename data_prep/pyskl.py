# SPDX-License-Identifier: Apache-2.0
"""Annotation pickles of pyskl and mmaction2 to TFRecords.

python -m data_prep.pyskl --raw ntu60_3danno.pkl
python -m data_prep.pyskl --raw ntu120_hrnet.pkl

docs/HELD_DATA.md describes what a file has to hold.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from data_prep import records, tfrecord, walk
from data_prep.clips import reader
from data_prep.held import annotations, clips, summary
from data_prep.ntu import raw_set
from sgcl_jax import command, errors, skeletons
from sgcl_jax.dataset import splits
from sgcl_jax.settings import config_file
from sgcl_jax.terminal import progress

# (V, C) -> layout.
LAYOUTS = {(25, 3): skeletons.NTU, (17, 2): skeletons.get("coco17")}


@dataclasses.dataclass(frozen=True)
class Options:
  """How to convert a file.

  Attributes:
    layout: Joint layout; found by the number of joints and channels by default.
    splits: Names of the training and the test split; found by default.
    names: Text file with the name of a class in each line.
    max_persons: Persons to keep of a clip.
    lone_person: As in a `raw_set.RawSet`, which has the default.
    aligned: Whether to turn the bodies as InfoGCN wants it.
    skip_broken: Leave broken clips out instead of refusing the file.
    overwrite: Replace an existing data set.
  """

  layout: skeletons.Skeleton | None = None
  splits: tuple[str, str] | None = None
  names: pathlib.Path | None = None
  max_persons: int = 2
  lone_person: str | None = None
  aligned: bool = False
  skip_broken: bool = False
  overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class _Plan:
  """What all clips of a file share.

  Attributes:
    layout: Joint layout.
    wanted: NTU RGB+D 60 or 120, or None for another data set.
    class_names: [L].
    num_persons: M of the records.
    scaled: Whether to divide 2D coordinates by half of the image's height.
    config: The config to train with, and its options.
    options: How to convert.
  """

  layout: skeletons.Skeleton
  wanted: raw_set.RawSet | None
  class_names: Sequence[str]
  num_persons: int
  scaled: bool
  config: str
  options: Options

  @property
  def is_ntu_3d(self) -> bool:
    """Whether records are like those of `data_prep.ntu60`."""
    return self.wanted is not None and self.layout == skeletons.NTU

  @property
  def own(self) -> reader.Options:
    """How clips other than NTU RGB+D in 3D are prepared."""
    return clips.make_options(self.layout, self.num_persons, scaled=self.scaled)

  @property
  def lone_person(self) -> str:
    """What is in the second slot of a lone person."""
    if not self.is_ntu_3d:
      return "zeros"
    return self.options.lone_person or self.wanted.lone_person


def convert(raw: pathlib.Path, out: pathlib.Path, options: Options) -> None:
  """Converts a file and prints what it holds.

  Raises:
    DataError: The file or a clip is not usable, or `out` is taken; nothing is
      written.
  """
  walk.check_raw(raw, "a .pkl file")
  records.check_out(out, options.overwrite)
  gib = raw.stat().st_size / 2**30 if raw.is_file() else 0.0
  if gib > 1:
    print(f"reads {gib:.1f} GiB into memory", flush=True)
  parts, found = annotations.read(raw)
  cells = annotations.find_cells(parts, options.splits)
  chosen = sorted(
    (annotation for annotation in found if annotation["frame_dir"] in cells),
    key=lambda annotation: annotation["frame_dir"],
  )
  if not chosen:
    raise errors.DataError(f"{raw} has no annotation of a clip in its splits")
  notices = _find_notices(chosen, len(found), len(cells))
  del found, parts
  plan = _make_plan(chosen, cells, options)
  unusual = clips.Found(options.skip_broken)
  tally = summary.Tally()
  pairs = tally.count(_read_clips(chosen, cells, plan, unusual))
  records.write_dataset(
    out, pairs, _describe(raw, plan), overwrite=options.overwrite
  )
  notices += unusual.notices()
  summary.show(
    *(tally, out, plan.config, plan.class_names),
    notices=notices,
    wanted=plan.wanted,
  )


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("data_prep.pyskl", __doc__)
  parser.add_argument(
    "--raw", type=command.path, required=True, help="annotation file, *.pkl"
  )
  parser.add_argument(
    "--layout",
    type=command.path,
    help="name or JSON file of the joint layout (default: NTU RGB+D for 25"
    " joints in 3D, COCO for 17 joints in 2D)",
  )
  parser.add_argument(
    "--splits",
    nargs=2,
    metavar=("TRAIN", "TEST"),
    help="names of the two splits (default: both protocols of NTU RGB+D, or"
    " train and test or val)",
  )
  parser.add_argument(
    "--max_persons",
    type=int,
    default=2,
    help="persons to keep of a clip, those that move most (default: 2)",
  )
  parser.add_argument(
    "--lone_person",
    choices=("zeros", "repeat"),
    help="second slot of a clip of one person of NTU RGB+D: zeros, or the"
    " person again; default: as in the references",
  )
  clips.add_options(parser)
  args = parser.parse_args(argv)
  config_file.check_clash("data_prep.pyskl")
  if args.max_persons < 1:
    raise errors.ConfigError("--max_persons is below 1")
  options = Options(
    layout=skeletons.get(str(args.layout)) if args.layout else None,
    splits=tuple(args.splits) if args.splits else None,
    names=args.names,
    max_persons=args.max_persons,
    lone_person=args.lone_person,
    aligned=args.align,
    skip_broken=args.skip_broken,
    overwrite=args.overwrite,
  )
  convert(args.raw, args.out or pathlib.Path("data", args.raw.stem), options)


def _make_plan(chosen, cells, options):
  layout = options.layout or _find_layout(chosen[0])
  pairs = [(a["frame_dir"], a["label"]) for a in chosen]
  protocols = _find_protocols(cells)
  wanted = clips.find_ntu(pairs, protocols)
  is_ntu_3d = wanted is not None and layout == skeletons.NTU
  if options.aligned and not is_ntu_3d:
    raise errors.DataError("--align is for the 3D joints of NTU RGB+D only")
  names = wanted.actions if wanted else None
  if names is None or options.names:
    count = max(label for _, label in pairs) + 1
    names = clips.make_class_names(options.names, count)
  most = max(len(np.atleast_1d(a["keypoint"])) for a in chosen)
  most = 2 if is_ntu_3d else min(most, options.max_persons)
  return _Plan(
    layout=layout,
    wanted=wanted,
    class_names=names,
    num_persons=most,
    scaled=layout.dimensions == 2 and _are_sized(chosen),
    config=clips.find_config(wanted, layout, protocols, options.aligned),
    options=options,
  )


def _find_layout(annotation):
  shape = np.shape(annotation["keypoint"])
  layout = LAYOUTS.get(shape[2:])
  if layout is None:
    raise errors.DataError(
      f"clip {annotation['frame_dir']}: no known layout has a keypoint of shape"
      f" {shape} (persons, frames, joints, channels); pass --layout"
    )
  return layout


def _find_protocols(cells):
  """Returns the protocols of the cells, none for plain train and test."""
  names = {name for cell in cells.values() for name in splits.get_splits(cell)}
  found = {name.rpartition("_")[0] for name in names}
  return [name for name in splits.PROTOCOLS if name in found]


def _are_sized(chosen):
  """Returns whether the clips name the size of their images."""
  count = sum("img_shape" in annotation for annotation in chosen)
  if 0 < count < len(chosen):
    raise errors.DataError(
      f"{len(chosen) - count:,} of {len(chosen):,} clips have no img_shape, so"
      " the clips would have different units"
    )
  return count > 0


def _find_notices(chosen, num_annotations, num_named):
  notices = []
  if num_annotations > len(chosen):
    notices.append(
      f"{num_annotations - len(chosen):,} annotations are in no split, left out"
    )
  if num_named > len(chosen):
    notices.append(
      f"{num_named - len(chosen):,} clips of the splits have no annotation"
    )
  return notices


def _read_clips(chosen, cells, plan, unusual):
  """Yields pairs of cell and clip; frees each annotation."""
  chosen.reverse()
  with progress.bar(total=len(chosen), unit="clips") as bar:
    while chosen:
      annotation = chosen.pop()
      bar.update()
      name = annotation["frame_dir"]
      try:
        skeleton, notes = _read_skeleton(annotation, plan)
      except errors.DataError as error:
        unusual.broken.append(f"{name}: {error}")
        continue
      if notes:
        unusual.notes.append(notes)
      yield cells[name], tfrecord.Clip(name, annotation["label"], skeleton)
  unusual.raise_if_broken()


def _read_skeleton(annotation, plan):
  """Returns the record of an annotation, [T, M, V, 3], and notes."""
  joints = annotations.read_joints(annotation, plan.layout, plan.scaled)
  notes = ()
  if joints.shape[1] > plan.num_persons:
    which = "first ones" if plan.is_ntu_3d else "ones that move most"
    notes = (f"more than {plan.num_persons} persons, the {which} are kept",)
  if not plan.is_ntu_3d:
    skeleton, more = clips.finish_other(joints, plan.own)
    return skeleton, (*notes, *more)
  skeleton = clips.finish_ntu(
    clips.origin_ntu(joints[:, : plan.num_persons]),
    lone_person=plan.lone_person,
    aligned=plan.options.aligned,
  )
  return skeleton, notes


def _describe(raw, plan):
  unit = "halves of the image's height" if plan.scaled else "the file's unit"
  return clips.describe(
    raw,
    plan.wanted,
    plan.layout,
    plan.class_names,
    plan.num_persons,
    unit_name="metres" if plan.is_ntu_3d else unit,
    aligned=plan.options.aligned,
    lone_person=plan.lone_person,
    options=None if plan.is_ntu_3d else plan.own,
  )


if __name__ == "__main__":
  command.run(main)
