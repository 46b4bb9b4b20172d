# SPDX-License-Identifier: Apache-2.0
"""The processes of one run share values, and watch each other.

They use the store of JAX's coordination, which process 0 serves.
"""

import atexit
import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sgcl_jax.devices import relay

# How often a process says that it lives, and when the others give it up.
BEAT_SECONDS = 2.0
DEAD_SECONDS = 60.0
# Of beats that come in time if a process lives, also on a busy host.
NUM_BEATS = 5
# Ends no wait: a process that is gone ends the others.
FOREVER_MS = 10 * 24 * 3600 * 1000
# Of our keys in the store.
PREFIX = "sgcl_jax/"


def end(reason: str) -> NoReturn:
  """Ends the process at once from any thread, with a line that says why."""
  os.write(2, f"error: {reason}\n".encode())
  os._exit(1)


class Session:
  """This process among the others.

  Attributes:
    num: Number of processes.
    index: Number of this one.
  """

  def __init__(
    self, client: Any, num: int, index: int, line: relay.Relay | None = None
  ):
    """Begins to watch the others.

    Args:
      client: Client of JAX's coordination.
      num: Number of processes.
      index: Number of this one.
      line: Its connection to process 0, if it can be watched.
    """
    self.num, self.index = num, index
    self._client = client
    self._calls = 0
    self._lost = None  # Why another process is gone, once it is known.
    self._over = threading.Event()
    self._line = line
    if line is not None:
      line.on_loss = self._end
      line.patience = DEAD_SECONDS
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()

  def share(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Calls a function in process 0, see `hosts.on_first`."""
    key = f"{PREFIX}call/{self._calls}"
    self._calls += 1
    if self.index == 0:
      text = json.dumps(function(*args))
      self._client.key_value_set(key, text)
    else:
      text = self._client.blocking_key_value_get(key, FOREVER_MS)
    return json.loads(text)

  def find_reason(self) -> str:
    """Returns why another process is gone: what it says, or who is silent."""
    try:
      self._lost = self._find_failure() or self._find_gone()
    except RuntimeError:
      self._lost = "process 0 of this run is gone"
    return f"{self._lost}; this is process {self.index}"

  def part(self) -> None:
    """Ends orderly: waits for the others, and closes the connection."""
    import jax

    self._stop()
    if self._line is not None:  # It hears nothing while it waits.
      self._line.patience = math.inf
    jax.distributed.shutdown()

  def leave(self, error: BaseException) -> None:
    """Ends with an error, or as a signal asked, which all processes do.

    The caller raises the error again.
    """
    from sgcl_jax.runs import stop

    if isinstance(error, stop.Stopped):
      self.part()
      return
    self._stop()
    if self._line is not None:  # This process has its own line to print.
      self._line.on_loss = lambda reason: None
    reason = self._lost or (
      f"process {self.index} of this run has ended with an error, which it"
      " prints itself"
    )
    # It would wait for ever if process 0 is gone, too.
    thread = threading.Thread(target=self._tell, args=(reason,), daemon=True)
    thread.start()
    thread.join(timeout=NUM_BEATS * BEAT_SECONDS)
    # At the exit JAX would wait for processes that do not come any more.
    code = getattr(error, "code", 1)  # Of SystemExit.
    if isinstance(error, KeyboardInterrupt):
      code = 128 + signal.SIGINT
    atexit.register(self._exit, code if isinstance(code, int) else 1)

  def _tell(self, reason):
    with contextlib.suppress(RuntimeError):
      self._client.key_value_set(f"{PREFIX}failed/{self.index}", reason)

  def _exit(self, code):
    if self.index == 0:  # It holds what the others read.
      time.sleep(2 * BEAT_SECONDS)
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError):
        stream.flush()
    os._exit(code)

  def _stop(self):
    self._over.set()
    self._thread.join(timeout=BEAT_SECONDS)

  def _watch(self):
    """Says that this process lives, and ends it when another one does not."""
    seen = {}  # By process: its last beat, and how often it was seen again.
    beat = 0
    while not self._over.wait(BEAT_SECONDS):
      beat += 1
      key = f"{PREFIX}alive/{self.index}"
      try:
        self._client.key_value_set(key, str(beat), allow_overwrite=True)
        reason = self._find_failure() or self._find_silent(seen)
      except RuntimeError:
        reason = "process 0 of this run is gone"
      if reason and not self._over.is_set():
        self._end(reason)

  def _end(self, reason):
    end(f"{reason}; this is process {self.index}")

  def _find_failure(self):
    for _, reason in self._client.key_value_dir_get(f"{PREFIX}failed/"):
      return reason
    return None

  def _read_beats(self):
    """Returns the last beat of each process, None before the first."""
    beats = dict(self._client.key_value_dir_get(f"{PREFIX}alive/"))
    return [beats.get(f"{PREFIX}alive/{i}") for i in range(self.num)]

  def _find_silent(self, seen):
    """Returns who has not been heard for a minute of looks at the beats."""
    for i, beat in enumerate(self._read_beats()):
      before, times = seen.get(i, (beat, 0))
      seen[i] = beat, times + 1 if beat == before else 0
      if seen[i][1] * BEAT_SECONDS > DEAD_SECONDS:
        return f"process {i} of this run has not been heard for a minute"
    return None

  def _find_gone(self):
    """Returns who does not beat any more, after a loss of a connection."""
    before = self._read_beats()
    for _ in range(NUM_BEATS):
      time.sleep(BEAT_SECONDS)
      failure = self._find_failure()
      if failure:
        return failure
    beats = self._read_beats()
    gone = [
      i for i in range(self.num) if i != self.index and beats[i] == before[i]
    ]
    if not gone:
      return "the connection to another process of this run is lost"
    return " and ".join(f"process {i}" for i in gone) + (
      " of this run is gone" if len(gone) == 1 else " of this run are gone"
    )
