# SPDX-License-Identifier: Apache-2.0
"""docs/RECIPES.md: every recipe, run on a tiny file of its format."""

import json
import pathlib
import re
import types

import numpy as np
import pytest
import scipy.io

from data_prep.clips import reader
from sgcl_jax import skeletons

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "RECIPES.md"
START, *SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")
SECTIONS = {part.partition("\n")[0]: part for part in SECTIONS}
NUM_FRAMES = 3


def read_blocks(text, language):
  return [block.split("```")[0] for block in text.split(f"```{language}\n")[1:]]


def make_joints(joints, size=3, *, seed=0, people=1):
  """Returns [T, M, V, size], numbers that text files keep."""
  rng = np.random.default_rng(seed)
  shape = NUM_FRAMES, people, joints, size
  joints = rng.uniform(1, 9, shape).round(3)
  if size == 3:
    joints[..., 2] /= 10  # A score, where it is one.
  return joints


def write(path, text):
  path = pathlib.Path("raw", path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def write_rows(path, rows, header="", delimiter=" "):
  lines = [delimiter.join(str(value) for value in row) for row in rows]
  write(path, "\n".join([*([header] if header else []), *lines, ""]))


def write_mat(path, **content):
  path = pathlib.Path("raw", path)
  path.parent.mkdir(parents=True, exist_ok=True)
  scipy.io.savemat(path, content)


def openpose():
  joints = make_joints(25)
  joints[1, 0, 4] = 0  # Not found, as OpenPose writes it.
  for t, pose in enumerate(joints[:, 0]):
    people = [{"pose_keypoints_2d": pose.ravel().tolist()}] if t < 2 else []
    write(
      f"train/wave/01/01_{t:012}_keypoints.json",
      json.dumps({"version": 1.3, "people": people}),
    )
  joints[2] = 0
  return {"wave_01": ("train", "wave", joints)}


def alphapose():
  joints = make_joints(26, people=2)
  joints[0, 1] = 0  # The second one comes later.
  poses = [
    {
      "image_id": f"{t}.jpg",
      "category_id": 1,
      "keypoints": joints[t, person].ravel().tolist(),
      "score": 2.5,
      "idx": (3, 7)[person],
    }
    for t in range(NUM_FRAMES)
    for person in (1, 0)
    if joints[t, person].any()
  ]
  write("test/kick/02.json", json.dumps(poses))
  return {"kick_02.json": ("test", "kick", joints)}


def yolo():
  joints = make_joints(17, people=2)
  joints[0, 1] = 0
  shares = joints / (1920, 1080, 1)
  for t in range(NUM_FRAMES):
    rows = [
      [0, 0.5, 0.5, 0.1, 0.2, *shares[t, person].ravel(), 5 + person]
      for person in range(2)
      if joints[t, person].any()
    ]
    write_rows(f"train/wave/03/video_{t + 1}.txt", rows)
  return {"wave_03": ("train", "wave", joints)}


def mediapipe():
  joints = make_joints(33)
  joints[1] = 0
  results = []
  for pose in joints[:, 0]:
    points = [types.SimpleNamespace(x=x, y=y, z=z) for x, y, z in pose]
    found = [points] if pose.any() else []
    results.append(types.SimpleNamespace(pose_world_landmarks=found))
  return {"wave_01": ("train", "wave", joints)}, {"results": results}


def kinect():
  joints = make_joints(25)
  header = ",".join(f"Joint{i}_{axis}" for i in range(25) for axis in "xyz")
  rows = joints.reshape(NUM_FRAMES, -1)
  write_rows("test/wave/04.csv", rows, header, ",")
  return {"wave_04.csv": ("test", "wave", joints)}


def azure():
  joints = make_joints(32, people=2)
  joints[2, 0] = 0
  frames = [
    {
      "frame_id": t,
      "bodies": [
        {"body_id": 1 + m, "joint_positions": (1000 * joints[t, m]).tolist()}
        for m in (1, 0)
        if joints[t, m].any()
      ],
    }
    for t in range(NUM_FRAMES)
  ]
  write("train/kick/05.json", json.dumps({"frames": frames}))
  return {"kick_05.json": ("train", "kick", joints)}


def msr():
  expected = {}
  for subject, split in ((5, "train"), (6, "test")):
    joints = make_joints(20, seed=subject)
    name = f"a07_s{subject:02}_e01_skeleton3D"
    scores = np.ones((NUM_FRAMES * 20, 1))
    write_rows(
      f"{name}.txt", np.concatenate([joints.reshape(-1, 3), scores], axis=1)
    )
    expected[name] = split, "a07", joints
  return expected


def utd():
  expected = {}
  for subject, split in ((1, "train"), (8, "test")):
    joints = make_joints(20, seed=subject)
    order = [3, 2, 1, 0, *range(4, 20)]  # Its own inverse.
    stored = joints[:, 0, order].transpose(1, 2, 0)  # [20, 3, T], head first.
    name = f"a27_s{subject}_t4_skeleton"
    write_mat(f"{name}.mat", d_skel=stored)
    expected[name] = split, "a27", joints
  return expected


def jhmdb():
  expected = {}
  lines = []
  for number, split in (("1", "train"), ("2", "test")):
    joints = make_joints(15, 2, seed=int(number))
    video = f"video_{number}"
    write_mat(
      f"joint_positions/brush_hair/{video}/joint_positions.mat",
      pos_img=joints[:, 0].transpose(2, 1, 0),
    )
    lines.append(f"{video}.avi {number}\n")
    scored = np.concatenate([joints, np.ones_like(joints[..., :1])], axis=-1)
    expected[f"brush_hair_{video}"] = split, "brush_hair", scored
  write("splits/brush_hair_test_split1.txt", "".join(lines))
  return expected


def pku():
  write(
    "cross-subject.txt",
    "Training videos:\n0002-L, 0003-M\nValidataion videos:\n0005-R\n",
  )
  expected = {}
  for stem, split in (("0002-L", "train"), ("0005-R", "test")):
    joints = make_joints(25, people=2, seed=len(split))
    joints[:, 1] = 0  # One person.
    before = np.full((4, 150), 7.0)
    rows = np.concatenate([before, joints.reshape(NUM_FRAMES, 150), before])
    write_rows(f"Skeleton/{stem}.txt", rows)
    write_rows(f"Label/{stem}.txt", [(11, 4, 7, 2)], delimiter=",")
    expected[f"{stem}_00004"] = split, "action 11", joints
  return expected


def shrec():
  expected = {}
  for subject, split in ((1, "train"), (2, "test")):
    stored = make_joints(22, seed=subject)
    write_rows(
      f"gesture_14/finger_2/subject_{subject}/essai_3/skeletons_world.txt",
      stored.reshape(NUM_FRAMES, 66),
    )
    write(f"{split}_gestures.txt", f"14 2 {subject} 3 14 28 {NUM_FRAMES}\n")
    joints = np.concatenate([stored[:, :, :1], stored[:, :, 2:]], axis=2)
    expected[f"14_2_{subject}_3"] = split, "gesture 14", joints
  return expected


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT Head
    {
      OFFSET 0 5 0
      CHANNELS 3 Zrotation Xrotation Yrotation
      End Site
      {
        OFFSET 0 2 0
      }
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.033333
1 90 2 0 0 0 0 0 0 0 0 0
2 90 2 0 0 0 90 0 0 0 0 0
3 90 2 90 0 0 0 0 0 0 0 0
"""


def bvh():
  """Turns of 90 degrees about z: y becomes -x."""
  pytest.importorskip("pybvh")
  write("train/bow/06.bvh", BVH)
  joints = np.array(
    [
      [[1, 90, 2], [1, 100, 2], [1, 105, 2]],
      [[2, 90, 2], [2, 100, 2], [-3, 100, 2]],
      [[3, 90, 2], [-7, 90, 2], [-12, 90, 2]],
    ],
    float,
  )
  return {"bow_06.bvh": ("train", "bow", joints[:, None])}


RECIPES = {
  "OpenPose": openpose,
  "AlphaPose": alphapose,
  "YOLO": yolo,
  "MediaPipe": mediapipe,
  "Kinect v2": kinect,
  "Azure Kinect": azure,
  "MSR-Action3D": msr,
  "UTD-MHAD": utd,
  "JHMDB": jhmdb,
  "PKU-MMD": pku,
  "SHREC'17": shrec,
  "BVH": bvh,
}


def test_every_recipe_is_run():
  assert list(RECIPES) == list(SECTIONS)
  table = (PAGE.parent / "CUSTOM_DATA.md").read_text(encoding="utf-8")
  for title in RECIPES:
    anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    assert f"(RECIPES.md#{anchor})" in table


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe(title, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("raw").mkdir()
  made = RECIPES[title]()
  expected, given = made if isinstance(made, tuple) else (made, {})
  # Recordings of one name in two splits would replace each other.
  expected = {f"{clip[0]}_{name}": clip for name, clip in expected.items()}
  (start,) = read_blocks(START, "python")
  (recipe,) = read_blocks(SECTIONS[title], "python")
  assert len(recipe.strip().splitlines()) <= 16
  exec(start + recipe, given)  # As a user's script.
  name = re.search(r"`--layout (\S+)`", SECTIONS[title]).group(1)
  for block in read_blocks(SECTIONS[title], "json"):
    pathlib.Path(name).write_text(block)
  layout = skeletons.get(name)
  found = reader.read_all(pathlib.Path("my_clips"), reader.Options(layout))
  assert not found.problems
  assert {clip.name for clip in found.clips} == set(expected)
  for clip in found.clips:
    split, label, joints = expected[clip.name]
    assert (clip.split, clip.label) == (split, label)
    size = layout.dimensions
    present = joints.any(axis=-1)
    assert present[0, 0, list(layout.center)].all()
    origin = np.zeros(3)
    origin[:size] = joints[0, 0, list(layout.center), :size].mean(axis=0)
    np.testing.assert_allclose(
      clip.skeleton, np.where(present[..., None], joints - origin, 0), atol=1e-5
    )
