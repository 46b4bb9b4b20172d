# SPDX-License-Identifier: Apache-2.0
"""InfoGCN's input: joints relative to their k-th ancestors (Sec. 3.4)."""

import jax
import jax.numpy as jnp
import numpy as np

from sgcl_jax import errors, skeletons

# For NTU, the root of InfoGCN's tree is the middle of the spine, which is not
# the root of the layout. For other layouts both roots are the same.
ROOTS = {"ntu": 1}

# Hops to the ancestor; more than any tree of joints is deep.
MAX_K = 10_000


def make_matrix(
  skeleton: skeletons.Skeleton, k: int, edges: str = "parent"
) -> np.ndarray:
  """Returns the matrix that subtracts from each joint its k-th ancestor.

  Sec. 3.4. Joints without such an ancestor stay unchanged. So k = 1 gives the
  bones, and a k above the depth of the tree gives the joints themselves.

  Args:
    skeleton: Joint layout.
    k: Hops towards the root.
    edges: `parent`, or on NW-UCLA also `released`: the edges of the authors'
      file point the other way, so it subtracts the sum of the k-th descendants.

  Returns:
    [V, V]; its product with the joints is the input.

  Raises:
    ConfigError: If k is no number of hops (k = 0 would subtract every joint
      from itself), or if `edges` is unknown.
  """
  if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MAX_K:
    raise errors.ConfigError(
      f"config.model.k={k!r} must be a whole number from 1 to {MAX_K}: 8 for"
      " joints, 1 for bones"
    )
  choices = ("parent", "released") if skeleton.name == "ucla" else ("parent",)
  if edges not in choices:
    raise errors.ConfigError(
      f"config.model.edges={edges!r} is not one of {', '.join(choices)}"
      f" ({skeleton.name})"
    )
  root = ROOTS.get(skeleton.name, skeleton.root)
  identity = np.eye(skeleton.num_joints)
  parents = np.zeros_like(identity)
  for child, parent in enumerate(skeleton.parents_from(root)):
    if child != parent:
      parents[child, parent] = 1.0
  if edges == "released":
    parents = parents.T
  return identity - np.linalg.matrix_power(parents, k)


def subtract(matrix: np.ndarray, x: jax.Array, dimensions: int) -> jax.Array:
  """Multiplies the joints by a matrix of differences.

  The score of a difference of 2D joints is the mean of their scores, as in
  `augment.to_modality`.

  Args:
    matrix: [V, V] returned by `make_matrix`.
    x: [N, M, T, V, C].
    dimensions: Number of channels that are coordinates.

  Returns:
    [N, M, T, V, C].
  """
  product = jnp.einsum("uv,nmtvc->nmtuc", matrix.astype(x.dtype), x)
  if x.shape[-1] == dimensions:
    return product
  weights = np.abs(matrix) / np.abs(matrix).sum(axis=1, keepdims=True)
  means = jnp.einsum("uv,nmtvc->nmtuc", weights.astype(x.dtype), x)
  is_score = np.arange(x.shape[-1]) >= dimensions
  return jnp.where(is_score, means, product)
