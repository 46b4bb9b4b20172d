# SPDX-License-Identifier: Apache-2.0
"""Layouts against the reference's adjacency, layout files, and their rules."""

import json

import numpy as np
import pytest

from sgcl_jax import errors, skeletons

ARM = {
  "name": "arm",
  "joints": ["shoulder", "elbow", "wrist", "hand"],
  "bones": [["elbow", "shoulder"], ["wrist", "elbow"], ["hand", "wrist"]],
  "center": "shoulder",
  "dimensions": 3,
}
# Rows of each format's own documentation: index -> name, of our spelling.
ORDER = {
  "ntu": {0: "base of the spine", 20: "spine at the shoulders"},
  "ucla": {2: "shoulder center", 19: "right foot"},
  "coco17": {0: "nose", 5: "left shoulder", 16: "right ankle"},
  "openpose18": {1: "neck", 8: "right hip", 14: "right eye", 17: "left ear"},
  "openpose25": {8: "middle of the hips", 14: "left ankle", 24: "right heel"},
  "halpe26": {17: "head", 18: "neck", 19: "middle of the hips"},
  "mediapipe33": {0: "nose", 11: "left shoulder", 32: "right foot index"},
  "hand21": {0: "wrist", 4: "thumb tip", 5: "index mcp", 20: "pinky tip"},
  "azure32": {0: "pelvis", 3: "neck", 18: "left hip", 26: "head"},
}
# Bones of that documentation, or of the source that joints/layouts.py names.
BONES = {
  "coco17": {(15, 13), (13, 11), (9, 7), (7, 5), (3, 1), (1, 0)},
  "openpose18": {(8, 1), (11, 1), (2, 1), (14, 0), (16, 14), (0, 1)},
  "openpose25": {(1, 8), (9, 8), (19, 14), (20, 19), (21, 14), (22, 11)},
  "halpe26": {(18, 19), (17, 18), (5, 18), (20, 24), (24, 15), (25, 16)},
  "mediapipe33": {(7, 3), (8, 6), (17, 15), (23, 11), (31, 27), (29, 27)},
  "hand21": {(5, 0), (9, 0), (13, 0), (17, 0), (1, 0), (20, 19)},
  "azure32": {(4, 2), (10, 7), (9, 8), (26, 3), (31, 26), (22, 0)},
}
SIZES = {"ntu": 25, "ucla": 20, "coco17": 17, "openpose18": 18}
SIZES |= {"openpose25": 25, "halpe26": 26, "mediapipe33": 33}
SIZES |= {"hand21": 21, "azure32": 32}
FLAT = {"coco17", "openpose18", "openpose25", "halpe26"}


def parse(**changes):
  content = {**ARM, **changes}
  content = {key: value for key, value in content.items() if value is not ...}
  return skeletons.parse(json.dumps(content), "arm.json")


def find_bones(layout):
  """Returns {(joint, parent)} by name, and the root's name."""
  pairs = zip(layout.joints, layout.parents, strict=True)
  named = {(joint, layout.joints[parent]) for joint, parent in pairs}
  root = layout.joints[layout.root]
  return named - {(root, root)}, root


def mirror(joint):
  side, _, rest = joint.partition(" ")
  other = {"left": "right", "right": "left"}.get(side, side)
  return " ".join([other, rest]).strip()


def test_adjacency_equals_reference(golden):
  """An untrained reference model holds the adjacency it starts from."""
  data = golden("F_trajectory_ctrgcn_ucla.npz")
  for block in (1, 10):
    expected = data[f"state/l{block}.gcn1.PA"].astype(np.float64)
    ours = skeletons.UCLA.adjacency()
    np.testing.assert_allclose(ours, expected, atol=1e-3)


@pytest.mark.parametrize("layout", skeletons.LAYOUTS.values())
def test_layouts_are_trees(layout):
  identity, inward, outward = layout.adjacency()
  num_edges = layout.num_joints - 1
  np.testing.assert_array_equal(identity, np.eye(layout.num_joints))
  assert inward.sum() == num_edges
  np.testing.assert_array_equal(outward > 0, inward.T > 0)
  for matrix in (inward, outward):
    sums = matrix.sum(axis=0)
    assert np.all(np.isclose(sums, 0) | np.isclose(sums, 1))
  for joint in range(layout.num_joints):
    for _ in range(layout.num_joints):
      joint = layout.parents[joint]
    assert joint == layout.root  # All joints lead to the one root.


@pytest.mark.parametrize("name", skeletons.LAYOUTS)
def test_layouts_by_name(name):
  layout = skeletons.get(name)
  assert (layout.name, layout.num_joints) == (name, SIZES[name])
  assert len(set(layout.joints)) == layout.num_joints == layout.num_recorded
  assert layout.dimensions == (2 if name in FLAT else 3)
  for joint, expected in ORDER[name].items():
    assert layout.joints[joint] == expected
  edges = set(enumerate(layout.parents))
  assert BONES.get(name, set()) <= edges
  if name not in ("ntu", "ucla"):  # As the reference: the spine's middle.
    assert layout.center == (layout.root,)
  # Left and right are mirror images, in the tree as in the names.
  bones, _ = find_bones(layout)
  assert {(mirror(joint), mirror(parent)) for joint, parent in bones} == bones


