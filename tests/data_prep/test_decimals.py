# SPDX-License-Identifier: Apache-2.0
"""Words and numbers of a text, against Python's own."""

import numpy as np
import pytest

from data_prep import decimals


def expected(word):
  try:
    return np.nan if b"_" in word else float(word)
  except ValueError:
    return np.nan


def read(text):
  array = np.frombuffer(text, np.uint8)
  starts, ends = decimals.tokenize(array)
  words = [text[s:e] for s, e in zip(starts, ends, strict=True)]
  return words, decimals.parse(array, starts, ends)


WORDS = """0 -0 -0.0 .5 -.5 5. . - -. 1.2.3 1-2 --1 +1.5 1e3 -1.5E-05 1e999 nan
inf 1_0 0x1 123456789012345 1234567890123456 0.12345678901234 0.123456789012345
0.1234567890123456789 -99999999999999.9 0000000000000001 -0.2688375 5/7 5:7"""
WORDS = [b"", b"\xff", *WORDS.encode().split()]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_read_as_python_reads_it(word):
  for text in (word, b"1 " + word, word + b" 12.5\n", b"0.125\r\n" + word):
    words, values = read(text)
    assert words == text.split()
    np.testing.assert_array_equal(values, [expected(w) for w in words])
    negative = [w.startswith(b"-") for w in words]
    real = ~np.isnan(values)
    assert (np.signbit(values)[real] == np.array(negative)[real]).all()


def test_random_numbers_are_rounded_as_python_rounds_them():
  rng = np.random.default_rng(0)
  numbers = rng.normal(size=20_000) * 10.0 ** rng.integers(-6, 7, 20_000)
  formats = [f"%.{digits}{kind}" for digits in range(1, 17) for kind in "fg"]
  words = [formats[i % len(formats)] % x for i, x in enumerate(numbers)]
  found, values = read(" ".join(words).encode())
  assert len(found) == len(words)
  np.testing.assert_array_equal(values, [float(word) for word in words])


def test_random_bytes_are_split_as_python_splits_them():
  rng = np.random.default_rng(0)
  letters = np.frombuffer(b" \t\n\r\x0b\x0c\x00\x08\x0e\x1c 09.-_e", np.uint8)
  for _ in range(300):
    text = rng.choice(letters, rng.integers(0, 30)).tobytes()
    words, values = read(text)
    assert words == text.split()
    np.testing.assert_array_equal(values, [expected(w) for w in words])
