# SPDX-License-Identifier: Apache-2.0
"""Tests of the synthetic raw files: layout, determinism, classes.

The average pose must say little about the class, the motion everything.
"""

import itertools

import numpy as np
import pytest

from data_prep import ntu60, synthetic
from sgcl_jax import errors

CLIP = "S001C002P004R001A001"
TWO_PERSONS = [9, 10]


def parse(text):
  """Joints [T, M, V, 3] and body IDs per frame, read token by token."""
  tokens = iter(text.split())
  frames, body_ids = [], []
  for _ in range(int(next(tokens))):
    bodies, ids = [], []
    for _ in range(int(next(tokens))):
      body_id, *_ = itertools.islice(tokens, 10)
      ids.append(body_id)
      assert int(next(tokens)) == 25
      rows = [list(itertools.islice(tokens, 12)) for _ in range(25)]
      bodies.append(np.array(rows, float)[:, :3])
    frames.append(bodies)
    body_ids.append(ids)
  assert next(tokens, None) is None
  return np.array(frames), body_ids


def fields(name):
  return {
    key: int(name[i + 1 : i + 4]) for i, key in enumerate(name) if i % 4 == 0
  }


def load(num_classes, clips_per_class, noise=True):
  """Centred clips with two person slots, labels, and X-Sub's training mask."""
  clips, labels, train = [], [], []
  for name in synthetic.names(num_classes, clips_per_class):
    joints = synthetic.clip(name, seed=0, noise=noise)
    joints = joints - joints[0, 0, 1]
    if joints.shape[1] == 1:
      joints = np.concatenate([joints, 0 * joints], axis=1)
    clips.append(joints)
    labels.append(fields(name)["A"] - 1)
    train.append(fields(name)["P"] in ntu60.TRAIN_PERFORMERS)
  return clips, np.array(labels), np.array(train)


def linear_accuracies(features, labels, train):
  """Held-out accuracies of ridge regressions on one-hot labels."""
  centre, scale = features[train].mean(0), features[train].std(0) + 1e-9
  x = np.pad((features - centre) / scale, ((0, 0), (0, 1)), constant_values=1)
  gram, target = x[train].T @ x[train], np.eye(labels.max() + 1)[labels[train]]
  for strength in (0.1, 1, 10, 100, 1000):
    weights = np.linalg.solve(
      gram + strength * np.eye(len(gram)), x[train].T @ target
    )
    yield ((x[~train] @ weights).argmax(1) == labels[~train]).mean()


def motion_features(joints):
  """Covariances of the hands and the trunk's top: at once, lagged, of speed."""
  features = []
  for person in range(2):
    track = joints[:, person] - joints[:, person, [1]]
    right = (track[:, 8] - track[:, 4]).mean(0)
    turn = np.array([[right[0], -right[2]], [right[2], right[0]]])
    track[..., ::2] = track[..., ::2] @ (turn.T if right.any() else turn).T
    track = track[:, [7, 11, 3]].reshape(len(track), -1)
    track = track - track.mean(0)
    speed = np.diff(track, axis=0)
    lagged = track[3:].T @ track[:-3]
    skew = (speed**3).mean(0) / (speed.std(0) + 1e-3) ** 3
    features += [track.T @ track, lagged - lagged.T, skew]
    features += [np.abs(np.fft.rfft(track, axis=0))[1:9]]
  return np.concatenate([f.ravel() for f in features])


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  out = tmp_path_factory.mktemp("synthetic") / "raw"
  synthetic.write(out, seed=0, num_classes=12, clips_per_class=3)
  return out


def test_files_are_the_clips_in_ntu_layout(raw):
  paths = sorted(raw.iterdir())
  assert len(paths) == 36 and not list(raw.parent.glob(".synthetic-*"))
  for path in paths:
    assert path.suffix == ".skeleton"
    joints, body_ids = parse(path.read_text())
    expected = synthetic.clip(path.stem, seed=0)
    np.testing.assert_allclose(joints, expected, atol=1e-6)
    assert 40 <= len(joints) <= 90
    assert joints[..., 2].min() > 1 and joints[..., 2].max() < 6
    two = fields(path.stem)["A"] in TWO_PERSONS
    assert len(set(body_ids[0])) == 1 + two
    assert all(ids == body_ids[0] for ids in body_ids)


def test_same_seed_same_bytes_other_seed_others(raw, tmp_path):
  def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}

  # Fewer classes and other amounts: a file depends on its seed and name only.
  for seed in (0, 1):
    synthetic.write(
      tmp_path / str(seed), seed=seed, num_classes=2, clips_per_class=2
    )
  first = contents(tmp_path / "0")
  assert first.items() <= contents(raw).items()
  second = contents(tmp_path / "1")
  assert first.keys() == second.keys()
  assert all(first[name] != second[name] for name in first)


