# SPDX-License-Identifier: Apache-2.0
"""Event loops that finish their tasks before they close.

Orbax closes its loop at the first array that cannot be read. The answers for
the other arrays then come to a closed loop, and each prints a traceback.
"""

import asyncio
import contextlib
from collections.abc import Iterator


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
def patient() -> Iterator[None]:
  """Makes new event loops wait for their tasks before they close."""
  before = asyncio.get_event_loop_policy()
  asyncio.set_event_loop_policy(_Policy())
  try:
    yield
  finally:
    asyncio.set_event_loop_policy(before)
