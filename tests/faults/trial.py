# SPDX-License-Identifier: Apache-2.0
"""One fault, and how its outcome is judged.

The oracle is the uninterrupted run: after the fault the same command ends with
the same files, bit for bit, or one line has named the damaged file.
"""

import contextlib
import dataclasses
import pathlib
import random
import subprocess
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep import records, tfrecord
from sgcl_jax.runs import scores, stored, workdir
from tests.faults import process

# Files of a finished run that say the same each time, but for these fields.
VARYING = ("seconds", "revisions", "versions", "digest")


@dataclasses.dataclass
class Outcome:
  """What a fault did.

  Attributes:
    problem: None, or what went wrong: `lost`, `silent`, `ignored`, `unclear`
      (no single line that says why), `hung` or `half-written`.
    detail: What was seen.
    waited: Seconds from the fault to the end of the run.
  """

  problem: str | None = None
  detail: str = ""
  waited: float = 0.0


class Unsuited(Exception):
  """The fault came after the run had ended, or could not be made here."""


@dataclasses.dataclass
class Trial:
  """One fault.

  Attributes:
    root: Empty directory for it.
    data: Data set.
    whole: Workdir of the uninterrupted run.
    partial: Workdir of a run that stopped within its second epoch.
    seconds: How long a run takes, about.
    rng: Random numbers.
    disk: Where a file system of limited size is mounted, None without one.
  """

  root: pathlib.Path
  data: pathlib.Path
  whole: pathlib.Path
  partial: pathlib.Path
  seconds: float
  rng: random.Random
  disk: pathlib.Path | None = None

  @property
  def workdir(self) -> pathlib.Path:
    """The workdir that the fault hits."""
    return (self.disk or self.root) / "run"

  @contextlib.contextmanager
  def mounted(self, size: int) -> Iterator[None]:
    """Puts the workdir on a disk of so many KiB, where that is allowed."""
    self.disk = self.root / "disk"
    self.disk.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", self.disk]
    if subprocess.run(line, capture_output=True).returncode:
      raise Unsuited("no right to mount")
    try:
      yield
    finally:
      subprocess.run(["umount", "-l", self.disk], capture_output=True)

  def remount(self, option: str) -> None:
    """Changes the size of that disk, or whether it can be written."""
    line = ["mount", "-o", f"remount,{option}", self.disk]
    subprocess.run(line, check=True, capture_output=True)

  def begin(self, before=lambda: None, *more: str, **places) -> process.Run:
    """Starts or resumes the run in a fork of this process."""
    data = places.get("data", self.data)
    path = places.get("workdir", self.workdir)
    arguments = process.list_arguments(data, path, *more)
    return process.fork(arguments, before)

  def resume(self, newest: int | None, **places) -> Outcome:
    """Runs the same command to its end and compares with the whole run.

    Args:
      newest: Step of the checkpoint that it must go on from; None for any.
      **places: `workdir` and `data`, if they have moved.
    """
    path = places.get("workdir", self.workdir)
    return judge([self.begin(**places).end()], newest, path, self.whole)


def judge(
  ended: Sequence[process.Ended],
  newest: int | None,
  path: pathlib.Path,
  whole: pathlib.Path,
) -> Outcome:
  """Judges the end of a resumed run.

  Args:
    ended: Its processes; the first one writes.
    newest: Step of the checkpoint that it must go on from; None for any.
    path: Its workdir.
    whole: That of the same run without a fault.
  """
  if any(end.hung for end in ended):
    return Outcome("hung", "the resumed run")
  if any(end.code for end in ended):
    said = " | ".join(f"{end.code} {end.err[-300:]}" for end in ended)
    return Outcome("unclear", f"resumed: {said}")
  step = ended[0].resumed_step()
  if newest is not None and step < newest:
    return Outcome("lost", f"{step} of {newest} steps")
  different = find_difference(path, whole)
  if different:
    return Outcome("silent", different)
  left = find_left_over(path)
  return Outcome("half-written", left) if left else Outcome()


def find_newest(path: pathlib.Path) -> int:
  """Returns the step of the newest whole checkpoint, 0 without one."""
  folders = path.glob("checkpoints/*/_CHECKPOINT_METADATA")
  steps = [f.parent.name for f in folders if f.parent.name.isdecimal()]
  return max(map(int, steps), default=0)


def find_left_over(path: pathlib.Path) -> str | None:
  """Returns a file that a finished run should not have."""
  for found in path.rglob("*"):
    if ".open-" in found.name or found.name.endswith("-tmp"):
      return str(found.relative_to(path))
  return None


def find_difference(path: pathlib.Path, whole: pathlib.Path) -> str | None:
  """Returns the first file that is not that of the uninterrupted run."""
  for name in ("metrics.jsonl", workdir.CLASSES):
    if (path / name).read_bytes() != (whole / name).read_bytes():
      return name
  ours, theirs = (stored.read_metadata(p) or {} for p in (path, whole))
  for name in ("digests", "epoch", "classes", "data", "test", "step"):
    ours_value, theirs_value = ours.get(name), theirs.get(name)
    if name == "test":
      ours_value, theirs_value = ours_value["digest"], theirs_value["digest"]
    if ours_value != theirs_value:
      return f"checkpoint: {name}"
  name = pathlib.Path("scores", "xview_joint.npz")
  ours, theirs = scores.read(path / name), scores.read(whole / name)
  for field, a, b in zip(ours._fields, ours, theirs, strict=True):
    if not np.array_equal(a, b):
      return f"{name}: {field}"
  ours, theirs = workdir.read_summary(path), workdir.read_summary(whole)
  for key in ours.keys() | theirs.keys():
    if key not in VARYING and key != "data" and ours[key] != theirs[key]:
      return f"summary.json: {key}"
  return None


def write_data(path: pathlib.Path, seed: int = 0) -> None:
  """Writes the data set of the tiny runs: 48 clips to train, 13 to test."""
  rng = np.random.default_rng(seed)
  directions = rng.normal(size=(10, 20, 3))

  def make(name, label):
    sway = np.sin(np.arange(rng.integers(1, 12)) * (1 + label))[:, None, None]
    skeleton = directions[label] * (1 + sway) + rng.normal(size=(20, 3)) / 4
    return tfrecord.Clip(name, label, skeleton[:, None].astype(np.float32))

  clips = [
    (cell, make(f"{cell}_{i:03}", i % 10))
    for cell, count in (("test", 13), ("train", 48))
    for i in range(count)
  ]
  names = [f"class {i}" for i in range(10)]
  about = records.Description("tiny", names, 1, 20, metadata={"aligned": False})
  records.write_dataset(path, clips, about)
