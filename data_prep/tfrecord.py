# SPDX-License-Identifier: Apache-2.0
"""A clip as a TFRecord, written without TensorFlow."""

import hashlib
import pathlib
import struct
from typing import NamedTuple, Self

import numpy as np

from sgcl_jax.dataset import tfrecord


class Clip(NamedTuple):
  """One clip.

  Attributes:
    name: Unique in the data set.
    label: Class, from 0.
    skeleton: [T, M, V, C] float32, metres; zeros for an absent person.
  """

  name: str
  label: int
  skeleton: np.ndarray


class RecordWriter:
  """Writes a TFRecord file.

  Attributes:
    path: The file.
    num_clips: Clips written so far.
    num_bytes: Size of their records.
  """

  def __init__(self, path: pathlib.Path):
    """Opens the file, whose content is lost."""
    self.path = path
    self.num_clips = self.num_bytes = 0
    self._digest = hashlib.sha256()
    self._file = path.open("wb")

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def write(self, clip: Clip) -> None:
    """Appends a clip."""
    payload = encode_clip(clip)
    length = struct.pack("<Q", len(payload))
    record = b"".join(
      (length, tfrecord.checksum(length), payload, tfrecord.checksum(payload))
    )
    self._file.write(record)
    self._digest.update(record)
    self.num_clips += 1
    self.num_bytes += len(payload)

  def digest(self) -> bytes:
    """Returns the SHA-256 of all that was written."""
    return self._digest.digest()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def encode_clip(clip: Clip) -> bytes:
  """Returns the clip as a serialised `tf.train.Example`.

  The bytes are those of `SerializeToString(deterministic=True)`, sixty times
  faster: with the protobuf package this took longer than parsing the raw file.
  """
  values = {
    b"label": _field(3, _field(1, _varint(clip.label))),
    b"name": _field(1, _field(1, clip.name.encode())),
    b"skeleton": _field(2, _field(1, clip.skeleton.astype("<f4").tobytes())),
  }
  return _field(
    1,
    b"".join(
      _field(1, _field(1, key) + _field(2, value))
      for key, value in sorted(values.items())
    ),
  )


def _varint(value):
  out = bytearray()
  while value > 127:
    out.append(value & 127 | 128)
    value >>= 7
  out.append(value)
  return bytes(out)


def _field(number, data):
  # Wire type 2: length-delimited.
  return _varint(number << 3 | 2) + _varint(len(data)) + data
