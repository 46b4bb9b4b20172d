# SPDX-License-Identifier: Apache-2.0
"""The log of a run: metrics.jsonl and TensorBoard events."""

import json
import os
import pathlib

import tensorboardX

from sgcl_jax import errors
from sgcl_jax.runs import files
from sgcl_jax.terminal import output

NAME = "metrics.jsonl"


class Recorder:
  """Writes one line per step and split, each only once over all resumes."""

  def __init__(self, workdir: str | os.PathLike, step: int, epoch: int):
    """Opens the record of a run and drops what comes after a checkpoint.

    Args:
      workdir: Directory of the run.
      step: Steps of the checkpoint; lines of later ones are dropped.
      epoch: Epochs that it has finished; later tests are dropped.
    """
    _truncate(pathlib.Path(workdir), step, epoch)
    path = pathlib.Path(workdir) / NAME
    self._file = path.open(
      "a", buffering=1, encoding="utf-8"
    )  # By line, for tail -f.
    self._events = tensorboardX.SummaryWriter(str(workdir), purge_step=step + 1)

  def write(self, split: str, step: int, epoch: int, **values: float) -> None:
    """Appends the values of one step of one split."""
    line = {"step": step, "epoch": epoch, "split": split, **values}
    self._file.write(json.dumps(line) + "\n")
    for name, value in values.items():
      self._events.add_scalar(f"{split}/{name}", value, step)

  def flush(self) -> None:
    """Writes everything to the disk before it returns."""
    self._file.flush()
    os.fsync(self._file.fileno())
    self._events.flush()

  def close(self) -> None:
    """Flushes and closes the record."""
    self.flush()
    self._file.close()
    self._events.close()


def read(workdir: str | os.PathLike) -> list[dict]:
  """Returns the lines of a run's metrics.jsonl, none without the file.

  Raises:
    WorkdirError: If a line is damaged; names it.
  """
  return [values for _, values in _parse(pathlib.Path(workdir))]


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
