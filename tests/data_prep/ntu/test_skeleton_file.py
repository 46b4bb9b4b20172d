# SPDX-License-Identifier: Apache-2.0
"""Tests of parsing raw NTU files."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data_prep.ntu import actors, skeleton_file
from sgcl_jax import errors
from tests.data_prep.ntu import raw_text
from tests.data_prep.ntu.raw_text import make_frames, make_joints, make_text

NAME = "S001C002P003R001A058"


def clean(data):
  return actors.clean(skeleton_file.parse(data))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", [b"", b"\r\n\r\n", None])
def test_parses(newline, ending):
  joints = make_joints(0)
  frames = [{}, *make_frames(joints[:5]), {}, *make_frames(joints[5:]), {}]
  data = make_text(frames, newline)
  data = data.rstrip() if ending is None else data + ending
  recording = skeleton_file.parse(data)
  assert recording.num_frames == 12
  assert recording.dropped == [0, 6, 14]
  (body,) = recording.bodies.values()
  assert body.start == 0
  np.testing.assert_array_equal(body.joints, joints)


def test_keeps_bodies_in_order_of_appearance():
  frames = raw_text.merge(("9", 3, make_joints(0)), ("7", 0, make_joints(1)))
  recording = skeleton_file.parse(make_text(frames))
  assert [(k, v.start) for k, v in recording.bodies.items()] == [
    ("7", 0),
    ("9", 3),
  ]
  np.testing.assert_array_equal(recording.bodies["9"].joints, make_joints(0))


@pytest.mark.parametrize("kind", raw_text.BROKEN)
def test_reports_a_broken_file(kind):
  data, message = raw_text.BROKEN[kind]
  with pytest.raises(errors.DataError) as error:
    clean(data)
  assert message in str(error.value)


def test_reports_truncation_anywhere():
  data = make_text(make_frames(make_joints(0, 2)), "\n")
  lines = data.splitlines(keepends=True)
  for count in range(len(lines)):
    with pytest.raises(errors.DataError, match=f"line {count + 1}: the file"):
      skeleton_file.parse(b"".join(lines[:count]))


LINES = make_text(make_frames(make_joints(0, 3)), "\n").splitlines(True)
NOISE = st.one_of(
  st.binary(max_size=20),
  st.sampled_from([b"25", b"1", b"0", b"-1", b"nan", b"1e999", b"\r\n", b" "]),
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.data())
def test_random_damage_is_reported_or_harmless(data):
  """Whatever is done to a file, it parses to a clip or is refused."""
  lines = list(LINES)
  for _ in range(data.draw(st.integers(1, 3))):
    at = data.draw(st.integers(0, max(len(lines) - 1, 0)))
    kind = data.draw(st.sampled_from(["cut", "drop", "twice", "swap", "noise"]))
    if kind == "cut":
      del lines[at:]
    elif kind == "drop":
      del lines[at : at + data.draw(st.integers(1, 3))]
    elif not lines:
      break
    elif kind == "twice":
      lines.insert(at, lines[at])
    elif kind == "swap":
      other = data.draw(st.integers(0, len(lines) - 1))
      lines[at], lines[other] = lines[other], lines[at]
    else:
      column = data.draw(st.integers(0, len(lines[at])))
      noise = data.draw(NOISE)
      lines[at] = lines[at][:column] + noise + lines[at][column:]
  try:
    clip, _ = clean(b"".join(lines))
  except errors.DataError as error:
    assert str(error)
    return
  assert clip.shape[0] >= 1 and clip.shape[2:] == (25, 3)
  assert clip.dtype == np.float32 and np.isfinite(clip).all()


@pytest.mark.parametrize("name", ["S1C2P3R1A58", NAME + "x", "", NAME.lower()])
def test_refuses_a_name(name):
  with pytest.raises(errors.DataError, match="not of the form"):
    skeleton_file.parse_name(name)
