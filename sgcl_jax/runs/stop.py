# SPDX-License-Identifier: Apache-2.0
"""Signals that ask a run to stop set a flag, which the run reads.

A handler that raises would not do: JAX calls Python while it collects garbage,
and an exception from there is printed and forgotten.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

from sgcl_jax.devices import parallel

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A launcher may pass a signal on to a process that also gets it directly.
SAME_SECONDS = 1.0


class Stopped(SystemExit):
  """A run that has stopped as asked; the exit code is 128 plus the signal."""


class Flag:
  """Whether a run was asked to stop, and all its processes with it.

  Attributes:
    number: The signal, or None.
  """

  def __init__(self):
    self.number = None
    self._since = 0.0
    self._poll = parallel.Poll()

  def set(self, number: int) -> None:
    """Asks to stop; a second time, more than a second later, ends at once."""
    now = time.monotonic()
    if self.number is None:
      self.number, self._since = number, now
      # Not `print`: the signal may have interrupted one.
      name = signal.Signals(number).name
      os.write(
        2,
        f"\n{name}: stops after this step (a compilation is finished first);"
        " a second signal ends at once\n".encode(),
      )
    elif now - self._since > SAME_SECONDS:
      signal.signal(number, signal.SIG_DFL)
      signal.raise_signal(number)

  def poll(self, is_due: bool) -> tuple[bool, bool]:
    """Asks all processes, between two steps; see `parallel.Poll`.

    Args:
      is_due: Whether this process finds that a checkpoint is due.

    Returns:
      Whether a process was asked to stop, and whether one is due.
    """
    number, is_due = self._poll.ask(self.number or 0, int(is_due))
    self.number = number or self.number
    return bool(number), bool(is_due)

  def interrupt(self) -> None:
    """Raises Stopped if the flag of a process is set; all processes call it."""
    if self._is_set():
      raise Stopped(128 + self.number)

  def end(self, message: str) -> NoReturn:
    """Prints a message and raises Stopped."""
    print(message, file=sys.stderr, flush=True)
    raise Stopped(128 + self.number)

  def check(self, message: str) -> None:
    """Does the same as `end` if a flag is set; all processes call it."""
    if self._is_set():
      self.end(message)

  def _is_set(self):
    (number,) = parallel.agree(self.number or 0)
    self.number = number or self.number
    return bool(number)


@contextlib.contextmanager
def listen() -> Iterator[Flag]:
  """Yields a flag that SIGTERM, SIGINT and SIGHUP set.

  A signal that is ignored stays so, such as SIGHUP under nohup. Outside of the
  main thread Python has no handlers, and the flag stays unset.
  """
  flag, previous = Flag(), {}
  if threading.current_thread() is threading.main_thread():
    for number in SIGNALS:
      if signal.getsignal(number) not in (signal.SIG_IGN, None):
        previous[number] = signal.signal(number, lambda n, _: flag.set(n))
  try:
    yield flag
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
  flag.check("stopped; the files of the run are whole")
