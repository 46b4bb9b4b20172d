# SPDX-License-Identifier: Apache-2.0
"""How messages spell numbers, names and commands."""

import errno
import os
import reprlib
import shlex
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
# What helps against an error of the operating system.
REMEDIES = {
  errno.ENOSPC: "free some space there, or name another place",
  errno.EDQUOT: "free some space there, or name another place",
  errno.EFBIG: "raise the limit of the size of a file: ulimit -f unlimited",
  errno.EMFILE: "raise the limit of open files, as with ulimit -n 4096",
  errno.ENFILE: "the machine has too many open files: end other programs",
  errno.EROFS: "name a place that can be written to",
}


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


def reason(error: OSError) -> str:
  """Returns why the operating system refused, and a remedy if one is known."""
  if error.strerror is None:
    return in_one_line(error)
  text = error.strerror[0].lower() + error.strerror[1:]
  remedy = REMEDIES.get(error.errno)
  return f"{text}; {remedy}" if remedy else text


def in_one_line(error: BaseException) -> str:
  """Returns an error's text in one line, or its type if it has no text."""
  return " ".join(str(error).split()) or type(error).__name__


def show(name: str | os.PathLike) -> str:
  """Returns a name in one line: escapes what cannot be printed.

  So a control character does not reach a terminal. A byte of a file's name that
  is no UTF-8 becomes `\\xe4`.
  """
  return "".join(map(_show_character, os.fspath(name)))


def quote(value: Any) -> str:
  """Returns the `repr` of a value that a file holds, cut to a line."""
  return _SHORT.repr(value).replace("\n", " ")  # An array takes several lines.


def _show_character(char):
  if char.isprintable():
    return char
  if "\udc80" <= char <= "\udcff":  # Python's stand-in for a byte.
    return f"\\x{ord(char) - 0xDC00:02x}"
  return char.encode("unicode_escape").decode()
