# SPDX-License-Identifier: Apache-2.0
"""Turns skeletons that others have prepared into clips like our own."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from data_prep import ntu60, ntu120, problems, records
from data_prep.clips import like, reader, unit
from data_prep.ntu import actors, align, raw_set
from sgcl_jax import command, errors, skeletons
from sgcl_jax.dataset import naming
from sgcl_jax.terminal import wording

NTU_SETS = {raw.name: raw for raw in (ntu60.NTU60, ntu120.NTU120)}
NTU_NAME = re.compile(r"S[0-9]{3}C[0-9]{3}P[0-9]{3}R[0-9]{3}A([0-9]{3})")

# More classes than this are no classes: their names alone would fill memory.
MAX_CLASSES = 100_000


@dataclasses.dataclass
class Found:
  """What was wrong or unusual in a file.

  Attributes:
    skip: Leave broken clips out instead of refusing the file.
    broken: A line for each broken clip.
    notes: What was unusual, for each clip where something was.
  """

  skip: bool
  broken: list[str] = dataclasses.field(default_factory=list)
  notes: list[tuple[str, ...]] = dataclasses.field(default_factory=list)

  def raise_if_broken(self) -> None:
    """Raises DataError with the broken clips, unless they are left out."""
    if self.broken and not self.skip:
      text = problems.describe(self.broken, what="clip")
      raise errors.DataError(f"{text}\nTo leave them out, add --skip_broken.")

  def notices(self) -> list[str]:
    """Returns lines for the summary."""
    counts = problems.count_notes(self.notes)
    lines = [
      f"{wording.count(count, 'clip')}: {note}"
      for note, count in counts.items()
    ]
    if self.broken:
      lines.append(
        f"left out: {wording.count(len(self.broken), 'broken clip')}"
      )
    return lines


def origin_ntu(joints: np.ndarray) -> np.ndarray:
  """Moves the origin of NTU RGB+D joints as `data_prep.ntu60` does.

  Args:
    joints: [T, M, 25, 3] in camera space, M 1 or 2, zeros for an absent actor.

  Returns:
    [T, M, 25, 3] float32 from the first actor's joint 2. With two actors,
    frames without an actor are cut.

  Raises:
    DataError: The first actor is zero throughout.
  """
  joints = joints.astype(np.float32)
  if joints.shape[1] == 2:
    joints = joints[joints.reshape(len(joints), -1).sum(axis=1) != 0]
  return actors.translate(joints)


def finish_ntu(
  joints: np.ndarray, *, lone_person: str, aligned: bool
) -> np.ndarray:
  """Fills the second slot, and aligns the bodies if asked.

  Args:
    joints: [T, M, 25, 3], the result of `origin_ntu`.
    lone_person: As in a `raw_set.RawSet`.
    aligned: Whether to turn each body by its first frame.

  Returns:
    [T, 2, 25, 3].
  """
  if joints.shape[1] == 1 and lone_person == "repeat":
    joints = np.repeat(joints, 2, axis=1)
  joints = actors.pad(joints)
  return align.align(joints)[0] if aligned else joints


def finish_other(
  joints: np.ndarray, options: reader.Options
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Makes a clip as `data_prep.custom` does.

  Args:
    joints: [T, M, num_recorded, 3] float32. Absent is a 2D joint at x = y = 0,
      and a person in space whose joints are all 0.
    options: Those of `make_options`.

  Returns:
    [T, max_persons, V, 3], absent joints 0; and what was unusual.

  Raises:
    DataError: No joint is seen.
  """
  if options.layout.dimensions == 2:
    absent = ~joints[..., :2].any(axis=-1, keepdims=True)
  else:
    absent = ~joints.any(axis=(2, 3), keepdims=True)
  joints = np.where(absent, np.float32(np.nan), joints)
  if absent.all():
    raise errors.DataError("nobody is seen: all joints of all frames are zero")
  joints, notes = reader.prepare(joints, options)
  more = options.max_persons - joints.shape[1]
  return np.pad(joints, [(0, 0), (0, more), (0, 0), (0, 0)]), notes


def make_options(
  layout: skeletons.Skeleton, num_persons: int, *, scaled: bool
) -> reader.Options:
  """Returns the options of `finish_other`, which the metadata store.

  Args:
    layout: Joints of the clips.
    num_persons: Persons of the data set; those that move most are kept.
    scaled: Whether 2D coordinates are in halves of the image's height.
  """
  return reader.Options(
    layout,
    drop_unseen=True,
    max_persons=num_persons,
    unit=unit.HALF_HEIGHT if scaled else None,
  )


