# SPDX-License-Identifier: Apache-2.0
"""Converts the raw files of NTU RGB+D 60 or 120 in several processes.

One pass over the raw files for all protocols. Every clip is stored once, in the
cell of its protocols; a cell is cut into shards before anything is read, and a
process writes whole shards. So the result does not depend on the number of
processes, and after a kill only unfinished shards are made again.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tqdm

from data_prep import (
  align,
  ntu,
  ntu_report,
  ntu_set,
  raw_files,
  records,
  tfrecord,
)
from sgcl_jax import errors, machine

# About 25 MB.
CLIPS_PER_SHARD = 512
# In the directory to work in: the data set to be, and what workers found.
DATA, RESULTS = "data", "results"
# Classes of data_prep.synthetic, for which there is a config of its own.
QUICKSTART_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Shard:
  """The work of one process at a time.

  Attributes:
    cell: Split of TensorFlow Datasets.
    files: Raw files, by name.
    path: Where the records go.
    lone_person: As of an `ntu_set.RawSet`.
    alignment: None, or `own` or `released` (see `align.align`).
  """

  cell: str
  files: tuple[raw_files.RawFile, ...]
  path: pathlib.Path
  lone_person: str
  alignment: str | None

  @property
  def result_path(self) -> pathlib.Path:
    """Where the worker says what it did, once the shard is whole."""
    return self.path.parent.with_name(RESULTS) / f"{self.path.name}.json"

  def is_done(self) -> bool:
    """Tells whether the shard is there and whole."""
    return self.path.exists() and self.result_path.exists()


def read_clip(
  file: raw_files.RawFile, lone_person: str, alignment: str | None
) -> tuple[tfrecord.Clip, list[str]]:
  """Turns one raw file into a clip.

  Args:
    file: The raw file.
    lone_person: As of an `ntu_set.RawSet`.
    alignment: As of a `Shard`.

  Returns:
    The clip, [T, 2, 25, 3], and what was unusual about it.

  Raises:
    DataError: The file is not sound; names the line.
  """
  joints, notes = ntu.parse_clip(raw_files.read(file))
  if joints.shape[1] == 1 and lone_person == "repeat":
    joints = np.repeat(joints, 2, axis=1)
  joints = ntu.pad_persons(joints)
  if alignment:
    joints, unusual = align.align(joints, as_released=alignment == "released")
    notes = [*notes, *unusual]
  label = ntu.parse_name(file.stem).action - 1
  return tfrecord.Clip(file.stem, label, joints), notes


def convert_shard(shard: Shard) -> dict[str, Any]:
  """Writes one shard; returns, and leaves beside it, what the report needs."""
  result = {"lengths": [], "labels": [], "broken": [], "notes": {}}
  writer = tfrecord.RecordWriter(shard.path)
  for file in shard.files:
    try:
      clip, notes = read_clip(file, shard.lone_person, shard.alignment)
    except errors.DataError as error:
      result["broken"].append(f"{file}: {error}")
      continue
    writer.write(clip)
    result["lengths"].append(len(clip.skeleton))
    result["labels"].append(clip.label)
    if notes:
      result["notes"][clip.name] = notes
  writer.close()
  result["num_bytes"] = writer.num_bytes
  records.write_text(shard.result_path, json.dumps(result))
  return result


def convert(
  raw_set: ntu_set.RawSet,
  raws: Sequence[pathlib.Path],
  out: pathlib.Path,
  *,
  lone_person: str | None = None,
  alignment: str | None = None,
  workers: int | None = None,
  overwrite: bool = False,
) -> None:
  """Converts a set and prints what it holds.

  Args:
    raw_set: Which.
    raws: Directories and archives, see `raw_files.find`.
    out: Directory of the data set.
    lone_person: As of an `ntu_set.RawSet`, whose it is by default.
    alignment: As of a `Shard`.
    workers: Processes; by default one per core.
    overwrite: Replace a data set that is there.

  Raises:
    DataError: There is nothing to convert, or `out` is taken. Also if files are
      broken, after the others have been converted.
  """
  out = pathlib.Path(os.path.realpath(out))
  records.check_out(out, overwrite)
  found = ntu_set.find(raw_set, raws)
  lone_person = lone_person or raw_set.lone_person
  with _claim(out.with_name(f".{out.name}.incomplete")) as work:
    shards = _plan(raw_set, found.files, work, lone_person, alignment)
    results = _run(shards, workers or machine.count_cores())
    cells = [shard.cell for shard in shards]
    report = ntu_report.make(raw_set, found, cells, results)
    if not report["clips"]:
      shutil.rmtree(work)
      ntu_report.refuse(report["broken"], "nothing was written", "")
    about = records.Description(
      name=raw_set.name,
      class_names=raw_set.actions,
      num_persons=ntu.NUM_PERSONS,
      num_joints=ntu.NUM_JOINTS,
      text=(
        f"{raw_set.title}, 3D joints in metres from the first actor's first"
        f" spine joint, cells of {' and '.join(raw_set.protocols)}."
      ),
      metadata={"aligned": bool(alignment), "lone_person": lone_person},
    )
    written = []
    for shard, result in zip(shards, results, strict=True):
      num_clips = len(result["lengths"])
      if num_clips:
        written.append(
          records.Shard(shard.cell, shard.path, num_clips, result["num_bytes"])
        )
      else:
        shard.path.unlink()
    data = work / DATA
    text = json.dumps(report, indent=1) + "\n"
    records.write_text(data / ntu_report.NAME, text)
    records.finish(data, out, written, about, overwrite=overwrite)
    shutil.rmtree(work)
  config = _next_config(raw_set, report, alignment)
  ntu_report.show(raw_set, report, out, config)
  if report["broken"]:
    details = f", see {out / ntu_report.NAME}"
    ntu_report.refuse(report["broken"], f"the others are in {out}", details)


@contextlib.contextmanager
def _claim(work: pathlib.Path) -> Iterator[pathlib.Path]:
  """Makes the directory to work in, and keeps a second conversion out of it."""
  made = records.make_parents(work)
  work.mkdir(exist_ok=True)
  with (work / "lock").open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise errors.DataError(
        "another process converts to the same place; wait for it, or name"
        " another --out"
      ) from error
    try:
      yield work
    finally:
      records.remove_empty(made)


def _plan(raw_set, files, work, lone_person, alignment):
  """Cuts the cells into shards, and keeps finished ones of the same plan."""
  cells = collections.defaultdict(list)
  for name in sorted(files):
    cells[raw_set.get_cell(ntu.parse_name(name))].append(files[name])
  shards = [
    Shard(
      cell,
      tuple(members[start : start + CLIPS_PER_SHARD]),
      work / DATA / f"{cell}-{start // CLIPS_PER_SHARD:05d}",
      lone_person,
      alignment,
    )
    for cell, members in sorted(cells.items())
    for start in range(0, len(members), CLIPS_PER_SHARD)
  ]
  plan = json.dumps(
    [dataclasses.astuple(shard) for shard in shards], default=str
  )
  path = work / "plan.json"
  if path.exists() and path.read_text() != plan:
    print("starting anew: the raw files or the options are not as before")
    for entry in (work / DATA, work / RESULTS):
      shutil.rmtree(entry, ignore_errors=True)
  records.write_text(path, plan)
  for entry in (work / DATA, work / RESULTS):
    entry.mkdir(exist_ok=True)
  # What a kill left half-written, or half-way to its final name.
  whole = {shard.path for shard in shards if shard.is_done()}
  for entry in (work / DATA).iterdir():
    if entry not in whole:
      entry.unlink()
  return shards


def _run(shards, workers):
  """Returns the shards' results, of those that are there and of new ones."""
  results = {
    shard: json.loads(shard.result_path.read_text())
    for shard in shards
    if shard.is_done()
  }
  todo = [shard for shard in shards if shard not in results]
  if results:
    print(f"going on: {len(results)} of {len(shards)} shards are there")
  with tqdm.tqdm(
    total=sum(len(shard.files) for shard in shards),
    initial=sum(len(shard.files) for shard in results),
    unit=" files",
    disable=None,
  ) as bar:
    for shard, result in _map(todo, min(workers, len(todo))):
      results[shard] = result
      bar.update(len(shard.files))
  return [results[shard] for shard in shards]


