# SPDX-License-Identifier: Apache-2.0
"""The check of a data set: what it finds, its page, and the drawing."""

import json

import numpy as np
import pytest

from data_prep import check, records, tfrecord
from data_prep.quality import draw, judge, measure
from sgcl_jax import errors, skeletons

CLASSES = ["wave", "kick"]
COCO = skeletons.get("coco17")
KINECT = skeletons.get("ucla")


def make_clip(seed, *, frames=6, persons=1, joints=20, scale=1.0):
  """Returns [T, M, V, 3]: a body that moves a little."""
  rng = np.random.default_rng(seed)
  body = rng.normal(size=(1, persons, joints, 3))
  clip = body + 0.05 * rng.normal(size=(frames, persons, joints, 3))
  return (scale * clip).astype(np.float32)


def make_set(**changes):
  """Returns name -> (cell, label, skeleton) of a sound set, with changes."""
  clips = {}
  for i in range(12):
    cell = "test" if i % 3 == 0 else "train"
    clips[f"clip_{i:02}"] = cell, i % 2, make_clip(i)
  clips |= changes
  return {name: clip for name, clip in clips.items() if clip is not None}


def judge_set(clips, layout=KINECT, classes=CLASSES):
  """Returns the problems and the notices, each as one text."""
  measured = [
    measure.measure(
      {"name": name, "label": label, "skeleton": skeleton}, cell, layout
    )
    for name, (cell, label, skeleton) in clips.items()
  ]
  problems = judge.find_problems(measured, classes)
  notices = judge.find_notices(measured, classes, layout)
  return "\n".join(problems), "\n".join(notices)


def write_set(out, clips, layout=KINECT, classes=CLASSES):
  pairs = [
    (cell, tfrecord.Clip(name, label, skeleton))
    for name, (cell, label, skeleton) in sorted(clips.items())
  ]
  _, persons, joints, _ = pairs[0][1].skeleton.shape
  about = records.Description(
    "custom",
    classes,
    persons,
    joints,
    metadata={"aligned": False, "layout": layout.to_json()},
  )
  records.write_dataset(out, pairs, about)


def test_a_sound_set():
  assert judge_set(make_set()) == ("", "")


