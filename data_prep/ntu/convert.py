# SPDX-License-Identifier: Apache-2.0
"""Converts the raw files of NTU RGB+D 60 or 120 in several processes.

One pass over the raw files for all protocols. Every clip is stored once, in the
cell of its protocols. Each cell is cut into shards before any file is read, and
a process writes whole shards. So the result does not depend on the number of
processes, and after a kill only unfinished shards are made again.
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from data_prep import problems, records, training, walk
from data_prep.ntu import (
  actors,
  raw_files,
  raw_set,
  report,
  shards,
  skeleton_file,
  workers,
)
from sgcl_jax import command, errors
from sgcl_jax.dataset import splits
from sgcl_jax.devices import cores
from sgcl_jax.runs import files
from sgcl_jax.settings import config_file
from sgcl_jax.terminal import progress, wording

# About 25 MB.
CLIPS_PER_SHARD = 512
# Number of classes that the quickstart config trains on (data_prep.synthetic).
QUICKSTART_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Options:
  """How to convert a set.

  Attributes:
    lone_person: As in a `raw_set.RawSet`, which has the default.
    alignment: As in a `shards.Shard`.
    workers: Processes; by default one per core.
    overwrite: Replace an existing data set.
  """

  lone_person: str | None = None
  alignment: str | None = None
  workers: int | None = None
  overwrite: bool = False


def convert(
  wanted: raw_set.RawSet,
  raws: Sequence[pathlib.Path],
  out: pathlib.Path,
  options: Options,
) -> None:
  """Converts a set and prints what it holds.

  Args:
    wanted: NTU RGB+D 60 or 120.
    raws: Directories and archives, see `raw_files.find`.
    out: Directory of the data set.
    options: How.

  Raises:
    DataError: There is nothing to convert, or `out` is taken. Also if files are
      broken, after the others have been converted.
  """
  # A misspelt --raw is named first: it cannot be put right by another --out.
  for raw in raws:
    walk.check_raw(raw, raw_files.WANTED)
  records.check_out(out, options.overwrite)
  shown, out = out, pathlib.Path(os.path.realpath(out))
  found = raw_set.find(wanted, raws)
  if options.lone_person is None:
    options = dataclasses.replace(options, lone_person=wanted.lone_person)
  with (
    _claim(out.with_name(f".{out.name}.incomplete")) as work,
    files.writing(out, work),
  ):
    parts, done = _plan(wanted, found.files, work, options)
    results = _run(parts, done, options.workers or cores.count_cores())
    content = report.make(wanted, found, [part.cell for part in parts], results)
    if not content["clips"]:
      shutil.rmtree(work)
      report.refuse(content["broken"], "nothing was written", "")
    written = _drop_empty(parts, results)
    files.write_json(work / shards.DATA / problems.REPORT, content)
    about = _describe(wanted, options)
    records.finish(
      work / shards.DATA, out, written, about, overwrite=options.overwrite
    )
    shutil.rmtree(work)
  clips = collections.defaultdict(collections.Counter)
  for part, result in zip(parts, results, strict=True):
    for split in splits.get_splits(part.cell):
      clips[split].update(result["labels"])
  config = _next_config(wanted, content, options.alignment)
  line = training.make_command(config, shown, clips)
  report.show(wanted, content, shown, line)
  if content["broken"]:
    details = f", see {shown / problems.REPORT}"
    report.refuse(content["broken"], f"the others are in {shown}", details)


def main(wanted: raw_set.RawSet, argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  name = wanted.name
  parser = command.Parser(
    f"data_prep.{name}",
    f"Converts the raw skeletons of {wanted.title} to TFRecords. Run"
    " again after a kill, it goes on. Exit code 1 if any file is broken.",
  )
  parser.add_argument(
    "--raw",
    type=command.path,
    nargs="+",
    required=True,
    help="directories of .skeleton files, flat or nested, or .zip archives",
  )
  parser.add_argument(
    "--out",
    type=command.path,
    help=f"directory to write (default: data/{name}, or with --align"
    f" data/{name}_aligned)",
  )
  parser.add_argument(
    "--lone_person",
    choices=("zeros", "repeat"),
    default=wanted.lone_person,
    help="second slot of a clip of one person: zeros, or the person again;"
    " default: as in the references (%(default)s)",
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
    "--workers", type=int, help="processes (default: one per core)"
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the data set at --out"
  )
  args = parser.parse_args(argv)
  config_file.check_clash(f"data_prep.{name}")
  if args.workers is not None and args.workers < 1:
    raise errors.ConfigError(f"--workers={args.workers} is less than 1")
  default = f"data/{name}{'_aligned' if args.align else ''}"
  convert(
    wanted,
    args.raw,
    args.out or pathlib.Path(default),
    Options(args.lone_person, args.align, args.workers, args.overwrite),
  )


@contextlib.contextmanager
def _claim(work: pathlib.Path) -> Iterator[pathlib.Path]:
  """Makes the working directory, and keeps a second conversion out of it."""
  made = records.make_parents(work)
  work.mkdir(exist_ok=True)
  refusal = errors.DataError(
    "another process converts to the same place; wait for it, or name another"
    " --out"
  )
  with files.claim(work, refusal):
    try:
      yield work
    finally:
      records.remove_empty(made)


def _plan(wanted, found, work, options):
  """Cuts the cells into shards; keeps finished ones of an equal plan.

  Returns:
    All shards, and the results of those that are done.
  """
  cells = collections.defaultdict(list)
  for name in sorted(found):
    cell = wanted.get_cell(skeleton_file.parse_name(name))
    cells[cell].append(found[name])
  data, results = work / shards.DATA, work / shards.RESULTS
  parts = [
    shards.Shard(
      cell,
      tuple(members[start : start + CLIPS_PER_SHARD]),
      data / f"{cell}-{start // CLIPS_PER_SHARD:05d}",
      options.lone_person,
      options.alignment,
    )
    for cell, members in sorted(cells.items())
    for start in range(0, len(members), CLIPS_PER_SHARD)
  ]
  plan = json.dumps([dataclasses.astuple(part) for part in parts], default=str)
  path = work / "plan.json"
  if path.exists() and path.read_text(encoding="utf-8") != plan:
    print("starting again: the raw files or the options have changed")
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(results, ignore_errors=True)
  files.write_text(path, plan)
  data.mkdir(exist_ok=True)
  results.mkdir(exist_ok=True)
  # A kill may leave files half-written, or already under their final names.
  begun = [part for part in parts if part.is_begun()]
  done = {part: part.read_result() for part in begun}
  done = {part: result for part, result in done.items() if result is not None}
  if len(done) < len(begun):
    damaged = wording.count(len(begun) - len(done), "finished shard")
    print(f"made again: {damaged}, damaged since")
  whole = {part.path for part in done}
  for entry in data.iterdir():
    if entry not in whole:
      entry.unlink()
  return parts, done


def _run(parts, done, num_workers):
  """Returns the results of all shards; makes those that are not done."""
  results = dict(done)
  todo = [part for part in parts if part not in results]
  if results:
    print(f"going on: {len(results)} of {len(parts)} shards are done")
  with progress.bar(
    total=sum(len(part.files) for part in parts),
    initial=sum(len(part.files) for part in results),
    unit="files",
  ) as bar:
    num_workers = min(num_workers, len(todo))
    for part, result in workers.run(shards.write, todo, num_workers):
      results[part] = result
      bar.update(len(part.files))
  return [results[part] for part in parts]


def _drop_empty(parts, results):
  """Removes shards without clips; returns the others."""
  written = []
  for part, result in zip(parts, results, strict=True):
    num_clips = len(result["lengths"])
    if num_clips:
      written.append(
        records.Shard(part.cell, part.path, num_clips, result["num_bytes"])
      )
    else:
      part.path.unlink()
  return written


def _describe(wanted, options):
  protocols = " and ".join(wanted.protocols)
  return records.Description(
    name=wanted.name,
    class_names=wanted.actions,
    num_persons=actors.NUM_PERSONS,
    num_joints=skeleton_file.NUM_JOINTS,
    text=(
      f"{wanted.title}, 3D joints in metres from the first actor's first"
      f" spine joint, cells of {protocols}."
    ),
    metadata={
      "aligned": bool(options.alignment),
      "lone_person": options.lone_person,
      # Only this one, so that other data keep the digest of older versions.
      **({"alignment": "released"} if options.alignment == "released" else {}),
    },
  )


def _next_config(wanted, content, alignment):
  if alignment:
    return f"infogcn_{wanted.name}"
  if not any(list(content["classes"].values())[QUICKSTART_CLASSES:]):
    return "quickstart"
  return f"ctrgcn_{wanted.name}"
