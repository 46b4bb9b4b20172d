# SPDX-License-Identifier: Apache-2.0
"""Joints, bones and adjacency of each skeleton layout."""

import dataclasses
import json
import os
import pathlib

import numpy as np

from sgcl_jax import errors


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """A joint layout; hashable, so that a Flax module can hold it.

  Attributes:
    name: Name in messages and metadata.
    joints: Joint names, in the order of the data.
    parents: For each joint, the index of the next joint towards the root; the
      root is its own parent.
    center: Index of the joint that is the origin of a clip.
    dimensions: 2 or 3. With 2, the third channel of a joint is its score.
  """

  name: str
  joints: tuple[str, ...]
  parents: tuple[int, ...]
  center: int
  dimensions: int = 3

  @property
  def num_joints(self) -> int:
    """V."""
    return len(self.joints)

  @property
  def root(self) -> int:
    """Index of the root."""
    return next(j for j, parent in enumerate(self.parents) if j == parent)

  def to_json(self) -> str:
    """Returns the text of a layout file, see `parse`."""
    bones = [
      [joint, self.joints[parent]]
      for joint, parent in zip(self.joints, self.parents, strict=True)
      if self.joints[parent] != joint
    ]
    content = {
      "name": self.name,
      "joints": self.joints,
      "bones": bones,
      "center": self.joints[self.center],
      "dimensions": self.dimensions,
    }
    return json.dumps(content)

  def parents_from(self, root: int) -> tuple[int, ...]:
    """Returns the parents of the same tree with another root."""
    parents, path = list(self.parents), [root]
    while path[-1] != self.parents[path[-1]]:
      path.append(self.parents[path[-1]])
    # The edges between the new root and the old one change direction.
    for child, parent in zip(path, path[1:], strict=False):
      parents[parent] = child
    parents[root] = root
    return tuple(parents)

  def adjacency(self) -> np.ndarray:
    """Returns [3, V, V]: identity, inward and outward edges (ST-GCN, 2018).

    Each column sums to one, or to zero if the joint has no such edge.
    """
    num_joints = self.num_joints
    inward = np.zeros((num_joints, num_joints))
    for child, parent in enumerate(self.parents):
      if child != parent:
        inward[parent, child] = 1.0
    outward = inward.T
    outward = outward / np.maximum(outward.sum(axis=0, keepdims=True), 1.0)
    return np.stack([np.eye(num_joints), inward, outward])


def _layout(name: str, center: int, *rows: tuple[str, int]) -> Skeleton:
  """Builds a layout from (joint, 1-based number of its parent)."""
  joints, parents = zip(*rows, strict=True)
  return Skeleton(name, joints, tuple(p - 1 for p in parents), center - 1)


# Kinect v2, the order of NTU RGB+D; joint 21 is the root.
NTU = _layout(
  "ntu",
  2,
  ("base of the spine", 2),
  ("middle of the spine", 21),
  ("neck", 21),
  ("head", 3),
  ("left shoulder", 21),
  ("left elbow", 5),
  ("left wrist", 6),
  ("left hand", 7),
  ("right shoulder", 21),
  ("right elbow", 9),
  ("right wrist", 10),
  ("right hand", 11),
  ("left hip", 1),
  ("left knee", 13),
  ("left ankle", 14),
  ("left foot", 15),
  ("right hip", 1),
  ("right knee", 17),
  ("right ankle", 18),
  ("right foot", 19),
  ("spine at the shoulders", 21),
  ("left hand tip", 23),
  ("left thumb", 8),
  ("right hand tip", 25),
  ("right thumb", 12),
)

