# SPDX-License-Identifier: Apache-2.0
"""Numbers of a text to doubles, thousands at once: float() takes too long."""

import numpy as np

# Numbers with more characters or digits are left to Python. So many digits make
# an integer that a double holds exactly, as it does these powers of ten, so
# their quotient is rounded once: to the double that is nearest, as float() is.
MAX_CHARACTERS = 16
MAX_DIGITS = 15
_POWERS = 10 ** np.arange(MAX_CHARACTERS + 1)

_SPACE, _MINUS, _DOT, _ZERO = b" -.0"


def tokenize(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Finds the words of a text [n] uint8, as bytes.split() does.

  Returns:
    starts: Where each begins.
    ends: Where each is over.
  """
  blank = text == _SPACE
  blank |= text - np.uint8(ord("\t")) <= ord("\r") - ord("\t")
  edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
  if len(text) and not blank[0]:
    edges = np.concatenate([[0], edges])
  if len(text) and not blank[-1]:
    edges = np.concatenate([edges, [len(text)]])
  return edges[0::2], edges[1::2]


def parse(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
  """Returns the words' values [k] float64, NaN for what is no number.

  Args:
    text: [n] uint8.
    starts: [k] where each word begins.
    ends: [k] where each is over.
  """
  lengths = ends - starts
  width = min(MAX_CHARACTERS, lengths.max(initial=0))
  # One row per place, the last characters of all words in the last row.
  left = np.arange(width - 1, -1, -1)  # Characters that follow.
  characters = text[ends - 1 - left[:, None]]
  characters *= left[:, None] < lengths
  dots = (characters == _DOT).view(np.uint8)
  digits = characters - np.uint8(_ZERO)
  is_digit = (digits <= 9).view(np.uint8)
  digits *= is_digit
  number = np.zeros(len(starts), np.int64)  # As if the dot were a 0.
  places = np.zeros(len(starts), np.uint8)
  num_digits, num_dots = np.zeros_like(places), np.zeros_like(places)
  for row, following in enumerate(left.astype(np.uint8)):
    number *= 10
    number += digits[row]
    places += dots[row] * following
    num_digits += is_digit[row]
    num_dots += dots[row]
  negative = text[starts] == _MINUS
  plain = num_digits + num_dots + negative == lengths
  plain &= (num_dots <= 1) & (num_digits >= 1) & (num_digits <= MAX_DIGITS)

  unit = _POWERS[np.where(plain, places, 0)]
  fraction = number % unit
  whole = (number - fraction) // np.where(num_dots, 10, 1)
  values = (whole + fraction) / unit
  np.negative(values, out=values, where=negative)
  for i in np.flatnonzero(~plain):
    values[i] = _parse_word(text[starts[i] : ends[i]].tobytes())
  return values


def _parse_word(word):
  if b"_" in word:  # Python would read 1_0 as 10.
    return np.nan
  try:
    return float(word)
  except ValueError:
    return np.nan
