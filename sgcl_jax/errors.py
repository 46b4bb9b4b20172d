# SPDX-License-Identifier: Apache-2.0
"""The mistakes that a command answers with its text instead of a traceback."""

import signal
import sys
from collections.abc import Callable


class UserError(ValueError):
  """Something that the user can put right; its text says how."""


class ConfigError(UserError):
  """A value that no run can use."""


class DataError(UserError):
  """A data set that is missing, damaged or of another layout."""


class ContrastError(UserError):
  """A contrast that would be off for a whole training."""


class WorkdirError(UserError):
  """A directory that holds another run."""


class CheckpointError(UserError):
  """A checkpoint that is missing, damaged or of another model."""


class TrainingError(UserError):
  """A run that cannot go on."""


def run(main: Callable[[], None]) -> None:
  """Calls a command's `main`; a mistake becomes a message and exit code 1."""
  # A scheduler's SIGTERM, too, has to leave nothing half-written.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    main()
  except (UserError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