# Kinect v1, the order of NW-UCLA; joint 3 is the root.
UCLA = _layout(
  "ucla",
  2,
  ("hip center", 2),
  ("spine", 3),
  ("shoulder center", 3),
  ("head", 3),
  ("left shoulder", 3),
  ("left elbow", 5),
  ("left wrist", 6),
  ("left hand", 7),
  ("right shoulder", 3),
  ("right elbow", 9),
  ("right wrist", 10),
  ("right hand", 11),
  ("left hip", 1),
  ("left knee", 13),
  ("left ankle", 14),
  ("left foot", 15),
  ("right hip", 1),
  ("right knee", 17),
  ("right ankle", 18),
  ("right foot", 19),
)

LAYOUTS = {layout.name: layout for layout in (NTU, UCLA)}
LAYOUT_KEYS = ("name", "joints", "bones", "center", "dimensions")


def parse(text: str, source: str) -> Skeleton:
  """Reads a layout from JSON.

  Args:
    text: A JSON object with `name`, `joints` in the order of the data, `bones`
      as pairs of a joint and its parent, `center` and, for 2D joints,
      `dimensions` 2.
    source: Name of the text, for messages.

  Raises:
    ConfigError: If a key is missing, unknown or of a wrong value, or if the
      bones do not make one tree.
  """
  try:
    content = json.loads(text)
    joints = tuple(content["joints"])
    bones = [(child, parent) for child, parent in content["bones"]]
    name, center = content["name"], content["center"]
  except (KeyError, TypeError, ValueError) as error:
    raise errors.ConfigError(
      f"{source} is no layout of name, joints, bones (pairs of a joint and its"
      f" parent) and center ({type(error).__name__}: {error})"
    ) from error
  problem = _find_problem(joints, bones, center)
  unknown = content.keys() - LAYOUT_KEYS
  if unknown:
    problem = f"unknown key {min(unknown)!r}; known: {', '.join(LAYOUT_KEYS)}"
  if name in LAYOUTS:
    problem = f"the name {name!r} is taken"
  dimensions = content.get("dimensions", 3)
  if not problem and dimensions not in (2, 3):
    problem = f"dimensions is {dimensions!r}, not 2 or 3"
  if problem:
    raise errors.ConfigError(f"{source}: {problem}")
  parents = dict(bones)
  return Skeleton(
    name,
    joints,
    tuple(joints.index(parents.get(joint, joint)) for joint in joints),
    joints.index(center),
    dimensions,
  )


def _find_problem(joints, bones, center):
  """Returns why bones do not make one tree of the joints, None if they do."""
  for joint in joints:
    if joints.count(joint) > 1:
      return f"{joint!r} is named twice"
  for joint in [*(joint for bone in bones for joint in bone), center]:
    if joint not in joints:
      return f"{joint!r} is not one of the joints"
  children = [child for child, _ in bones]
  for child in children:
    if children.count(child) > 1:
      return f"{child!r} has more than one parent"
  roots = [joint for joint in joints if joint not in children]
  if len(roots) != 1:
    return f"the bones have {len(roots)} roots ({', '.join(roots)}), not one"
  reached, parents = set(roots), dict(bones)
  for joint in joints:
    path = []
    while joint not in reached:
      if joint in path:
        return f"the bones of {', '.join(path)} make a ring"
      path.append(joint)
      joint = parents[joint]
    reached.update(path)
  return None


def read(path: str | os.PathLike) -> Skeleton:
  """Reads a layout file, see `parse`."""
  return parse(pathlib.Path(path).read_text(), str(path))


def get(skeleton: str | Skeleton) -> Skeleton:
  """Returns a layout.

  Args:
    skeleton: A layout, the name of one of `LAYOUTS`, the path of a layout file
      `*.json`, or the text of such a file.

  Raises:
    ConfigError: If there is no such layout.
  """
  if isinstance(skeleton, Skeleton):
    return skeleton
  if skeleton.startswith("{"):
    return parse(skeleton, "config.skeleton")
  if skeleton.endswith(".json"):
    return read(skeleton)
  if skeleton not in LAYOUTS:
    raise errors.ConfigError(
      f"unknown skeleton {skeleton!r}; known: {', '.join(LAYOUTS)}"
    )
  return LAYOUTS[skeleton]
