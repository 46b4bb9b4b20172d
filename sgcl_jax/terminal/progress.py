# SPDX-License-Identifier: Apache-2.0
"""Shows how far a long loop is: a bar on a terminal, lines in a log."""

import sys
from collections.abc import Iterable
from typing import Any

import tqdm

# Least time between two lines of a log.
LINE_SECONDS = 60.0


class _Lines:
  """Writes each state of a bar as a line of its own."""

  def __init__(self, stream):
    self._stream = stream

  def write(self, text: str) -> None:
    text = text.strip()
    if text:
      self._stream.write(f"{text}\n")

  def flush(self) -> None:
    self._stream.flush()


def bar(
  iterable: Iterable[Any] | None = None,
  description: str = "",
  *,
  total: int | None = None,
  initial: int = 0,
  unit: str,
) -> tqdm.tqdm:
  """Returns a bar on standard error, which is gone at the end.

  Without a terminal it prints a line once a minute; a loop of less than a
  minute prints nothing.

  Args:
    iterable: What to iterate over, or None to call `update`.
    description: Name of the loop.
    total: Number of its units, if `iterable` has no length.
    initial: Units that are done already.
    unit: Plural of a unit, such as `clips`.
  """
  settings = {
    "iterable": iterable,
    "desc": description,
    "total": total,
    "initial": initial,
    "unit": f" {unit}",
    "leave": False,
  }
  if sys.stderr is None:
    return tqdm.tqdm(**settings, disable=True)
  if sys.stderr.isatty():
    return tqdm.tqdm(**settings, dynamic_ncols=True)
  title = f"{description}: " if description else ""
  known = total is not None or hasattr(iterable, "__len__")
  share = "{percentage:.0f} %, {n_fmt} of {total_fmt}{unit}, {remaining} left"
  state = share if known else "{n_fmt}{unit} in {elapsed}"
  return tqdm.tqdm(
    **settings,
    file=_Lines(sys.stderr),
    bar_format=f"{title}{state}{{postfix}}",
    mininterval=LINE_SECONDS,
    miniters=1,
    delay=LINE_SECONDS,
  )
