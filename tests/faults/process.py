# SPDX-License-Identifier: Apache-2.0
"""Runs of the tiny backbone in processes that a fault hits.

A run is a fork of this process, which has imported JAX and computed nothing: it
costs a second where a new process costs four.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

from sgcl_jax import command, main
from tests.conftest import ROOT, TINY

FIELDS = {**TINY, "optim.num_epochs": 2}
STEPS_PER_EPOCH = 12
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HANG_SECONDS = 120.0
PIPE_BYTES = 2**20
POLL_SECONDS = 0.02
# A longer pause between two looks is one of this process, not of the run's.
PAUSE_SECONDS = 2.0
COMPILING = "the first step takes longer"
# JAX warns in two lines where its compilation cache cannot be read or written,
# and Gloo tells of its connections.
NOTICE = re.compile(
  r"notice: |.*persistent compilation cache|  warnings.warn|\[Gloo\] Rank"
)
RESUMED = re.compile(r"resumed after (?:step (\d+) of )?epoch (\d+)")


@dataclasses.dataclass
class Ended:
  """How a run ended.

  Attributes:
    code: Exit code, negative after a signal that nobody handled.
    out: Standard output.
    err: Standard error.
    waited: Seconds from the fault to the end.
    hung: Whether it had to be killed after `HANG_SECONDS`.
  """

  code: int
  out: str
  err: str
  waited: float
  hung: bool

  def messages(self) -> list[str]:
    """Returns the lines of standard error but for notices and progress."""
    lines = [line for line in self.err.splitlines() if line.strip()]
    return [line for line in lines if not NOTICE.match(line)]

  def is_one_line(self) -> bool:
    """Tells whether it ended with one line that says why."""
    lines = self.messages()
    return self.code == 1 and len(lines) == 1 and lines[0].startswith("error: ")

  def resumed_step(self) -> int:
    """Returns the step that the run went on from, 0 for the beginning."""
    found = RESUMED.search(self.out)
    if not found:
      return 0
    steps, epoch = found.groups()
    done = STEPS_PER_EPOCH * (int(epoch) - (steps is not None))
    return done + int(steps or 0)


def list_arguments(
  data: pathlib.Path, workdir: pathlib.Path, *more: str
) -> list[str]:
  """Returns the arguments of `python -m sgcl_jax.main`."""
  fields = {**FIELDS, "data.dir": data}
  return [
    "--config=configs/ctrgcn_ucla.py",
    *(f"--config.{key}={value}" for key, value in fields.items()),
    f"--workdir={workdir}",
    *more,
  ]


class Run:
  """A run that has begun."""

  def __init__(self, pid: int, pipes: "Pipes"):
    self.pid = pid
    self._pipes = pipes
    self._begin = time.monotonic()
    self._code = None

  def read(self) -> tuple[str, str]:
    """Returns what it has written to standard output and error."""
    return self._pipes.read()

  def is_alive(self) -> bool:
    """Tells whether it has not ended yet."""
    if self._code is None:
      pid, status = os.waitpid(self.pid, os.WNOHANG)
      if pid:
        self._code = os.waitstatus_to_exitcode(status)
    return self._code is None

  def wait_until(self, is_reached: Callable[[], bool]) -> bool:
    """Waits for a moment; returns whether the run is still alive then."""
    while self.is_alive() and not is_reached():
      time.sleep(POLL_SECONDS)
    return self.is_alive()

  def wait_for(self, seconds: float) -> bool:
    """Waits until so many seconds after its start."""
    end = self._begin + seconds
    return self.wait_until(lambda: time.monotonic() >= end)

  def hit(self, number: int) -> None:
    """Sends a signal."""
    os.kill(self.pid, number)

  def end(self) -> Ended:
    """Waits for the end; kills the run if it does not come."""
    waited, last, hung = 0.0, time.monotonic(), False
    while self.is_alive():
      time.sleep(POLL_SECONDS)
      now = time.monotonic()
      # A pause of the whole process group does not count.
      waited += now - last if now - last < PAUSE_SECONDS else 0.0
      last = now
      if waited > HANG_SECONDS:
        hung = True
        os.kill(self.pid, signal.SIGKILL)
    out, err = self.read()
    self._pipes.close()
    return Ended(self._code, out, err, waited, hung)


class Pipes:
  """Two pipes that hold what a run writes.

  Not files: a limit of the size of files would cut them, too.
  """

  def __init__(self):
    pairs = [os.pipe(), os.pipe()]
    self._read_ends = [pair[0] for pair in pairs]
    self.write_ends = [pair[1] for pair in pairs]
    self._found = [b"", b""]
    for end in self._read_ends:
      os.set_blocking(end, False)
      fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

  def start_reading(self) -> None:
    """Closes this process's ends to write to."""
    for end in self.write_ends:
      os.close(end)

  def read(self) -> tuple[str, str]:
    """Returns all that was written so far."""
    for i, end in enumerate(self._read_ends):
      with contextlib.suppress(BlockingIOError):
        while piece := os.read(end, PIPE_BYTES):
          self._found[i] += piece
    out, err = (text.decode("utf-8", "replace") for text in self._found)
    return out, err

  def close(self) -> None:
    """Closes what is left."""
    for end in self._read_ends:
      os.close(end)


def fork(
  arguments: Sequence[str], before: Callable[[], object] = lambda: None
) -> Run:
  """Starts a run in a fork of this process.

  Args:
    arguments: Of `python -m sgcl_jax.main`.
    before: Called in the new process before the command.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  pipes = Pipes()
  pid = os.fork()
  if not pid:
    for number, end in enumerate(pipes.write_ends, 1):
      os.dup2(end, number)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w")
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1)
    os._exit(_work(arguments, before))
  pipes.start_reading()
  return Run(pid, pipes)


def _work(arguments, before):
  """Calls the command as a new process would; returns the exit code."""
  code = 1
  try:
    os.chdir(ROOT)
    sys.argv = ["sgcl_jax.main", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before()
    command.run(main.main, interrupted=command.RESUMABLE)
    code = 0
  except SystemExit as end:
    code = end.code
  except BaseException:
    traceback.print_exc()
  # What the end of an interpreter does: it waits for threads, and flushes.
  for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
      with contextlib.suppress(Exception):
        thread.join()
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError):
      stream.flush()
  return code


def start(arguments: Sequence[str], **environment: str) -> Run:
  """Starts a run as a new process."""
  pipes = Pipes()
  out, err = pipes.write_ends
  process = subprocess.Popen(
    [sys.executable, "-m", "sgcl_jax.main", *arguments],
    cwd=ROOT,
    env={**os.environ, **environment},
    stdout=out,
    stderr=err,
  )
  process.returncode = 0  # `Run` waits for it.
  pipes.start_reading()
  return Run(process.pid, pipes)
