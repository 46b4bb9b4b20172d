# SPDX-License-Identifier: Apache-2.0
"""The CSV files of a table of runs: runs, epochs, and pairs of runs."""

import csv
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sgcl_jax import errors
from sgcl_jax.results import fused, lines
from sgcl_jax.runs import files


class Tables(NamedTuple):
  """The lines of a table of runs.

  Attributes:
    runs: A line for each run, and for each fusion of streams.
    curves: A line for each epoch of a run.
    pairs: A line for each run with a baseline, see `fused.compare`.
  """

  runs: list[lines.Line]
  curves: list[lines.Line]
  pairs: list[lines.Line]


FIELDS = Tables(lines.RUN_FIELDS, lines.CURVE_FIELDS, fused.PAIR_FIELDS)


def find_paths(path: str | pathlib.Path) -> Tables:
  """Returns the files of a table: `x.csv`, `x_curves.csv`, `x_pairs.csv`."""
  path = pathlib.Path(path)
  others = [
    path.with_name(f"{path.stem}_{name}.csv") for name in ("curves", "pairs")
  ]
  return Tables(path, *others)


def read(path: str | pathlib.Path) -> Tables:
  """Returns the lines of a table, none of a file that does not exist.

  Raises:
    DataError: If a file has other columns; names the line.
  """
  found = zip(find_paths(path), FIELDS, strict=True)
  return Tables(*(_read(place, fields) for place, fields in found))


def add(
  path: str | pathlib.Path,
  runs: Sequence[lines.Line],
  epochs: Iterable[lines.Line],
) -> int:
  """Adds runs to a table; a run that is there already is replaced.

  A run that is given several times, as itself or as a copy, is one run: the
  last line of it counts.

  Streams are fused, and pairs compared, wherever the score files exist. Lines
  of other fusions and pairs stay.

  Args:
    path: Table of the runs.
    runs: See `lines.describe`.
    epochs: See `lines.describe_epochs`.

  Returns:
    The number of runs that were replaced.

  Raises:
    DataError: If a file is no such table, or if score files do not match.
  """
  old = read(path)
  names = {line["run"] for line in runs}
  replaced = len(names & {line["run"] for line in old.runs})
  by_name = {line["run"]: line for line in [*old.runs, *runs]}
  every, _, pairs = build(list(by_name.values()))
  kept = [line for line in old.curves if line["run"] not in names]
  curves = {(line["run"], line["epoch"]): line for line in [*kept, *epochs]}
  found = {line["run"] for line in pairs}
  present = {line["run"] for line in every}
  pairs += [
    line
    for line in old.pairs
    if line["run"] not in found and {line["run"], line["baseline"]} <= present
  ]
  tables = Tables(every, list(curves.values()), pairs)
  for place, table, fields in zip(
    find_paths(path), tables, FIELDS, strict=True
  ):
    if table or place.exists():
      _write(place, table, fields)
  return replaced


def build(runs: Sequence[lines.Line]) -> Tables:
  """Returns runs with their fusions and pairs, where score files exist.

  Args:
    runs: Lines of runs; fusions among them are replaced by new ones.

  Raises:
    DataError: If score files do not match.
  """
  new = fused.fuse(runs)
  known = {_identity(line) for line in new}
  kept = [line for line in runs if _identity(line) not in known]
  return Tables([*kept, *new], [], fused.compare([*kept, *new]))


def _identity(line):
  return tuple(line[name] for name in (*lines.GROUP, "seed"))


def _sort_key(line):
  # So that the same runs give the same file, in whatever order they came.
  if "epoch" in line:
    return [line["run"], int(line["epoch"])]
  group = [line[name] for name in lines.GROUP]
  return [*group, int(line["seed"]), line["run"]]


def _read(path, fields):
  if not path.exists():
    return []
  with path.open(newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file, strict=True)
    try:
      found = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
      raise errors.DataError(f"{path} is no CSV file: {error}") from error
  if tuple(reader.fieldnames or ()) != fields:
    raise errors.DataError(
      f"{path} has the columns {', '.join(reader.fieldnames or ())}; this table"
      f" has {', '.join(fields)}. Use another file"
    )
  for number, line in enumerate(found, 2):
    if None in line or None in line.values():
      raise errors.DataError(
        f"{path}, line {number}: a line has {len(fields)} values"
      )
  return found


def _write(path, table, fields):
  with (
    files.replacing(path) as partial,
    partial.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.DictWriter(file, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(table, key=_sort_key))
