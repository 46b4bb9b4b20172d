# SPDX-License-Identifier: Apache-2.0
"""Reads the coordinates from the joint lines of a raw file, all at once."""

import functools
from collections.abc import Sequence

import numpy as np

from sgcl_jax import errors

NUM_COLUMNS = 12
# The first columns are x, y, z.
_COLUMNS = [f"column_{i}" for i in range(NUM_COLUMNS)]
_COORDINATES = _COLUMNS[:3]


def parse(lines: Sequence[bytes], numbers: Sequence[int]) -> np.ndarray:
  """Reads x, y, z of joint lines.

  Args:
    lines: [k] lines of 12 words; may end in CR.
    numbers: [k] their places in the file, from 0, for error messages.

  Returns:
    [k, 3] float32, each value the double that float() returns, rounded once.

  Raises:
    DataError: A line has another number of columns, or a coordinate is not a
      finite number; names the line, from 1.
  """
  values = _parse_regular(lines)
  if values is None:
    values = _parse_words(lines, numbers)
  with np.errstate(over="ignore"):
    joints = values.astype(np.float32)
  broken = np.argwhere(~np.isfinite(joints))
  if len(broken):
    row, column = broken[0]
    word = lines[row].split()[column][:40].decode("ascii", "replace")
    raise errors.DataError(
      f"line {numbers[row] + 1}: {word!r}, not a finite number"
    )
  return joints


def _parse_regular(lines):
  """Returns [k, 3] float64, or None if bytes.split() and float() must decide.

  pyarrow reads a number as float() does or refuses it, but it ends a column at
  each single blank.
  """
  text = b"\n".join([*lines, b""])
  if not _has_single_blanks(text, len(lines)):
    return None
  # Imported late: it takes a while, and `--help` should not wait for it.
  import pyarrow
  from pyarrow import csv

  try:
    table = csv.read_csv(pyarrow.BufferReader(text), *_make_options())
  except pyarrow.ArrowInvalid:
    return None
  return np.stack([table[name].to_numpy() for name in _COORDINATES], axis=-1)


@functools.cache
def _make_options():
  import pyarrow
  from pyarrow import csv

  return (
    # Threads would compete with the other processes of a conversion.
    csv.ReadOptions(use_threads=False, column_names=_COLUMNS),
    csv.ParseOptions(
      delimiter=" ",
      quote_char=False,
      double_quote=False,
      ignore_empty_lines=False,
    ),
    csv.ConvertOptions(
      column_types=dict.fromkeys(_COORDINATES, pyarrow.float64()),
      include_columns=_COORDINATES,
      null_values=[],
    ),
  )


def _has_single_blanks(text, num_lines):
  """Returns whether all is ASCII, with one blank or line end between words.

  Then pyarrow finds the words that bytes.split() finds, or refuses the lines.
  """
  array = np.frombuffer(text, np.uint8)
  # Control characters count as blanks here: bytes.split() splits at some.
  blank = array <= ord(" ")
  num_returns = np.count_nonzero(array == ord("\r"))
  num_crlf = np.count_nonzero(
    (array[:-1] == ord("\r")) & (array[1:] == ord("\n"))
  )
  return (
    text.isascii()
    and np.count_nonzero(array == ord(" ")) == num_lines * (NUM_COLUMNS - 1)
    and np.count_nonzero(blank) == num_lines * NUM_COLUMNS + num_returns
    and np.count_nonzero(blank[:-1] & blank[1:]) == num_crlf == num_returns
    and not blank[0]
  )


def _parse_words(lines, numbers):
  """Returns [k, 3] float64, NaN for what is no number."""
  rows = [line.split() for line in lines]
  for number, words in zip(numbers, rows, strict=True):
    if len(words) != NUM_COLUMNS:
      raise errors.DataError(
        f"line {number + 1}: {len(words)} columns, not {NUM_COLUMNS}"
      )
  return np.array(
    [[_parse_word(word) for word in words[:3]] for words in rows], np.float64
  )


def _parse_word(word):
  if b"_" in word:  # Python would read 1_0 as 10.
    return np.nan
  try:
    return float(word)
  except ValueError:
    return np.nan
