# SPDX-License-Identifier: Apache-2.0
"""Layouts against the reference's adjacency, and their rules."""

import numpy as np
import pytest

from sgcl_jax import skeletons


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
    assert layout.parents[joint] == joint  # All joints lead to the root.


def test_get():
  assert skeletons.get("ntu") is skeletons.NTU
  assert skeletons.get(skeletons.UCLA) is skeletons.UCLA
  with pytest.raises(ValueError, match="unknown skeleton 'coco'; known: ntu"):
    skeletons.get("coco")
