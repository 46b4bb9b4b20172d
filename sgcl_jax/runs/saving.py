# SPDX-License-Identifier: Apache-2.0
"""When a run saves a checkpoint, and which ones it keeps."""

import dataclasses
import time


@dataclasses.dataclass(frozen=True)
class Saving:
  """When to save, besides the end of each epoch.

  Attributes:
    every_minutes: A checkpoint is due so long after the last one; None for the
      ends of epochs alone.
    keep_every_epochs: Every so many epochs a checkpoint is kept for good; None
      for the last two alone.
  """

  every_minutes: float | None = 10.0
  keep_every_epochs: int | None = None


class Clock:
  """Tells when a checkpoint is due."""

  def __init__(self, saving: Saving):
    """Starts the clock."""
    self._seconds = saving.every_minutes and saving.every_minutes * 60
    self.reset()

  def reset(self) -> None:
    """Starts again, after a checkpoint."""
    self._last = time.monotonic()

  def is_due(self) -> bool:
    """Returns whether the last checkpoint is older than `every_minutes`."""
    if self._seconds is None:
      return False
    return time.monotonic() - self._last >= self._seconds
