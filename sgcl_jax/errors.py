# SPDX-License-Identifier: Apache-2.0
"""The mistakes that a command answers with its text instead of a traceback."""

import signal
import sys
from collections.abc import Callable

from absl import app, flags

# What a command says of a Ctrl-C that costs nothing.
RESUMABLE = "interrupted; the same command goes on from here"
# What absl and ml_collections raise at flags that cannot be parsed.
_PARSING_ERRORS = (
  flags.Error,
  ValueError,
  AttributeError,
  KeyError,
  TypeError,
  OSError,
)


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


def run(main: Callable[[], None], on_interrupt: str = "interrupted") -> None:
  """Calls a command's `main`; a mistake becomes a message and exit code 1."""
  # A scheduler's SIGTERM, too, has to leave nothing half-written.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    main()
  except UserError as error:
    _fail(error)
  except OSError as error:
    _fail(_in_one_line(error))
  except KeyboardInterrupt:
    print(on_interrupt, file=sys.stderr)
    sys.exit(130)


def run_with_flags(
  main: Callable[[], None], on_interrupt: str = "interrupted"
) -> None:
  """Like `run`, for a command that takes absl flags alone."""

  def checked(argv):
    if len(argv) > 1:
      raise ConfigError(f"unexpected arguments: {' '.join(argv[1:])}")
    main()

  app.run(
    lambda argv: run(lambda: checked(argv), on_interrupt), flags_parser=_parse
  )


def _parse(argv):
  try:
    return flags.FLAGS(argv)
  except _PARSING_ERRORS as error:
    _fail(_in_one_line(error))
  except SystemExit as stop:
    # absl ends its help with 1, which is no failure; a config's own end may be.
    helped = any(arg.lstrip("-").startswith("help") for arg in argv[1:])
    sys.exit(0 if helped else stop.code)


def _in_one_line(error):
  while error.args and isinstance(error.args[0], Exception):
    error = error.args[0]
  if isinstance(error, KeyError):  # Its text is a repr.
    return f"no such key: {' '.join(str(error.args[0]).split())}"
  lines = str(error).strip().splitlines() or [type(error).__name__]
  if any("Traceback" in line for line in lines):
    return lines[-1].partition(": ")[2]  # A config's own error.
  if "Failed loading config file" in lines[0]:
    return lines[-1].strip()
  return " ".join(" ".join(lines).split())


def _fail(message):
  print(f"error: {message}", file=sys.stderr)
  sys.exit(1)
