# SPDX-License-Identifier: Apache-2.0
"""Keys folded from seed, purpose, step and position in the global batch.

No key has to be saved, and no draw depends on the replica.
"""

import jax

# Each purpose has its own stream, so that the contrast changes neither the
# augmentation nor the initial backbone. Never change a number: resumed runs
# would draw other values.
PURPOSES = {
  "augment": 0,
  "sampling": 1,
  "backbone": 2,
  "projection": 3,
  "dropout": 4,
  "latent": 5,
}


def make_key(seed: int, purpose: str) -> jax.Array:
  """Returns the key of one purpose of a run."""
  return jax.random.fold_in(jax.random.key(seed), PURPOSES[purpose])


def step_key(seed: int, purpose: str, step: jax.Array) -> jax.Array:
  """Returns the key of one step, equal on all replicas."""
  return jax.random.fold_in(make_key(seed, purpose), step)


def clip_keys(
  seed: int, purpose: str, step: jax.Array, position: jax.Array
) -> jax.Array:
  """Returns one key per clip, from its position [N] in the global batch."""
  key = step_key(seed, purpose, step)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(position)
