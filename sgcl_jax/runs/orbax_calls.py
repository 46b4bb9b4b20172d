# SPDX-License-Identifier: Apache-2.0
"""Calls of Orbax print nothing: not its log, nor tracebacks of its loops.

Its log tells of every file, and of the errors of its threads, which it raises,
too. It closes its event loop at the first array that cannot be read. The
answers for the other arrays then come to a closed loop, and each prints a
traceback.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from absl import logging


class _Patient(asyncio.SelectorEventLoop):
  """Waits for all tasks on `close`; their errors are dropped."""

  def close(self) -> None:
    tasks = asyncio.all_tasks(self)
    if tasks:
      done = asyncio.gather(*tasks, return_exceptions=True)
      self.run_until_complete(done)
    super().close()


class _Policy(asyncio.DefaultEventLoopPolicy):
  def new_event_loop(self) -> asyncio.AbstractEventLoop:
    return _Patient()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Mutes the log, and makes new event loops wait for their tasks."""
  verbosity, policy = logging.get_verbosity(), asyncio.get_event_loop_policy()
  logging.set_verbosity(logging.FATAL)
  asyncio.set_event_loop_policy(_Policy())
  try:
    yield
  finally:
    asyncio.set_event_loop_policy(policy)
    logging.set_verbosity(verbosity)
