# SPDX-License-Identifier: Apache-2.0
"""The record reader: files written by TensorFlow, and all kinds of damage."""

import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from sgcl_jax import errors
from sgcl_jax.dataset import tfrecord

PAYLOADS = (b"first", b"", bytes(range(256)), b"last")
STARTS = (0, 21, 37, 309, 329)  # The last is the size of the file.


def frame(payload):
  length = struct.pack("<Q", len(payload))
  checksums = tfrecord.checksum(length), tfrecord.checksum(payload)
  return length + checksums[0] + payload + checksums[1]


CONTENT = b"".join(frame(payload) for payload in PAYLOADS)


def read(path, num_records=4):
  return list(tfrecord.read_records(path, num_records))


def refuse(path, content, offset, what):
  """Checks the whole message about a damaged file."""
  path.write_bytes(content)
  with pytest.raises(errors.DataError) as caught:
    read(path)
  assert str(caught.value) == (
    f"{path} is damaged at byte {offset}: {what};"
    " convert the raw files again (data_prep, with --overwrite)"
  )


@pytest.fixture
def path(tmp_path):
  return tmp_path / "toy-train.tfrecord-00000-of-00001"


def test_records_are_read_with_their_offsets(path):
  path.write_bytes(CONTENT)
  assert read(path) == list(zip(STARTS[:-1], PAYLOADS, strict=True))


def test_an_empty_file_holds_no_record(path):
  path.write_bytes(b"")
  assert read(path, 0) == []


def test_tensorflow_writes_the_same_bytes(path):
  import tensorflow as tf

  with tf.io.TFRecordWriter(str(path)) as writer:
    for payload in PAYLOADS:
      writer.write(payload)
  assert path.read_bytes() == CONTENT


def test_tensorflow_reads_the_same_records(path):
  import tensorflow as tf

  path.write_bytes(CONTENT)
  found = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  assert tuple(found) == PAYLOADS


def test_a_damaged_length_is_not_used(path):
  for wrong in (0, 4, 6, 2**62):
    content = struct.pack("<Q", wrong) + CONTENT[8:]
    refuse(path, content, 0, "the length of a record has a wrong checksum")


def test_a_length_beyond_the_file_is_not_allocated(path):
  length = struct.pack("<Q", 2**62)  # With its checksum: not a flipped bit.
  content = length + tfrecord.checksum(length) + b"short"
  what = (
    f"the file ends inside a record, which needs {2**62 + 4} more bytes and"
    " has 5"
  )
  refuse(path, content, 12, what)


def test_a_damaged_payload_is_refused(path):
  content = CONTENT.replace(b"last", b"lest")
  what = "the content of a record has a wrong checksum"
  refuse(path, content, STARTS[3] + 12, what)


def test_a_file_may_be_cut_anywhere(path):
  for size in range(len(CONTENT)):
    number = max(i for i, start in enumerate(STARTS) if start <= size)
    start = STARTS[number]
    needed, found = len(PAYLOADS[number]) + 4, size - start - 12
    if size == start:
      offset, what = start, f"the file ends after {number} of 4 records"
    elif found < 0:
      offset, what = start, "the file ends inside the header of a record"
    else:
      offset = start + 12
      what = (
        f"the file ends inside a record, which needs {needed} more bytes and"
        f" has {found}"
      )
    refuse(path, CONTENT[:size], offset, what)


@pytest.mark.parametrize("rest", [b"\0", bytes(100), frame(b"one more")])
def test_nothing_may_follow(path, rest):
  what = (
    f"{len(rest)} bytes follow the last of 4 records that the metadata count"
  )
  refuse(path, CONTENT + rest, len(CONTENT), what)


def test_a_missing_file_is_named(path):
  with pytest.raises(errors.DataError, match=f"{path} is missing; convert"):
    read(path)


@hypothesis.settings(
  deadline=None,
  max_examples=50,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
  payloads=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
  data=st.data(),
)
def test_every_changed_byte_is_detected(path, payloads, data):
  content = b"".join(map(frame, payloads))
  place = data.draw(st.integers(0, len(content) - 1))
  flip = data.draw(st.integers(1, 255))
  changed = bytearray(content)
  changed[place] ^= flip
  path.write_bytes(changed)
  with pytest.raises(errors.DataError, match="wrong checksum") as caught:
    read(path, len(payloads))
  # The error names the record that holds the byte.
  ends = np.cumsum([len(payload) + 16 for payload in payloads])
  number = int(np.searchsorted(ends, place, side="right"))
  start = ends[number] - len(payloads[number]) - 16
  assert f"at byte {start}:" in str(caught.value) or (
    f"at byte {start + 12}:" in str(caught.value)
  )
