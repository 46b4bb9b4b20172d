# SPDX-License-Identifier: Apache-2.0
"""Joints, bones and adjacency of each skeleton layout."""

import dataclasses

import numpy as np

from sgcl_jax import errors


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """A joint layout; hashable, so that a Flax module can hold it.

  Attributes:
    name: Name in messages and metadata.
    joints: Joint names, in the order of the data.
    parents: For each joint the index of the next one towards the root; the root
      is its own parent.
    center: Joint that is the origin of a clip.
  """

  name: str
  joints: tuple[str, ...]
  parents: tuple[int, ...]
  center: int

  @property
  def num_joints(self) -> int:
    return len(self.joints)

  @property
  def root(self) -> int:
    return next(j for j, parent in enumerate(self.parents) if j == parent)

  def parents_from(self, root: int) -> tuple[int, ...]:
    """Returns the parents when the tree hangs from another joint."""
    parents, path = list(self.parents), [root]
    while path[-1] != self.parents[path[-1]]:
      path.append(self.parents[path[-1]])
    # The edges from the new root up to the old one turn round.
    for child, parent in zip(path, path[1:], strict=False):
      parents[parent] = child
    parents[root] = root
    return tuple(parents)

  def adjacency(self) -> np.ndarray:
    """Returns [3, V, V]: identity, inward and outward edges (ST-GCN, 2018).

    Each column sums to one, or to zero where a joint has no such edge.
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


def get(skeleton: str | Skeleton) -> Skeleton:
  """Returns a layout by name; a `Skeleton` is returned as it is.

  Raises:
    ConfigError: If there is no layout of that name.
  """
  if isinstance(skeleton, Skeleton):
    return skeleton
  if skeleton not in LAYOUTS:
    raise errors.ConfigError(
      f"unknown skeleton {skeleton!r}; known: {', '.join(LAYOUTS)}"
    )
  return LAYOUTS[skeleton]
