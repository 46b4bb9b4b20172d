# SPDX-License-Identifier: Apache-2.0
"""How every command parses its arguments, reports mistakes and ends.

A command is a function `main(argv)`. It parses its arguments with a `Parser`
and raises `errors.UserError` on a mistake. Started from the shell, it runs
inside `run`.
"""

import argparse
import contextlib
import difflib
import json
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from ml_collections import ConfigDict

import sgcl_jax
from sgcl_jax import errors
from sgcl_jax.settings import config_file, fields
from sgcl_jax.terminal import output, paths, wording

# JAX's error begins with this when a device has too little memory.
EXHAUSTED = "RESOURCE_EXHAUSTED"
# Printed after a Ctrl-C by commands that can be resumed.
RESUMABLE = "interrupted; the same command goes on from here"
# Remedies for too little memory, without and with a config.
MORE_MEMORY = "free some memory, or use a machine that has more"
LESS_MEMORY = (
  "lower --config.batch_size or --config.eval_batch_size, or set"
  " --config.model.remat=true"
)


def run(
  main: Callable[[], Any],
  *,
  interrupted: str = "interrupted",
) -> None:
  """Calls a command's `main` and ends the process if it fails.

  The exit code is 0 on success, 1 after a mistake of the user or an error of
  the operating system, and 128 plus the signal's number after a signal. Any
  other exception is a bug; its traceback is printed.

  Args:
    main: The command; called without arguments, so it parses `sys.argv`.
    interrupted: Message to print after a Ctrl-C.
  """
  # SystemExit runs the clean-up code, so that a scheduler's SIGTERM leaves
  # nothing half-written.
  stop = lambda *_: sys.exit(128 + signal.SIGTERM)
  before = signal.signal(signal.SIGTERM, stop)
  # The work goes on if a terminal cannot show a character, or a reader left.
  sys.stdout = output.outlast(sys.stdout, sys.__stdout__)
  sys.stderr = output.outlast(sys.stderr, sys.__stderr__)
  try:
    main()
    sys.stdout.flush()  # Here an error of it ends the command as any other.
  except errors.UserError as error:
    _fail(str(error))
  except OSError as error:
    _fail(describe(error))
  except (MemoryError, RuntimeError) as error:  # JAX raises the second.
    if isinstance(error, RuntimeError) and EXHAUSTED not in str(error):
      raise
    remedy = LESS_MEMORY if Parser.with_config else MORE_MEMORY
    _fail(f"out of memory ({wording.in_one_line(error)[:200]}); {remedy}")
  except KeyboardInterrupt as error:  # Its text, if the command gave it one.
    print(str(error) or interrupted, file=sys.stderr)
    sys.exit(128 + signal.SIGINT)
  finally:
    # Nothing is left to clean up, and SystemExit in a function of `atexit`
    # would be printed.
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def describe(error: OSError) -> str:
  """Returns an error of the operating system as a sentence, with its file."""
  reason = wording.reason(error)
  names = [x for x in (error.filename, error.filename2) if x is not None]
  shown = " to ".join(wording.show(str(name)) for name in names)
  return f"{shown}: {reason}" if names else reason


def path(text: str) -> pathlib.Path:
  """Parses an option that is a path, as the `type` of an argument.

  `~` is expanded. A URL is refused: it would become a local folder.
  """
  try:
    return paths.expand(text)
  except errors.ConfigError as error:  # argparse drops other errors' texts.
    raise argparse.ArgumentTypeError(str(error)) from error


def workdir(text: str) -> pathlib.Path:
  """Parses an option that is the directory of a run, see `path`.

  A name from which checkpoints cannot be read again is refused.
  """
  try:
    directory = paths.expand(text)
    paths.check_workdir(directory)
  except errors.ConfigError as error:
    raise argparse.ArgumentTypeError(str(error)) from error
  return directory