def find_ntu(
  clips: Iterable[tuple[str, int]], protocols: Sequence[str]
) -> raw_set.RawSet | None:
  """Recognises NTU RGB+D by the names of its clips.

  Args:
    clips: Name and label of each.
    protocols: Those that the file has splits of.

  Returns:
    NTU RGB+D 60 or 120, None if a name is of another form or does not fit its
    label.
  """
  most = -1
  for name, label in clips:
    match = NTU_NAME.fullmatch(name)
    if not match or int(match[1]) != label + 1:
      return None
    most = max(most, label)
  wanted = ntu120.NTU120
  if "xset" not in protocols and most < len(ntu60.ACTIONS):
    wanted = ntu60.NTU60
  return wanted if 0 <= most < len(wanted.actions) else None


def make_class_names(path: pathlib.Path | None, count: int) -> Sequence[str]:
  """Returns the names of classes in label order.

  Args:
    path: Text file, a name in each line; None for those of `naming.fill`.
    count: Number of classes, or the least that there are.

  Raises:
    DataError: The file is not usable, or has fewer names; or there are more
      than `MAX_CLASSES`.
  """
  if count > MAX_CLASSES:
    raise errors.DataError(
      f"the labels make {count:,} classes, more than {MAX_CLASSES:,}: are they"
      " labels?"
    )
  if path is None:
    return naming.fill([], count)
  names = naming.read(path)
  if len(names) < count:
    raise errors.DataError(
      f"{path} has {len(names)} names, but the file has {count} classes"
    )
  return names


def check_finite(joints: np.ndarray) -> None:
  """Raises DataError, with the frame, if a number of [T, ...] is not finite."""
  finite = np.isfinite(joints.reshape(len(joints), -1)).all(axis=1)
  if not finite.all():
    frame = int(finite.argmin())
    raise errors.DataError(f"frame {frame} has a number that is not finite")


def find_config(
  wanted: raw_set.RawSet | None,
  layout: skeletons.Skeleton,
  protocols: Sequence[str],
  aligned: bool,
) -> str:
  """Returns the config to train with, and its options.

  Args:
    wanted: NTU RGB+D 60 or 120, or None for another data set.
    layout: Joints of the clips.
    protocols: Protocols of the splits, none for `train` and `test`.
    aligned: Whether the bodies are aligned.
  """
  backbone = "infogcn" if aligned else "ctrgcn"
  split = f":split={protocols[0]}" if protocols else ""
  if wanted is not None and layout == skeletons.NTU:
    return f"{backbone}_{wanted.name}{split}"
  return f"{backbone}_custom{split}"


def describe(
  raw: pathlib.Path,
  wanted: raw_set.RawSet | None,
  layout: skeletons.Skeleton,
  class_names: Sequence[str],
  num_persons: int,
  *,
  unit_name: str,
  aligned: bool,
  lone_person: str,
  options: reader.Options | None = None,
) -> records.Description:
  """Returns the description of a data set.

  Args:
    raw: The file that it was made from.
    wanted: NTU RGB+D 60 or 120, or None for another data set.
    layout: Joints of the clips.
    class_names: [L].
    num_persons: M.
    unit_name: Unit of the coordinates.
    aligned: Whether the bodies are aligned.
    lone_person: `zeros` or `repeat`, as in a `raw_set.RawSet`.
    options: Those of `make_options`; None for clips of `finish_ntu`.
  """
  known = layout.name in skeletons.LAYOUTS
  center = " and ".join(layout.joints[joint] for joint in layout.center)
  return records.Description(
    name=wanted.name if wanted else "custom",
    class_names=class_names,
    num_persons=num_persons,
    num_joints=layout.num_joints,
    text=(
      f"{wanted.title if wanted else 'Clips'} of {raw.name}, joints of the"
      f" layout {layout.name}, coordinates in {unit_name} from the first"
      f" person's {center}."
    ),
    metadata={
      "aligned": aligned,
      "lone_person": lone_person,
      "layout": layout.name if known else layout.to_json(),
      **({like.METADATA: like.describe(options)} if options else {}),
    },
  )


def add_options(parser: command.Parser) -> None:
  """Declares what both commands share."""
  parser.add_argument(
    "--out",
    type=command.path,
    help="directory to write (default: data/ and the name of the file)",
  )
  parser.add_argument(
    "--names",
    type=command.path,
    help="text file of the class names, one a line, the first for label 0"
    " (default: those of NTU RGB+D, otherwise class 0, class 1, ...)",
  )
  parser.add_argument(
    "--align",
    action="store_true",
    help="turn each body by its first frame, as InfoGCN wants it",
  )
  parser.add_argument(
    "--skip_broken",
    action="store_true",
    help="leave broken clips out; otherwise they are listed and nothing is"
    " written",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