def _map(shards, workers):
  """Yields shards and their results as they are finished."""
  if workers <= 1:
    for shard in shards:
      yield shard, convert_shard(shard)
    return
  # Spawned, as a fork of whatever the caller has loaded may hang.
  with concurrent.futures.ProcessPoolExecutor(
    workers,
    multiprocessing.get_context("spawn"),
    initializer=_start_worker,
  ) as pool:
    try:
      with _interrupt_put_off():
        futures = {pool.submit(convert_shard, shard): shard for shard in shards}
      for future in concurrent.futures.as_completed(futures):
        yield futures[future], future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
      raise errors.DataError(
        "a worker process was killed, perhaps for want of memory; the same"
        " command goes on from here, with fewer --workers if need be"
      ) from error
    finally:
      pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupt_put_off():
  """Lets a Ctrl-C wait, in this process and in those that it starts meanwhile.

  They inherit what the thread blocks; without it each would print a traceback.
  But a library's thread may take the signal of this process, whence the
  handler: an exception half-way through a start is a traceback there too.
  """
  pressed = []
  handler = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGINT, handler)
  if pressed:
    raise KeyboardInterrupt


def _start_worker():
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent's to answer.

  def follow():
    multiprocessing.parent_process().join()
    os._exit(1)  # Else a killed parent's workers would write on.

  threading.Thread(target=follow, daemon=True).start()


def _next_config(raw_set, report, alignment):
  if alignment:
    return f"infogcn_{raw_set.name}"
  if not any(list(report["classes"].values())[QUICKSTART_CLASSES:]):
    return "quickstart"
  return f"ctrgcn_{raw_set.name}"


def main(raw_set: ntu_set.RawSet, argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = argparse.ArgumentParser(
    prog=f"python -m data_prep.{raw_set.name}",
    description=f"Converts the raw skeletons of {raw_set.title} to TFRecords."
    " Run again after a kill, it goes on. Exit code 1 if any file is broken.",
  )
  parser.add_argument(
    "--raw",
    type=pathlib.Path,
    nargs="+",
    required=True,
    help="directories of .skeleton files, flat or nested, or .zip archives",
  )
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    help=f"directory to write (default: data/{raw_set.name}, or with --align"
    f" data/{raw_set.name}_aligned)",
  )
  parser.add_argument(
    "--lone_person",
    choices=("zeros", "repeat"),
    default=raw_set.lone_person,
    help="second slot of a clip of one person: zeros, or the person again;"
    " default: as the references have it (%(default)s)",
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
  default = f"data/{raw_set.name}{'_aligned' if args.align else ''}"
  convert(
    raw_set,
    args.raw,
    args.out or pathlib.Path(default),
    lone_person=args.lone_person,
    alignment=args.align,
    workers=args.workers,
    overwrite=args.overwrite,
  )