class Parser(argparse.ArgumentParser):
  """Parses the arguments of one command; raises `ConfigError` on a mistake.

  Attributes:
    with_config: Whether the newest parser of the process declares `--config`.
  """

  with_config = False

  def __init__(self, module: str, description: str):
    """Declares `--help` and `--version`.

    Args:
      module: Name of the command in `python -m <module>`, or its file `*.py`.
      description: Text for `--help`, usually the module's docstring.
    """
    super().__init__(
      f"python {module}" if module.endswith(".py") else f"python -m {module}",
      description=description,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    version = f"sgcl_jax {sgcl_jax.__version__}"
    self.add_argument("--version", action="version", version=version)
    self._has_config = Parser.with_config = False

  def add_json(self, what: str) -> None:
    """Declares `--json`, see `print_json`.

    Args:
      what: What the command prints as JSON, for `--help`.
    """
    self.add_argument(
      "--json",
      action="store_true",
      help=f"print {what} as one JSON object, and nothing else",
    )

  def add_config(self, default: str | None = None) -> None:
    """Declares `--config FILE[:options]` and its fields `--config.<key>=...`.

    The parsed arguments get four attributes: `config`, the ConfigDict, or None
    without the option; `config_name`, the file's name without its suffix;
    `overrides`, the keys that were set with `--config.<key>=...`; and
    `pending`, the arguments that set them, if there is no config for them.

    Args:
      default: Value of `--config` if the option is missing.
    """
    self._has_config = Parser.with_config = True
    self.add_argument(
      "--config",
      default=default,
      metavar="FILE[:OPTIONS]",
      help="an experiment of configs/, with options after a colon; each of its"
      " fields can also be set, as in --config.optim.base_lr=0.05",
    )

  def parse_args(
    self,
    args: Sequence[str] | None = None,
    namespace: argparse.Namespace | None = None,
  ) -> argparse.Namespace:
    """Parses `sys.argv` or the given arguments.

    Raises:
      ConfigError: If an argument is unknown, missing or has a wrong value.
    """
    parsed, rest = self.parse_known_args(args, namespace)
    if self._has_config:
      parsed.config_name = None
      parsed.overrides = parsed.pending = ()
      if parsed.config is not None:
        file, _ = config_file.split(parsed.config)
        parsed.config_name = pathlib.Path(file).stem
        parsed.config, parsed.overrides = fields.override(
          config_file.load(parsed.config), rest
        )
        return parsed
      if rest and rest[0].startswith("--config."):
        parsed.pending, rest = tuple(rest), []
    if rest:
      hint = self._suggest_config(rest[0])
      raise errors.ConfigError(f"unexpected arguments: {' '.join(rest)}{hint}")
    return parsed

  def parse_known_args(
    self,
    args: Sequence[str] | None = None,
    namespace: argparse.Namespace | None = None,
  ) -> tuple[argparse.Namespace, list[str]]:
    """Parses the arguments, but for the fields `--config.<key>=...`.

    Raises:
      ConfigError: As `parse_args`.
    """
    self._check_names(sys.argv[1:] if args is None else args)
    return super().parse_known_args(args, namespace)

  def _check_names(self, args):
    """Refuses unknown options, also where a required one is missing."""
    for argument in args:
      name = argument.partition("=")[0]
      if not name.startswith("--") or name.startswith(fields.PREFIX):
        continue
      if name == "--":
        return
      if name not in self._option_string_actions:
        known = self._option_string_actions
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if not close and self._has_config:
          hint = "; a field of the config is set by --config.<key>=<value>"
        raise errors.ConfigError(f"unknown option {name}{hint}")

  def _suggest_config(self, argument):
    """Returns the hint that an argument is a config, nothing if it is none."""
    name = config_file.split(argument)[0]
    is_config = name.endswith(".py") or name in config_file.list_installed()
    hint = f"; a config is named by --config {argument}"
    return hint if is_config and self._has_config else ""

  def error(self, message: str) -> NoReturn:
    """Raises ConfigError, where argparse would end the process."""
    raise errors.ConfigError(message)


def require_config(args: argparse.Namespace) -> ConfigDict:
  """Returns the config of parsed arguments, or raises ConfigError."""
  config = find_config(args)
  if config is None:
    raise errors.ConfigError(
      "--config is missing, as in --config configs/ctrgcn_ntu60.py"
    )
  return config


def find_config(args: argparse.Namespace) -> ConfigDict | None:
  """Returns the config of parsed arguments, None without one.

  Raises:
    ConfigError: If fields are set without a config.
  """
  if args.pending:
    raise errors.ConfigError(f"{args.pending[0]} needs --config FILE")
  return args.config


@contextlib.contextmanager
def messages(json_only: bool) -> Iterator[None]:
  """Prints messages to standard error if only JSON may go to standard output.

  Args:
    json_only: Whether the command was called with `--json`.
  """
  with contextlib.redirect_stdout(sys.stderr if json_only else sys.stdout):
    yield


def print_json(result: dict[str, Any]) -> None:
  """Prints the result of a command that was called with `--json`."""
  print(json.dumps(result, indent=1))


def _fail(message):
  # A message may hold names and values of files: no terminal obeys them.
  lines = map(wording.show, message.split("\n"))
  print("error: " + "\n".join(lines), file=sys.stderr)
  sys.exit(1)
