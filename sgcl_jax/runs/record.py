# SPDX-License-Identifier: Apache-2.0
"""The log of a run: metrics.jsonl and TensorBoard events."""

import contextlib
import hashlib
import json
import os
import pathlib
import time
from typing import Any

from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from sgcl_jax import errors
from sgcl_jax.runs import files, stored
from sgcl_jax.terminal import output

NAME = "metrics.jsonl"
# Field of a checkpoint's metadata for size and digest of the log.
SEAL = "log"
# TensorBoard shows what is older than this.
FLUSH_SECONDS = 120


class Recorder:
  """Writes one line per step and split, each only once over all resumes."""

  def __init__(self, workdir: str | os.PathLike, step: int, epoch: int):
    """Opens the record of a run and drops what comes after a checkpoint.

    Args:
      workdir: Directory of the run.
      step: Steps of the checkpoint; lines of later ones are dropped.
      epoch: Epochs that it has finished; later tests are dropped.
    """
    workdir = pathlib.Path(workdir)
    _truncate(workdir, step, epoch)
    self._path = workdir / NAME
    with files.writing(self._path):
      self._file = self._path.open(
        "a", buffering=1, encoding="utf-8"
      )  # By line, for tail -f.
    self._open_events(workdir, step + 1)

  def write(self, split: str, step: int, epoch: int, **values: float) -> None:
    """Appends the values of one step of one split.

    Raises:
      DiskError: If they cannot be written.
    """
    line = {"step": step, "epoch": epoch, "split": split, **values}
    with files.writing(self._path):
      self._file.write(json.dumps(line) + "\n")
    with files.writing(self._events_path):
      for name, value in values.items():
        self._write_event(
          step=step, summary=summary.scalar(f"{split}/{name}", value)
        )
      if time.monotonic() - self._flushed > FLUSH_SECONDS:
        self._flush_events()

  def seal(self) -> dict[str, Any]:
    """Flushes; returns what a checkpoint stores, to find a changed log."""
    self.flush()
    content = self._path.read_bytes()
    return {SEAL: {"bytes": len(content), "digest": _digest(content)}}

  def flush(self) -> None:
    """Writes everything to the disk before it returns.

    Raises:
      DiskError: If it cannot be written.
      WorkdirError: If the file is no longer where it was opened.
    """
    with files.writing(self._path):
      self._file.flush()
      os.fsync(self._file.fileno())
    with files.writing(self._events_path):
      self._flush_events()
    if not self._is_there():
      raise errors.WorkdirError(
        f"{self._path} was moved or removed while the training ran: nothing"
        " more is saved; put the directory back, and the same command goes on"
      )

  def close(self) -> None:
    """Flushes and closes the record."""
    try:
      self.flush()
    finally:
      # What could not be written, `flush` has named.
      with contextlib.suppress(OSError):
        self._file.close()
      with contextlib.suppress(OSError):
        self._events.close()

  def _open_events(self, workdir, first):
    """Opens a file of events; those of `first` and later are written anew.

    The writer of tensorboardX with a thread of its own waits for ever once
    that thread cannot write.
    """
    self._events_path = workdir / "events.out.tfevents.*"
    with files.writing(self._events_path, workdir):
      self._events = event_file_writer.EventsWriter(str(workdir / "events"))
      log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._write_event(step=first, session_log=log)
      self._flush_events()

  def _write_event(self, **fields):
    self._events.write_event(event_pb2.Event(wall_time=time.time(), **fields))

  def _flush_events(self):
    self._events.flush()
    self._flushed = time.monotonic()

  def _is_there(self):
    try:
      found = os.stat(self._path)
    except FileNotFoundError:
      return False
    return os.path.samestat(found, os.fstat(self._file.fileno()))


def read(workdir: str | os.PathLike) -> list[dict]:
  """Returns the lines of a run's metrics.jsonl, none without the file.

  Raises:
    WorkdirError: If a line is damaged; names it.
  """
  workdir = pathlib.Path(workdir)
  found = [values for _, values in _parse(workdir)]
  _check_seal(workdir)
  return found


def _check_seal(workdir):
  """Prints a notice if the log is not as it was at the newest checkpoint."""
  path = workdir / NAME
  saved = (stored.read_metadata(workdir) or {}).get(SEAL)
  if saved is None or not path.exists():
    return
  content = path.read_bytes()[: saved["bytes"]]  # The training may go on.
  if _digest(content) != saved["digest"]:
    output.notice(
      f"{path} is not as it was saved: what it logs may be wrong, the training"
      " is not"
    )


def _digest(content):
  return hashlib.sha256(content).hexdigest()


def _parse(workdir):
  """Yields each whole line, and what it holds."""
  for number, line in enumerate(_lines(workdir), 1):
    try:
      values = json.loads(line)
      complete = values.keys() >= {"step", "epoch", "split"}
    except (ValueError, AttributeError):
      complete = False
    if not complete:
      raise errors.WorkdirError(
        f"{workdir / NAME}, line {number} is damaged: what it logged is lost,"
        " the training is not; remove that line, or take the file from a copy"
      )
    yield line, values


def _lines(workdir):
  """Returns the whole lines: a kill may have cut the last one short."""
  path = workdir / NAME
  if not path.exists():
    return []
  # What is no UTF-8 is replaced: the line is then found to be damaged.
  text = path.read_text(encoding="utf-8", errors="replace")
  lines = text.splitlines(keepends=True)
  return [line for line in lines if line.endswith("\n")]


def _truncate(workdir, step, epoch):
  """Drops the lines after `step`, and tests after `epoch`."""
  _check_seal(workdir)
  kept, steps = [], set()
  for text, line in _parse(workdir):
    is_test = line["split"] == "test"
    if line["step"] > step or (is_test and line["epoch"] > epoch):
      continue
    kept.append(text)
    if not is_test:
      steps.add(line["step"])
  missing = step - len(steps)
  if missing:
    output.notice(
      f"{workdir / NAME} has no line for {missing} of {step} steps:"
      " what they logged is lost, the training is not"
    )
  files.write_text(workdir / NAME, "".join(kept))
