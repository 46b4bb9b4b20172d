# SPDX-License-Identifier: Apache-2.0
"""The losses of the backbones themselves; those of the contrast have their own
package."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, smoothing: float = 0.0
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy with label smoothing.

  Args:
    logits: [N, L].
    labels: [N].
    smoothing: Share of the target that is spread over all classes.

  Returns:
    Sum over the clips, and their count.
  """
  log_probs = jax.nn.log_softmax(logits)
  one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  target = (1 - smoothing) * one_hot + smoothing / logits.shape[-1]
  return -jnp.sum(target * log_probs), jnp.array(len(labels), logits.dtype)


def latent_prior_distance(
  latent: jax.Array, labels: jax.Array, prior: jax.Array
) -> jax.Array:
  """Mean squared distance of the class means to their priors (InfoGCN, Eq. 7).

  Args:
    latent: [N, D], of the global batch.
    labels: [N].
    prior: [L, D]; classes that are not in the batch do not count.

  Returns:
    [] mean over the classes of the batch and over D.
  """
  one_hot = jax.nn.one_hot(labels, len(prior), dtype=latent.dtype)
  counts = one_hot.sum(0)[:, None]
  means = one_hot.T @ latent / jnp.maximum(counts, 1)
  squares = jnp.where(counts > 0, jnp.square(means - prior), 0)
  return squares.sum() / ((counts > 0).sum() * latent.shape[-1])


def latent_mean_norm(latent: jax.Array) -> jax.Array:
  """Norm of the mean latent (InfoGCN, Eq. 6).

  Args:
    latent: [N, D], of the global batch.
  """
  return optax.safe_norm(latent.mean(0), 1e-12)
