# SPDX-License-Identifier: Apache-2.0
"""Numbers of joint lines, against Python's own split and float()."""

import subprocess
import sys

import numpy as np
import pytest

from data_prep.ntu import joint_lines
from sgcl_jax import errors
from tests.data_prep.ntu import raw_text

REST = b" 4 5 6 7 8 9 0 0 0"


def expected(word):
  try:
    return np.nan if b"_" in word else float(word)
  except ValueError:
    return np.nan


def expect(lines):
  """Returns [k, 3] float32, or the message of the first mistake."""
  for i, line in enumerate(lines):
    if len(line.split()) != 12:
      return f"line {i + 101}: {len(line.split())} columns, not 12"
  words = [line.split()[:3] for line in lines]
  with np.errstate(over="ignore"):
    values = np.float32([[expected(word) for word in row] for row in words])
  for i, column in np.argwhere(~np.isfinite(values))[:1]:
    word = words[i][column][:40].decode("ascii", "replace")
    return f"line {i + 101}: {word!r}, not a finite number"
  return values


def check(lines):
  """Compares values, signs of zeros and messages."""
  wanted = expect(lines)
  if isinstance(wanted, str):
    with pytest.raises(errors.DataError) as error:
      joint_lines.parse(lines, range(100, 100 + len(lines)))
    assert str(error.value) == wanted
    return
  found = joint_lines.parse(lines, range(100, 100 + len(lines)))
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


WORDS = """0 -0 -0.0 .5 -.5 5. . - -. 1.2.3 1-2 --1 +1.5 +-1 ++1 1e3 -1.5E-05 1e
1e999 1e39 3.5e38 1e-46 1e-400 nan NaN -nan nan(3) inf -inf Infinity 1_0 0x1
0x1p3 1d3 1,5 "1" '1' true NULL 123456789012345 1234567890123456
0.12345678901234 0.123456789012345 0.1234567890123456789 -99999999999999.9
0000000000000001 -0.2688375 5/7 5:7 1.00000005960464477539062500001"""
WORDS = [
  *WORDS.encode().split(),
  b"",
  b"\xff",
  b"\xef\xbb\xbf1",
  b"1\x00",
  b"\x1c1",
  b"1\t",
  b"\x0b1",
  b"1\r",
  b"1 ",
  b"1 2",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_read_as_python_reads_it(word):
  sound = b"1 -0 12.5" + REST
  for end in (b"", b"\r"):
    for line in (
      word + b" 2 3" + REST,
      b"1 " + word + b" 3" + REST,
      b"1 2 " + word + REST,
      b"1 2 3 " + word + REST[2:],
      b"1 2 3" + REST[:-1] + word,
    ):
      check([line + end])
      check([sound + end, line + end, sound + end])
      check([sound, line + end])


def test_columns_are_counted_line_by_line():
  sound = b"1 2 3" + REST
  check([sound + b" 1", sound[:-2]])  # 24 words, as in two sound lines.
  check([sound, sound.replace(b" 9 ", b"  "), sound])
  check([b" " + sound[:-2]])
  check([sound, b"", sound])


def test_random_numbers_are_rounded_as_python_rounds_them(monkeypatch):
  # pyarrow alone, in two blocks: the text is longer than 1 MiB.
  monkeypatch.delattr(joint_lines, "_parse_words")
  rng = np.random.default_rng(0)
  numbers = rng.normal(size=75_000) * 10.0 ** rng.integers(-6, 7, 75_000)
  formats = [f"%.{digits}{kind}" for digits in range(1, 20) for kind in "efg"]
  words = [formats[i % len(formats)] % x for i, x in enumerate(numbers)]
  check(
    [
      " ".join(words[i : i + 3]).encode() + REST
      for i in range(0, len(words), 3)
    ]
  )


def test_values_are_rounded_twice_as_before():
  """Text to double to float32, not at once: the reference does so."""
  word = b"1.00000005960464477539062500001"  # Just above a tie of float32.
  (row,) = joint_lines.parse([word + b" 0 0" + REST], [0])
  assert row[0] == np.float32(float(word)) == 1.0


def test_random_bytes_are_split_as_python_splits_them():
  rng = np.random.default_rng(0)
  letters = np.frombuffer(b' \t\r\x0b\x0c\x00\x08\x0e\x1c 09.-_e"', np.uint8)
  for _ in range(300):
    line = bytearray(b"1 -2.5 30" + REST)
    for letter in rng.choice(letters, rng.integers(1, 4)):
      line[rng.integers(len(line))] = letter
    check([b"1 2 3" + REST, bytes(line)])


def test_help_does_not_wait_for_pyarrow():
  code = (
    "import sys, data_prep.ntu60\n"
    "try: data_prep.ntu60.main(['--help'])\n"
    "except SystemExit: assert not {'pyarrow', 'tensorflow_datasets'} &"
    " set(sys.modules)"
  )
  command = [sys.executable, "-c", code]
  subprocess.run(command, cwd=raw_text.ROOT, check=True, capture_output=True)