ZEROS = np.zeros((6, 1, 20, 3), np.float32)
PROBLEMS = {
  "millimetres": (
    {"b": ("train", 0, make_clip(77, scale=1000))},
    "another unit: bodies over 30 times .*: 1 (b (",
  ),
  "coincide": (
    {"b": ("train", 0, ZEROS + 1)},
    "all joints at one place: 1 (b)",
  ),
  "leak": (
    {"b": ("test", 1, make_clip(1))},
    "equal clips in train and test: 1 (clip_01 = b)",
  ),
  "two classes": (
    {"b": ("train", 0, make_clip(1))},
    "equal clips of different classes: 1 (clip_01 = b)",
  ),
  "nan": ({"b": ("train", 0, ZEROS + np.nan)}, "not of finite numbers: 1 (b)"),
  "nobody": ({"b": ("train", 0, ZEROS)}, "nobody in any frame: 1 (b)"),
}
NOTICES = {
  "small": (
    {"b": ("train", 0, make_clip(77, scale=0.1))},
    "bodies over 8 times larger or smaller .*: 1 (b (",
  ),
  "empty": (
    {"b": ("train", 0, np.concatenate([make_clip(7), ZEROS, ZEROS]))},
    "nobody in more than half of the frames: 1 (b)",
  ),
  "short": (
    {"b": ("train", 0, make_clip(7, frames=1))},
    "one frame long: 1 (b)",
  ),
  "still": (
    {"b": ("train", 0, make_clip(7, frames=1).repeat(5, axis=0))},
    "the same in all frames: 1 (b)",
  ),
  "twice": (
    {"b": ("train", 1, make_clip(1))},
    "equal clips in one split: 1 (clip_01 = b)",
  ),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_problems(kind):
  changes, expected = PROBLEMS[kind]
  problems, _ = judge_set(make_set(**changes))
  start, _, end = expected.partition(".*")
  (line,) = problems.splitlines()
  assert line.startswith(start) and end in line


@pytest.mark.parametrize("kind", NOTICES)
def test_notices(kind):
  changes, expected = NOTICES[kind]
  problems, notices = judge_set(make_set(**changes))
  start, _, end = expected.partition(".*")
  (line,) = notices.splitlines()
  assert line.startswith(start) and end in line and not problems


def test_classes_without_clips():
  clips = make_set(a=("test", 2, make_clip(50)), b=("train", 3, make_clip(51)))
  names = [*CLASSES, "jump", "run", "sit"]
  problems, notices = judge_set(clips, classes=names)
  assert problems == "classes of test without a clip in train: 1 (jump)"
  assert notices.splitlines() == [
    "classes of train without a clip in test: 1 (run)",
    "classes without a clip: 1 (sit)",
  ]
  only_test = {n: ("test", *rest) for n, (_, *rest) in make_set().items()}
  assert judge_set(only_test) == ("", "")  # Recordings to score.


def test_both_protocols_of_ntu():
  """A copy may be in training of one protocol and in the test of the other."""
  cells = ["xsub_train_xview_train", "xsub_test_xview_test"]
  names = ["x", "y"]
  clips = {n: (c, 0, make_clip(1)) for n, c in zip(names, cells, strict=True)}
  problems, _ = judge_set(clips)
  assert problems.splitlines() == [
    "equal clips in xsub_train and xsub_test: 1 (x = y)",
    "equal clips in xview_train and xview_test: 1 (x = y)",
  ]
  clips["y"] = ("xsub_test_xview_train", *clips["y"][1:])
  assert judge_set(clips)[0] == (
    "equal clips in xsub_train and xsub_test: 1 (x = y)"
  )


def test_a_joint_that_is_always_zero():
  clips = make_set()
  for _, _, skeleton in clips.values():
    skeleton[:, :, 5] = 0
    skeleton[0, 0, 1] = 0  # The center, at the origin: not absent.
  problems, notices = judge_set(clips)
  assert not problems
  assert "in more than half of the bodies" in notices
  assert notices.endswith("1 (left elbow (100%))")
  skeleton = clips["clip_00"][2]
  found = measure.measure(
    {"name": "a", "label": 0, "skeleton": skeleton}, "train", KINECT
  )
  assert found.absent.tolist() == [6 if i == 5 else 0 for i in range(20)]


def test_scores():
  clips = {}
  for i in range(6):
    skeleton = make_clip(i, joints=17, scale=200)
    skeleton[..., 2] = 0.5
    clips[str(i)] = ("train", i % 2, skeleton)
  assert judge_set(clips, COCO, ["a", "b"]) == ("", "")
  flat = skeletons.get("ucla")
  padded = {
    name: (cell, label, np.pad(x, [(0, 0), (0, 0), (0, 3), (0, 0)]))
    for name, (cell, label, x) in clips.items()
  }
  assert "z is within [0, 0.5]" in judge_set(padded, flat, ["a", "b"])[1]
  for _, _, skeleton in clips.values():
    skeleton[..., 2] = 80
  assert "scores reach 80, not 1" in judge_set(clips, COCO, ["a", "b"])[1]


def test_the_page(tmp_path, capsys):
  two = {
    name: (cell, label, np.pad(x, [(0, 0), (0, 1), (0, 0), (0, 0)]))
    for name, (cell, label, x) in make_set().items()
  }
  two["clip_02"][2][:2] = 0  # Nobody in two frames.
  write_set(tmp_path / "data", two)
  check.main(["--data", str(tmp_path / "data")])
  page = capsys.readouterr().out.splitlines()
  assert len(page) < 20
  assert page[0].endswith(
    "12 clips, 2 classes, persons at most 2, 20 joints (ucla, x, y, z)"
  )
  assert "empty    2.78% of the frames" in page
  assert "class    wave: 2 test, 4 train" in page
  assert page[-1].startswith("ok ")
  check.main(["--data", str(tmp_path / "data"), "--json"])
  found = json.loads(capsys.readouterr().out)
  assert found["splits"] == {"test": 4, "train": 8}
  assert found["frames"]["median"] == 6 and not found["problems"]
  assert found["classes"]["kick"] == {"test": 2, "train": 4}


def test_a_problem_ends_with_an_error(tmp_path, capsys):
  write_set(tmp_path / "data", make_set(b=("test", 1, make_clip(1))))
  with pytest.raises(errors.DataError, match="data has 1 problem$"):
    check.main(["--data", str(tmp_path / "data"), "--json"])
  assert json.loads(capsys.readouterr().out)["problems"]
  with pytest.raises(errors.DataError, match="no data set in"):
    check.main(["--data", str(tmp_path)])


def test_raw_clips_are_to_be_converted_first(tmp_path):
  (tmp_path / "clip.json").touch()
  message = f"convert them first: .* data_prep.custom --raw {tmp_path} --layout"
  with pytest.raises(errors.DataError, match=message):
    check.main(["--data", str(tmp_path)])
  with pytest.raises(errors.DataError, match="name a directory that a command"):
    check.main(["--data", str(tmp_path / "absent"), "--show", "clip"])


def test_show(tmp_path, capsys):
  from PIL import Image

  for layout, joints in ((KINECT, 20), (COCO, 17)):
    data, out = tmp_path / layout.name, tmp_path / f"{layout.name}.gif"
    clips = {
      name: (cell, label, make_clip(3, frames=3, joints=joints))
      for name, (cell, label, _) in make_set().items()
    }
    write_set(data, clips, layout)
    args = ["--data", str(data), "--show", "clip_03"]
    check.main([*args, "--out", str(out), "--json"])
    assert json.loads(capsys.readouterr().out)["num_frames"] == 3
    with Image.open(out) as image:
      assert image.n_frames == 3
      drawn = np.asarray(image.convert("RGB"))
    assert (drawn[..., 0] > drawn[..., 2] + 60).any()  # Red: the right side.
    assert (drawn[..., 2] > drawn[..., 0] + 60).any()
  with pytest.raises(errors.DataError, match="did you mean clip_03"):
    check.main([*args[:-1], "clip_3"])
  with pytest.raises(errors.ConfigError, match="neither a GIF nor an MP4"):
    check.main([*args, "--out", str(tmp_path / "a.png")])
  with pytest.raises(errors.ConfigError, match="--out is the GIF of --show"):
    check.main([*args[:2], "--out", "a.gif"])


def test_the_origin_is_present_in_space():
  """In the frame that it is taken from; in a picture, 0 is absent."""
  for layout in (skeletons.get("azure32"), COCO):
    skeleton = make_clip(0, joints=layout.num_joints)
    skeleton[:, 0, layout.center[0]] = 0
    present = measure.find_present(skeleton, layout)
    expected = [layout.dimensions == 3, *[False] * 5]
    assert present[:, 0, layout.center[0]].tolist() == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_the_head_is_drawn_above_the_feet(sign):
  clip = np.zeros((2, 1, 20, 3), np.float32)
  clip[..., KINECT.joints.index("head"), 1] = sign
  clip[..., KINECT.joints.index("left foot"), 1] = -sign
  present = np.any(clip != 0, axis=-1)
  assert draw.find_up(clip, present, KINECT) == (sign == 1)
  hand = skeletons.get("hand21")
  assert draw.find_up(clip, present, hand)  # Neither: y points up in space.