def test_get():
  assert skeletons.get("ntu") is skeletons.get("kinect25") is skeletons.NTU
  assert skeletons.get("ucla") is skeletons.get("kinect20") is skeletons.UCLA
  assert skeletons.get(skeletons.UCLA) is skeletons.UCLA
  with pytest.raises(
    ValueError, match="'coco', perhaps coco17 is meant; known: ntu"
  ):
    skeletons.get("coco")
  with pytest.raises(ValueError, match="azure32, kinect25, kinect20, or the"):
    skeletons.get("layout.txt")


@pytest.mark.parametrize("name", skeletons.LAYOUTS)
def test_a_named_layout_survives_its_own_text(name):
  """A data set stores the text; it is the same layout again."""
  layout = skeletons.get(name)
  assert skeletons.get(layout.to_json()) == layout
  other = layout.to_json().replace(f'"{name}"', '"mine"', 1)
  assert skeletons.get(other).parents == layout.parents
  assert skeletons.get(skeletons.get(other).to_json()).name == "mine"


@pytest.mark.parametrize(
  "bones",
  [
    [["elbow", "shoulder"], ["wrist", "elbow"], ["hand", "wrist"]],
    [["shoulder", "elbow"], ["elbow", "wrist"], ["wrist", "hand"]],
    [["wrist", "hand"], ["wrist", "elbow"], ["shoulder", "elbow"]],
    [["hand", "wrist"], ["wrist", "hand"], *ARM["bones"]],
  ],
)
def test_bones_may_have_any_direction(bones):
  layout = parse(bones=bones)
  assert layout == parse()
  assert layout.parents == (0, 0, 1, 2)
  assert skeletons.get(layout.to_json()) == layout


def test_the_root_of_a_tree_that_branches():
  joints = ["hip", "spine", "head", "left", "right"]
  away = [["hip", "spine"], ["spine", "head"], ["spine", "left"]]
  away += [["spine", "right"]]
  home = [[b, a] for a, b in away]
  fields = {"joints": joints, "center": "spine"}
  for bones in (away, home):  # Parent first, parent last.
    layout = parse(bones=bones, **fields)
    assert find_bones(layout) == ({(b, a) for a, b in away}, "hip")
    assert skeletons.get(layout.to_json()) == layout
  mixed = [home[0], *away[1:]]
  assert parse(bones=mixed, **fields).root == 1  # A drawing: the center.
  assert parse(bones=mixed, root="head", **fields).root == 2
  assert parse(bones=home, root="left", **fields).parents == (1, 3, 1, 3, 1)
  chain = parse(root="hand")
  assert chain.parents == (1, 2, 3, 3) and chain.center == (0,)
  assert skeletons.get(chain.to_json()) == chain


def test_center_of_several_joints():
  layout = parse(center=["elbow", "wrist"])
  assert layout.center == (1, 2)
  assert skeletons.get(layout.to_json()) == layout


def test_computed_joints_and_sub_skeletons():
  keep = ["middle", "neck", "nose", "left shoulder", "left wrist"]
  content = {
    "name": "upper",
    "base": "coco17",
    "computed": {
      "middle": ["left hip", "right hip"],
      "neck": ["left shoulder", "right shoulder"],
    },
    "keep": keep,
    "bones": [
      ["middle", "neck"],
      ["neck", "nose"],
      ["neck", "left shoulder"],
      ["left shoulder", "left elbow"],
      ["left elbow", "left wrist"],
    ],
    "center": "middle",
  }
  layout = skeletons.parse(json.dumps(content), "upper")
  assert layout.joints == tuple(keep) and layout.dimensions == 2
  assert (layout.num_joints, layout.num_recorded) == (5, 17)
  # The elbow is left out: the wrist hangs on the shoulder.
  assert layout.parents == (0, 0, 1, 1, 3)
  assert skeletons.get(layout.to_json()) == layout
  clip = np.random.default_rng(0).random((4, 2, 17, 3), np.float32)
  clip[1, 0, 11] = np.nan
  found = layout.derive(clip)
  assert found.shape == (4, 2, 5, 3)
  np.testing.assert_allclose(found[..., 0, :], clip[..., 11:13, :].mean(-2))
  assert np.isnan(found[1, 0, 0]).all() and np.isnan(found).sum() == 3
  np.testing.assert_array_equal(found[..., 2:, :], clip[..., [0, 5, 9], :])
  plain = parse()
  assert plain.derive(clip) is clip and plain.num_recorded == 4


