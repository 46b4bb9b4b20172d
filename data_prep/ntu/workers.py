# SPDX-License-Identifier: Apache-2.0
"""Runs the parts of a conversion in several processes."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sgcl_jax import errors


def run(
  function: Callable[[Any], Any], parts: Sequence[Any], num_workers: int
) -> Iterator[tuple[Any, Any]]:
  """Yields each part with the function's result, in the order they finish.

  Args:
    function: Of one part; importable by name.
    parts: Hashable and picklable.
    num_workers: Processes; with at most one, this process does the work.

  Raises:
    DataError: A process was killed.
  """
  if num_workers <= 1:
    for part in parts:
      yield part, function(part)
    return
  # Spawned: a fork of a process with threads may hang.
  with concurrent.futures.ProcessPoolExecutor(
    num_workers,
    multiprocessing.get_context("spawn"),
    initializer=_start_worker,
  ) as pool:
    try:
      with _interrupt_put_off():
        futures = {pool.submit(function, part): part for part in parts}
      for future in concurrent.futures.as_completed(futures):
        yield futures[future], future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
      raise errors.DataError(
        "a worker process was killed, perhaps for lack of memory; the same"
        " command goes on from here, with fewer --workers if need be"
      ) from error
    finally:
      pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupt_put_off():
  """Delays a Ctrl-C in this process and in those that it starts meanwhile.

  Started processes inherit the signals that this thread blocks; without that,
  each would print a traceback. A thread of a library may still receive the
  signal of this process, so a handler notes it: an exception in the middle of a
  process start would print a traceback, too.
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
  # The parent answers a Ctrl-C.
  signal.signal(signal.SIGINT, signal.SIG_IGN)

  def follow():
    multiprocessing.parent_process().join()
    os._exit(1)  # Otherwise the workers of a killed parent would write on.

  threading.Thread(target=follow, daemon=True).start()
