# SPDX-License-Identifier: Apache-2.0
"""The processes of one run share values, and watch each other.

They use the store of JAX's coordination, which process 0 serves.
"""

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

# How often a process says that it lives, and when the others give it up. JAX
# would do so after 100 seconds, with a stack trace.
BEAT_SECONDS = 2.0
DEAD_SECONDS = 60.0
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

  def __init__(self, client: Any, num: int, index: int):
    """Begins to watch the others.

    Args:
      client: Client of JAX's coordination.
      num: Number of processes.
      index: Number of this one.
    """
    self.num, self.index = num, index
    self._client = client
    self._calls = 0
    self._over = threading.Event()
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
    """Returns why another process is gone, as far as it has said so."""
    time.sleep(BEAT_SECONDS)
    try:
      return self._find_failure() or "another process of this run is gone"
    except RuntimeError:
      return "process 0 of this run is gone"

  def part(self) -> None:
    """Ends orderly: waits for the others, and closes the connection."""
    import jax

    self._stop()
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
    with contextlib.suppress(RuntimeError):
      self._client.key_value_set(
        f"{PREFIX}failed/{self.index}", type(error).__name__
      )
    # At the exit JAX would wait for processes that do not come any more.
    code = getattr(error, "code", 1)  # Of SystemExit.
    if isinstance(error, KeyboardInterrupt):
      code = 128 + signal.SIGINT
    atexit.register(self._exit, code if isinstance(code, int) else 1)

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
    last = {}  # By process: its last beat, and when it was seen.
    beat = 0
    while not self._over.wait(BEAT_SECONDS):
      beat += 1
      key = f"{PREFIX}alive/{self.index}"
      try:
        self._client.key_value_set(key, str(beat), allow_overwrite=True)
        reason = self._find_failure() or self._find_silent(last)
      except RuntimeError:
        reason = "process 0 of this run is gone"
      if reason and not self._over.is_set():
        end(f"{reason}; this is process {self.index}")

  def _find_failure(self):
    for key, _ in self._client.key_value_dir_get(f"{PREFIX}failed/"):
      return (
        f"process {key.rpartition('/')[2]} of this run has ended with an error,"
        " which it prints itself"
      )
    return None

  def _find_silent(self, last):
    now = time.monotonic()
    beats = dict(self._client.key_value_dir_get(f"{PREFIX}alive/"))
    for i in range(self.num):
      beat = beats.get(f"{PREFIX}alive/{i}")
      if i not in last or last[i][0] != beat:
        last[i] = beat, now
      elif now - last[i][1] > DEAD_SECONDS:
        return f"process {i} of this run has not been heard for a minute"
    return None