def test_a_base_without_some_joints():
  """Its bones skip what is left out, also its root."""
  base = skeletons.get("openpose25")
  keep = [joint for joint in base.joints if joint != "middle of the hips"]
  content = {"name": "a", "base": "openpose25", "keep": keep, "center": "neck"}
  layout = skeletons.parse(json.dumps(content), "a")
  bones, root = find_bones(layout)
  assert root == "neck" and ("left hip", "neck") in bones
  assert ("left knee", "left hip") in bones and len(bones) == 23
  flat = json.dumps({"name": "b", "base": "hand21", "dimensions": 2})
  assert skeletons.parse(flat, "b").dimensions == 2


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"bones": [["elbow", "knee"]]}, "'knee' in bones is not one of the joi"),
    (
      {"center": "hip"},
      "'hip' in center is not one of the joints that are kept",
    ),
    ({"center": []}, "center is empty"),
    ({"center": ["wrist", "wrist"]}, "'wrist' is named twice in center"),
    ({"bones": ARM["bones"][:2]}, "no bones lead from 'shoulder' to 'hand'"),
    ({"bones": []}, "from 'shoulder' to 'elbow', 'wrist', 'hand'"),
    (
      {"bones": [*ARM["bones"], ["hand", "elbow"]]},
      "the bones of hand, wrist, elbow make a ring",
    ),
    (
      {"bones": [["elbow", "wrist"], ["wrist", "hand"], ["hand", "elbow"]]},
      "the bones of hand, wrist, elbow make a ring",
    ),
    ({"bones": [["elbow"]]}, r"bones holds \['elbow'\], not a pair"),
    ({"bones": [["hand", "hand"]]}, "'hand' is named twice in bones"),
    ({"bones": {"elbow": "hand"}}, "bones is .*, not a list of pairs"),
    ({"joints": [*ARM["joints"], "hand"]}, "'hand' is named twice in joints"),
    ({"joints": None}, "joints is missing"),
    ({"joints": "arm"}, "joints is 'arm', not a list"),
    ({"joints": [["a"], "b"]}, r"joints holds \['a'\], which is no name"),
    ({"dimension": 2}, "unknown key 'dimension'"),
    ({"dimensions": ...}, "dimensions is missing .*3 for x, y, z; 2 for x, y"),
    ({"dimensions": 4}, "dimensions is 4"),
    ({"dimensions": True}, "dimensions is True"),
    ({"dimensions": "2"}, "dimensions is '2'"),
    ({"dimensions": [2]}, r"dimensions is \[2\]"),
    ({"name": "ntu"}, "the name 'ntu' is taken"),
    ({"name": "kinect20"}, "the name 'kinect20' is taken"),
    ({"name": ["arm"]}, r"name holds \['arm'\], which is no name"),
    ({"name": " "}, "name holds ' '"),
    ({"base": "coco17"}, "joints and base exclude each other"),
    (
      {"base": "coco", "joints": ...},
      "base is 'coco', perhaps coco17 is meant; known: ntu",
    ),
    ({"base": ["coco17"], "joints": ...}, r"base is \['coco17'\], perha"),
    ({"keep": ["elbow"]}, "'shoulder' in center is not one of the joints that"),
    ({"root": ["hand", "wrist"]}, "root holds .*, which is no name"),
    ({"computed": ["neck"]}, "computed is .*, not an object"),
    ({"computed": {"hand": ["wrist"]}}, "'hand' in computed is one of the"),
    ({"computed": {"a": ["b"]}}, "'b' in a is not one of the joints"),
    ({"computed": {"a": "b"}}, "a is 'b', not a list of names"),
  ],
)
def test_a_layout_that_makes_no_sense_is_refused(changes, message):
  with pytest.raises(errors.ConfigError, match=message) as error:
    parse(**changes)
  assert str(error.value).startswith("arm.json: ")


def test_joints_may_be_numbered():
  """Two roots or a ring of numbers are named, too."""
  fields = {"joints": [0, 1, 2], "center": 0}
  layout = parse(bones=[[1, 0], [2, 1]], **fields)
  assert layout.joints == ("0", "1", "2") and layout.parents == (0, 0, 1)
  with pytest.raises(errors.ConfigError, match="no bones lead from '0' to '2'"):
    parse(bones=[[1, 0]], **fields)
  with pytest.raises(errors.ConfigError, match="of 2, 1, 0 make a ring"):
    parse(bones=[[1, 0], [2, 1], [2, 0]], **fields)


def test_a_float_is_no_other_dimension():
  for value in (2, 2.0):
    layout = parse(dimensions=value)
    assert type(layout.dimensions) is int and layout.dimensions == 2


def test_files(tmp_path):
  path = tmp_path / "arm.json"
  path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ARM).encode())
  assert skeletons.get(str(path)) == parse()
  for data, message in (
    (b"\xff\xfe{", "arm.json is no UTF-8 text"),
    (b"{", "arm.json is no JSON"),
    (b"[]", "arm.json: a layout is a JSON object"),
    (b"[" * 100_000, "arm.json is no JSON"),
  ):
    path.write_bytes(data)
    with pytest.raises(errors.ConfigError, match=message):
      skeletons.get(str(path))