@pytest.mark.parametrize("action", range(1, 13))
def test_bones_keep_their_lengths(action):
  name = f"{CLIP[:-3]}{action:03d}"
  joints = synthetic.clip(name, seed=3, noise=False)
  bones = joints - joints[:, :, list(synthetic.PARENTS)]
  lengths = np.linalg.norm(bones, axis=-1)
  np.testing.assert_allclose(lengths, lengths[:1].repeat(len(joints), 0))
  assert (lengths[0, :, 1:] > 0.02).all() and (lengths < 0.6).all()
  assert 1.2 < np.ptp(joints[0, 0, :, 1]) < 2.1  # Upright, of human height.


def test_a_performer_keeps_his_body():
  def arm(name):
    joints = synthetic.clip(name, seed=0, noise=False)
    return np.linalg.norm(joints[0, 0, 5] - joints[0, 0, 4])

  assert np.isclose(arm(CLIP), arm("S001C003P004R002A007"))
  assert not np.isclose(arm(CLIP), arm("S001C002P005R001A001"))


@pytest.mark.parametrize("clips_per_class", [3, 130])
def test_every_class_is_in_all_four_splits(clips_per_class):
  names = synthetic.names(10, clips_per_class)
  assert len(set(names)) == 10 * clips_per_class
  for action in range(1, 11):
    parts = [fields(name) for name in names if fields(name)["A"] == action]
    assert len({p["P"] in ntu60.TRAIN_PERFORMERS for p in parts}) == 2
    assert {p["C"] for p in parts} == {1, 2, 3}
    assert max(p["S"] for p in parts) <= 17  # Beyond is NTU120.
  # The converter leaves out clips that are known to be incomplete.
  assert not ntu60.NTU60.missing & set(names)


def test_circles_turn_as_they_are_called():
  for action, sign in ((1, 1), (2, -1)):
    joints = synthetic.clip(f"S001C001P004R001A{action:03d}", seed=0)[:, 0]
    hand = joints[:, [7, 11]] - joints[:, [1]]
    hand -= hand.mean(0)
    hand = hand[:, hand.var(0).sum(-1).argmax()]
    # He faces the camera: his left is -x, and left, up, right is clockwise.
    left, up = -hand[:, 0], hand[:, 1]
    area = (up[:-1] * left[1:] - left[:-1] * up[1:]).sum()
    assert np.sign(area) == -sign


def test_the_average_pose_says_little_and_the_motion_much():
  clips, labels, train = load(10, 78)
  poses = np.array([joints.mean(0).ravel() for joints in clips])
  assert max(linear_accuracies(poses, labels, train)) < 0.4
  motion = np.array([motion_features(joints) for joints in clips])
  assert max(linear_accuracies(motion, labels, train)) > 0.85


def test_a_directory_with_files_is_refused(tmp_path):
  (tmp_path / "mine").touch()
  with pytest.raises(errors.DataError) as error:
    synthetic.main(["--out", str(tmp_path), "--seed", "0"])
  message = str(error.value)
  assert str(tmp_path) in message and "--out" in message
  assert "\n" not in message
  assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
  def fail(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(synthetic, "skeleton_text", fail)
  with pytest.raises(KeyboardInterrupt):
    synthetic.write(tmp_path / "raw", seed=0, clips_per_class=1)
  assert not list(tmp_path.iterdir())


def test_last_line_names_the_next_command(tmp_path, capsys):
  out = tmp_path / "raw"
  out.mkdir()  # Empty is fine.
  synthetic.main(["--out", str(out), "--num_classes=1", "--clips_per_class=3"])
  last = capsys.readouterr().out.splitlines()[-1]
  assert "3 clips" in last
  assert last.endswith(f"data_prep.ntu60 --raw {out} --out data/synthetic")
  assert len(list(out.iterdir())) == 3


def test_more_than_sixty_classes_are_converted_as_ntu120(tmp_path, capsys):
  out = tmp_path / "raw"
  synthetic.main(["--out", str(out), "--num_classes=61", "--clips_per_class=1"])
  assert f"data_prep.ntu120 --raw {out}" in capsys.readouterr().out


@pytest.mark.parametrize(
  "name", ["S001C001P001", "S001C004P001R001A001", "S001C001P001R001A121"]
)
def test_an_unknown_clip_is_refused(name):
  with pytest.raises(ValueError, match=name):
    synthetic.clip(name, seed=0)


@pytest.mark.parametrize("arguments", [{"num_classes": 121}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(arguments, tmp_path):
  with pytest.raises(ValueError, match="num_classes must be 1 to 120"):
    synthetic.write(tmp_path / "raw", **({"seed": 0} | arguments))


def test_further_classes_are_the_actions_in_other_manners():
  def pose(action):
    """The mean pose [V, 3] over clips, person and camera set aside."""
    name = "S001C001P001R{:03d}A{:03d}"
    clips = (
      synthetic.clip(name.format(number, action), seed=0, noise=False)[:, 0]
      for number in range(1, 9)
    )
    return np.mean([(c - c[:, :1]).mean(axis=0) for c in clips], axis=0)

  upright, back, forwards = pose(7), pose(7 + 24), pose(7 + 48)
  neck_z = [joints[synthetic.NECK, 2] for joints in (forwards, upright, back)]
  assert neck_z[0] < neck_z[1] - 0.1 < neck_z[1] + 0.1 < neck_z[2]
