# SPDX-License-Identifier: Apache-2.0
"""What a conversion of your own skeletons found, printed and as JSON."""

import collections
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep import problems, training, walk
from data_prep.clips import reader
from sgcl_jax.terminal import wording


def make_report(
  found: reader.Found, class_names: Sequence[str]
) -> dict[str, Any]:
  """Summarises a conversion.

  Args:
    found: The clips.
    class_names: [L] in label order.
  """
  lengths = [len(clip.skeleton) for clip in found.clips]
  counts = collections.Counter((clip.label, clip.split) for clip in found.clips)
  splits = collections.Counter(clip.split for clip in found.clips)
  return {
    "clips": len(found.clips),
    "splits": {name: splits[name] for name in reader.SPLITS if splits[name]},
    "classes": {
      label: {
        name: counts[label, name] for name in reader.SPLITS if splits[name]
      }
      for label in class_names
    },
    "frames": {
      "shortest": min(lengths),
      "median": float(np.median(lengths)),
      "longest": max(lengths),
    },
    "passed_over": dict(found.passed),
    "broken": found.problems,
    "unusual": {clip.name: clip.notes for clip in found.clips if clip.notes},
  }


DEFAULT_OUT = pathlib.Path("data/custom")


def show(report: dict[str, Any], num_persons: int, out: pathlib.Path) -> None:
  """Prints a report, and the command that trains.

  Args:
    report: Returned by `make_report`.
    num_persons: M.
    out: Directory of the data set.
  """
  classes = report["classes"]
  print(
    f"clips   {report['clips']:,} of {wording.count(len(classes), 'class')}"
  )
  for split, count in report["splits"].items():
    print(f"        {split:11} {count:6,}")
  print(
    "frames  {shortest} shortest, {median:g} median, {longest} longest".format(
      **report["frames"]
    )
  )
  print(f"persons {num_persons} at most")
  for name, counts in classes.items():
    parts = [f"{count:,} {split}" for split, count in counts.items()]
    print(f"class   {name}: {', '.join(parts)}")
  if report["passed_over"]:
    passed = collections.Counter(report["passed_over"])
    print(f"left    {walk.describe(passed)}")
  for notice in _find_notices(report):
    print(f"notice  {notice}")
  print(f"wrote   {out} (details: {problems.REPORT})")
  if len(classes) == 1:
    print(f"problem {training.ONE_CLASS.format(*classes)}")
    return
  _print_command(report, out)


def _print_command(report, out):
  """Prints the command that trains, or evaluates where nothing trains."""
  clips = {
    name: counts.get("train", 0) for name, counts in report["classes"].items()
  }
  if not any(clips.values()):
    line = wording.command_line(
      *("sgcl_jax.main", "--mode=evaluate", "--workdir", "RUN"),
      f"--config.data.dir={out}",
    )
    print(
      f"To evaluate a run, put its directory in the place of RUN:\n  {line}"
    )
    return
  # Sets of your own must not share a workdir.
  own = None if out == DEFAULT_OUT else f"runs/{out.name}"
  line = training.make_command("ctrgcn_custom", out, {"train": clips}, own)
  print(f"next    {line}")


def _find_notices(report):
  """Yields what may be wrong with the clips, or was put right."""
  for split in report["splits"]:
    missing = [
      name for name, counts in report["classes"].items() if not counts[split]
    ]
    if missing:
      what = "training" if split == "train" else split
      yield f"no {what} clip of {', '.join(map(repr, missing))}"
  counts = collections.Counter(itertools.chain(*report["unusual"].values()))
  if counts[reader.SCORES] < report["clips"]:
    del counts[reader.SCORES]
  for note, count in _join_joints(counts).items():
    yield f"{wording.count(count, 'clip')}: {note}"
  if report["broken"]:
    yield f"left out: {wording.count(len(report['broken']), 'broken file')}"


def _join_joints(counts):
  """Makes one note of those that say the same of several joints."""
  joints, joined = {}, {}
  for note, count in counts.items():
    joint, verb, rest = note.partition(reader.ZERO)
    if verb:
      joints.setdefault(rest, {})[joint] = count
    else:
      joined[note] = count
  for rest, found in joints.items():
    joined[f"{_shorten([*found])}{reader.ZERO}{rest}"] = max(found.values())
  return joined


def _shorten(names, most=5):
  more = f" and {len(names) - most} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more
