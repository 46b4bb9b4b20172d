# SPDX-License-Identifier: Apache-2.0
"""Bones of a layout file to a tree: pairs of joint names, in any direction."""

from collections.abc import Collection, Sequence

from sgcl_jax import errors

Bones = Sequence[tuple[str, str]]


def find_parents(
  bones: Bones, keep: Collection[str], center: str, root: str | None = None
) -> dict[str, str]:
  """Directs bones to the root and leaves out joints that are not kept.

  Without `root`, the bones themselves name it: the joint without a parent if
  they are pairs of a joint and its parent, or of a parent and its joint. A
  chain is both; then the center is the root if it is an end of it. Otherwise,
  as in the lines of a drawing, the center is the root.

  Args:
    bones: Pairs of joints; the same pair may come twice.
    keep: Joints of the tree. A joint whose parent is left out gets the nearest
      kept joint on the way to the root.
    center: A kept joint.
    root: A kept joint.

  Returns:
    For each kept joint its parent; the root is its own parent.

  Raises:
    ConfigError: If bones make a ring, or leave a kept joint apart.
  """
  neighbours = _connect(bones)
  root = root or find_root(bones, center)
  if root not in keep:
    root = center
  parents, queue = {root: root}, [root]
  nearest = {root: root}  # Of each joint on the way: itself if it is kept.
  for joint in queue:
    for other in neighbours.get(joint, ()):
      if other not in nearest:
        nearest[other] = other if other in keep else nearest[joint]
        if other in keep:
          parents[other] = nearest[joint]
        queue.append(other)
  apart = [joint for joint in keep if joint not in parents]
  if apart:
    raise errors.ConfigError(
      f"no bones lead from {root!r} to {', '.join(map(repr, apart))}"
    )
  return parents


def find_root(bones: Bones, center: str) -> str:
  """Returns the root that bones name by their direction, or the center."""
  joints = dict.fromkeys(joint for bone in bones for joint in bone)
  ends = []
  for side in zip(*bones, strict=True):
    rest = [joint for joint in joints if joint not in side]
    if len(set(side)) == len(side) and len(rest) == 1:
      ends += rest
  return center if center in ends or not ends else ends[0]


def _connect(bones):
  """Returns the neighbours of each joint; a ring is refused."""
  neighbours = {}
  for first, second in bones:
    if second in neighbours.get(first, ()):
      continue  # The lines of a drawing may name it in both directions.
    ring = _find_path(neighbours, first, second)
    if ring:
      raise errors.ConfigError(f"the bones of {', '.join(ring)} make a ring")
    neighbours.setdefault(first, []).append(second)
    neighbours.setdefault(second, []).append(first)
  return neighbours


def _find_path(neighbours, start, end):
  """Returns the joints from start to end, empty if there is no way."""
  paths = [[start]]
  seen = {start}
  for path in paths:
    if path[-1] == end:
      return path
    for joint in neighbours.get(path[-1], ()):
      if joint not in seen:
        seen.add(joint)
        paths.append([*path, joint])
  return []
