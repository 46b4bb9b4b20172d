# SPDX-License-Identifier: Apache-2.0
"""The backbones' own losses as (sum, count); `contrast/` has the others."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sgcl_jax import models


class Weights(NamedTuple):
  """Settings of a backbone's loss.

  Attributes:
    label_smoothing: Share of the target that is spread over all classes.
    latent_prior: Weight of InfoGCN's `latent_prior_distance`.
    latent_mean: Weight of InfoGCN's `latent_mean_norm`.
  """

  label_smoothing: float = 0.0
  latent_prior: float = 0.0
  latent_mean: float = 0.0


def backbone_terms(
  outputs: models.Outputs,
  labels: jax.Array,
  constants: dict[str, jax.Array],
  weights: Weights,
  gather: Callable[[jax.Array], jax.Array],
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Returns the terms of a backbone's loss as (sum, count).

  Args:
    outputs: Outputs for this replica's N clips.
    labels: [N].
    constants: Fixed variables of the backbone, such as InfoGCN's `z_prior`.
    weights: Weights of the terms; the latent terms are left out if both of
      their weights are 0.
    gather: Joins [N, ...] of all replicas along the first axis.

  Returns:
    Cross-entropy as `ce`, and InfoGCN's `latent_prior` and `latent_mean`.
  """
  smoothing = weights.label_smoothing
  terms = {"ce": cross_entropy(outputs.logits, labels, smoothing)}
  if weights.latent_prior or weights.latent_mean:
    latent, labels = gather(outputs.latent), gather(labels)
    distance = latent_prior_distance(latent, labels, constants["z_prior"])
    # These are not sums over clips. Each of the R replicas computes them for
    # the whole batch with count 1, so that their mean counts them once.
    one = jnp.ones((), latent.dtype)
    norm = latent_mean_norm(latent)
    terms["latent_prior"] = (weights.latent_prior * distance, one)
    terms["latent_mean"] = (weights.latent_mean * norm, one)
  return terms


def correct(
  logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns how many of the [N, L] logits are right, and N."""
  hits = (logits.argmax(-1) == labels).astype(logits.dtype)
  return hits.sum(), jnp.array(len(labels), logits.dtype)


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
