# SPDX-License-Identifier: Apache-2.0
"""Joints, bones and adjacency of each skeleton layout."""

import dataclasses
import difflib
import json
import os

import numpy as np

from sgcl_jax import errors
from sgcl_jax.dataset import regular_file
from sgcl_jax.joints import bones, layout_file, layouts
from sgcl_jax.terminal import wording


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """A joint layout; hashable, so that a Flax module can hold it.

  Attributes:
    name: Name in messages and metadata.
    joints: Joint names, in the order of the network's input.
    parents: For each joint, the index of the next joint towards the root; the
      root is its own parent.
    center: Indices of the joints whose mean is the origin of a clip.
    dimensions: 2 or 3. With 2, the third channel of a joint is its score.
    recorded: Joint names in the order of a raw clip, if they are not `joints`.
    parts: For each joint, the indices of the recorded joints whose mean it is;
      empty without `recorded`.
  """

  name: str
  joints: tuple[str, ...]
  parents: tuple[int, ...]
  center: tuple[int, ...]
  dimensions: int = 3
  recorded: tuple[str, ...] = ()
  parts: tuple[tuple[int, ...], ...] = ()

  @property
  def num_joints(self) -> int:
    """V."""
    return len(self.joints)

  @property
  def num_recorded(self) -> int:
    """Joints of a raw clip."""
    return len(self.recorded or self.joints)

  @property
  def root(self) -> int:
    """Index of the root."""
    return next(j for j, parent in enumerate(self.parents) if j == parent)

  def derive(self, skeleton: np.ndarray) -> np.ndarray:
    """Computes the joints from those of a raw clip.

    Args:
      skeleton: [..., num_recorded, C], NaN where a joint is absent.

    Returns:
      [..., V, C]. The score of a mean is the mean of the scores; without one of
      its joints, a mean is absent.
    """
    if not self.recorded:
      return skeleton
    return np.stack(
      [skeleton[..., list(part), :].mean(axis=-2) for part in self.parts],
      axis=-2,
    )

  def to_json(self) -> str:
    """Returns the text of a layout file, see `parse`."""
    pairs = [
      [joint, self.joints[parent]]
      for joint, parent in zip(self.joints, self.parents, strict=True)
      if self.joints[parent] != joint
    ]
    center = [self.joints[joint] for joint in self.center]
    content = {
      "name": self.name,
      "joints": self.recorded or self.joints,
      "bones": pairs,
      "center": center if len(center) > 1 else center[0],
      "dimensions": self.dimensions,
    }
    # Keys that are seldom needed: older versions wrote the others alone.
    if bones.find_root(pairs, center[0]) != self.joints[self.root]:
      content["root"] = self.joints[self.root]
    if self.recorded:
      content["computed"] = {
        joint: [self.recorded[i] for i in part]
        for joint, part in zip(self.joints, self.parts, strict=True)
        if joint not in self.recorded
      }
      content["keep"] = self.joints
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


def _build(name):
  center, dimensions, rows = layouts.LAYOUTS[name]
  joints, parents = zip(*rows, strict=True)
  return Skeleton(
    name,
    joints,
    tuple(map(joints.index, parents)),
    (joints.index(center),),
    dimensions,
  )


LAYOUTS = {name: _build(name) for name in layouts.LAYOUTS}
NAMES = (*LAYOUTS, *layouts.ALIASES)
NTU, UCLA = LAYOUTS["ntu"], LAYOUTS["ucla"]


def parse(text: str, source: str) -> Skeleton:
  """Reads a layout from JSON.

  Args:
    text: An object with the keys that docs/CUSTOM_DATA.md describes: `name`;
      `joints` in the order of the data, or `base`, a layout by name; `bones`,
      pairs of joints; `center`, a joint or several; `dimensions`, 2 or 3. And,
      where they are needed, `root`, `computed` and `keep`.
    source: Name of the text, for messages.

  Raises:
    ConfigError: If a key is missing, unknown or of a wrong value, or if the
      bones do not make one tree. The message names the source and the key.
  """
  try:
    content = json.loads(text.removeprefix("\ufeff"))
  except (RecursionError, ValueError) as error:
    raise errors.ConfigError(f"{source} is no JSON: {error}") from error
  try:
    return _parse(content)
  except errors.ConfigError as error:
    raise errors.ConfigError(f"{source}: {error}") from error


def _parse(content):
  if isinstance(content, dict) and "base" in content:
    base = content["base"]
    if not isinstance(base, str) or base not in NAMES:
      raise errors.ConfigError(
        f"base is {wording.quote(base)}{_suggest(base)}; known:"
        f" {', '.join(NAMES)}"
      )
    rest = {key: value for key, value in content.items() if key != "base"}
    if "joints" in rest:
      raise errors.ConfigError("joints and base exclude each other")
    content = {**json.loads(get(base).to_json()), "name": None, **rest}
  layout = Skeleton(**layout_file.read_fields(content))
  taken = LAYOUTS.get(layouts.ALIASES.get(layout.name, layout.name), layout)
  if layout != taken:
    raise errors.ConfigError(
      f"the name {layout.name!r} is taken by a layout of other joints or bones"
    )
  return layout


def read(path: str | os.PathLike) -> Skeleton:
  """Reads a layout file, see `parse`."""
  try:
    text = regular_file.read_utf8(path)
  except errors.DataError as error:
    raise errors.ConfigError(f"{path} {error}") from error
  except UnicodeDecodeError as error:
    raise errors.ConfigError(f"{path} is no UTF-8 text ({error})") from error
  return parse(text, str(path))


def get(skeleton: str | Skeleton) -> Skeleton:
  """Returns a layout.

  Args:
    skeleton: A layout, the name of one of `LAYOUTS` (`kinect20` and `kinect25`
      are `ucla` and `ntu`), the path of a layout file `*.json`, or the text of
      such a file.

  Raises:
    ConfigError: If there is no such layout.
  """
  if isinstance(skeleton, Skeleton):
    return skeleton
  if not isinstance(skeleton, str):
    raise errors.ConfigError(
      f"a layout is a name or a text, not {wording.quote(skeleton)}"
    )
  if skeleton.startswith("{"):
    return parse(skeleton, "config.skeleton")
  if skeleton.endswith(".json"):
    return read(skeleton)
  if skeleton not in NAMES:
    raise errors.ConfigError(
      f"unknown skeleton {wording.quote(skeleton)}{_suggest(skeleton)}; known:"
      f" {', '.join(NAMES)}, or the path of a layout file *.json"
    )
  return LAYOUTS[layouts.ALIASES.get(skeleton, skeleton)]


def _suggest(name):
  """Returns `, perhaps ... is meant`, nothing without a near name."""
  close = difflib.get_close_matches(str(name).lower(), NAMES, n=1)
  return f", perhaps {close[0]} is meant" if close else ""
