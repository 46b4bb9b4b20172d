# SPDX-License-Identifier: Apache-2.0
"""The report of a conversion of NTU RGB+D, on the terminal and as JSON."""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep import problems, walk
from data_prep.ntu import raw_set
from sgcl_jax import errors
from sgcl_jax.dataset import splits
from sgcl_jax.terminal import wording


def make(
  wanted: raw_set.RawSet,
  found: raw_set.Found,
  cells: Sequence[str],
  results: Sequence[dict[str, Any]],
) -> dict[str, Any]:
  """Summarises a conversion.

  Args:
    wanted: NTU RGB+D 60 or 120.
    found: Its raw files.
    cells: [k] cell of each shard.
    results: [k] result of each shard, see `shards.write`.

  Raises:
    DataError: The set is complete, but its splits are not those of its authors.
  """
  lengths = [length for result in results for length in result["lengths"]]
  classes = collections.Counter()
  counts = dict.fromkeys(wanted.totals, 0)
  notes = {}
  for cell, result in zip(cells, results, strict=True):
    classes.update(result["labels"])
    notes |= result["notes"]
    for split in splits.get_splits(cell):
      counts[split] += len(result["lengths"])
  broken = [line for result in results for line in result["broken"]]
  if len(lengths) == wanted.num_clips and counts != wanted.totals:
    raise errors.DataError(
      f"{len(lengths):,} clips fall into {counts}, not {wanted.totals}; please"
      " report this"
    )
  return {
    "data_set": wanted.title,
    "clips": len(lengths),
    "complete": len(lengths) == wanted.num_clips,
    "splits": counts,
    "classes": {
      action: classes[label] for label, action in enumerate(wanted.actions)
    },
    "frames": {
      "shortest": min(lengths, default=0),
      "median": float(np.median(lengths)) if lengths else 0.0,
      "longest": max(lengths, default=0),
    },
    "listed_as_incomplete": found.incomplete,
    "of_a_larger_set": found.num_others,
    "copies": found.num_copies,
    "passed_over": dict(found.passed),
    "broken": [*found.problems, *broken],
    "unusual": notes,
  }


def show(
  wanted: raw_set.RawSet,
  report: dict[str, Any],
  out: pathlib.Path,
  next_command: str,
) -> None:
  """Prints a report, and the command that trains."""
  classes = [count for count in report["classes"].values() if count]
  print(
    f"clips   {report['clips']:,} of {wording.count(len(classes), 'class')}"
  )
  for split, count in report["splits"].items():
    print(f"        {split:11} {count:6,}")
  print(f"        {min(classes):,} to {max(classes):,} a class")
  print(
    "frames  {shortest} shortest, {median:g} median, {longest} longest".format(
      **report["frames"]
    )
  )
  if report["listed_as_incomplete"]:
    print(
      f"left    {len(report['listed_as_incomplete'])} that the authors list as"
      " incomplete"
    )
  if report["of_a_larger_set"]:
    print(f"left    {report['of_a_larger_set']:,} of NTU RGB+D 120 alone")
  if report["copies"]:
    copies = wording.count(report["copies"], "copy", "copies")
    print(f"left    {copies} of the same files")
  if report["passed_over"]:
    passed = collections.Counter(report["passed_over"])
    print(f"left    {walk.describe(passed)}")
  for what, count in problems.count_notes(report["unusual"].values()).items():
    print(f"notice  {wording.count(count, 'clip')}: {what}")
  if not report["complete"]:
    print(
      f"notice  the official set has {wanted.num_clips:,} clips; figures will"
      " not compare with others'"
    )
  print(f"wrote   {out} (details: {problems.REPORT})")
  print(f"next    {next_command}")


def refuse(broken: Sequence[str], rest: str, details: str) -> None:
  """Raises DataError with the broken files.

  Args:
    broken: A line for each.
    rest: What became of the others.
    details: Where to find all lines, if more than a few are broken.
  """
  text = problems.describe(broken, f" and left out, {rest}", details)
  raise errors.DataError(f"{text}\nFetch them again.")
