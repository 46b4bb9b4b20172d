# SPDX-License-Identifier: Apache-2.0
"""Turns bodies as InfoGCN does: spine upwards, hips along the first axis."""

import numpy as np

# Joints 1 and 2, the ends of the lower spine, and 13 and 17, the hips.
SPINE_BASE, SPINE_MIDDLE, LEFT_HIP, RIGHT_HIP = 0, 1, 12, 16


def align(
  joints: np.ndarray, *, as_released: bool = False
) -> tuple[np.ndarray, list[str]]:
  """Turns each person by the axes of its first frame.

  The new axes are the hips' direction, freed of its part along the spine, its
  cross product with the spine, and the spine. As released, they are mirrored:
  their determinant is -1.

  Args:
    joints: [T, M, 25, 3], zeros for an absent person.
    as_released: Set a person who is absent in the clip's first frame to zero
      for the whole clip, instead of turning it by its own first frame.

  Returns:
    [T, M, 25, 3] in the dtype of the input, and what was unusual, for a report.
    A person without direction of spine or hips stays unchanged.
  """
  aligned = np.array(joints)
  notes = []
  for person in range(joints.shape[1]):
    body = joints[:, person].astype(np.float64)
    present = (body != 0).any(axis=(1, 2))
    if not present.any():
      continue
    first = int(present.argmax())
    if first and as_released:
      aligned[:, person] = 0
      notes.append(f"person {person + 1} is absent at first, set to zero")
      continue
    if first:
      notes.append(f"person {person + 1} is absent at first")
    axes = _axes(body[first])
    if axes is None:
      notes.append(f"person {person + 1} has no direction of spine or hips")
      continue
    aligned[:, person] = body @ axes.T
  return aligned, notes


def _axes(body):
  """Returns [3, 3], one axis per row, or None without a direction."""
  spine = _unit(body[SPINE_MIDDLE] - body[SPINE_BASE])
  if spine is None:
    return None
  hips = body[LEFT_HIP] - body[RIGHT_HIP]
  hips = _unit(hips - (spine @ hips) * spine)
  if hips is None:
    return None
  return np.stack([hips, _unit(np.cross(hips, spine)), spine])


def _unit(vector):
  length = np.linalg.norm(vector)
  # A length of rounding error alone has no direction.
  return vector / length if length > 1e-6 else None
