# SPDX-License-Identifier: Apache-2.0
"""How messages spell numbers and commands."""

import shlex


def count(number: int, noun: str, plural: str | None = None) -> str:
  """Returns a number and its noun: "1 step", "1,020 epochs", "2 classes"."""
  if number == 1:
    return f"1 {noun}"
  is_hissing = noun.endswith(("s", "ch")) and noun != "epoch"
  ending = "es" if is_hissing else "s"
  return f"{number:,} {plural or noun + ending}"


def command_line(module: str, *arguments: str) -> str:
  """Returns a command to print, which a shell runs as it is printed."""
  return shlex.join(["python", "-m", module, *arguments])
