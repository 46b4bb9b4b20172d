# SPDX-License-Identifier: Apache-2.0
"""The training and the evaluation step, pure, written against one axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax
from ml_collections import ConfigDict

from sgcl_jax import losses, parallel
from sgcl_jax import state as state_lib
from sgcl_jax.contrast import objective

TrainState = state_lib.TrainState
Metrics = dict[str, jax.Array]
Pair = tuple[jax.Array, jax.Array]

# What randomness is for. Each purpose has its own stream, so that switching
# the contrast on changes neither the augmentation nor the initial backbone.
PURPOSES = (
  "augment",
  "sampling",
  "backbone",
  "projection",
  "dropout",
  "latent",
)


def make_key(seed: int, purpose: str) -> jax.Array:
  """Returns the key of one purpose of a run."""
  return jax.random.fold_in(jax.random.key(seed), PURPOSES.index(purpose))


def clip_keys(
  seed: int, purpose: str, step: jax.Array, position: jax.Array
) -> jax.Array:
  """Returns one key per clip, from its position [N] in the global batch."""
  key = jax.random.fold_in(make_key(seed, purpose), step)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(position)


def make_train_step(
  model: nn.Module,
  head: nn.Module | None,
  optimizer: optax.GradientTransformation,
  augment: Callable[..., jax.Array],
  config: ConfigDict,
  temperature: float | None,
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
  """Builds the step of one replica.

  Args:
    model: Backbone, x [N, M, T, V, C] -> (logits [N, L], graph [N, S, V, V]).
    head: Of `objective.make_head`, or None without the contrast.
    optimizer: Gradients -> updates.
    augment: Of `augment.make_augment`.
    config: `seed`, `loss` and `contrast`.
    temperature: tau of the contrast.

  Returns:
    train_step(state, batch) -> (state, metrics), to be mapped over
    `parallel.AXIS`. The metrics are means over the global batch.
  """

  def train_step(state, batch):
    def keys(purpose):
      return clip_keys(config.seed, purpose, state.step, batch["position"])

    x = augment(batch["skeleton"], batch["num_frames"], keys("augment"))
    # Equal on all replicas; the layers fold in the clips' positions.
    rngs = {
      name: jax.random.fold_in(make_key(config.seed, name), state.step)
      for name in ("dropout", "latent")
    }

    def loss_fn(params):
      variables = {**state.variables(), "params": params["backbone"]}
      (logits, graph), updates = model.apply(
        variables, x, True, rngs=rngs, mutable=["batch_stats", "intermediates"]
      )
      terms = {
        "ce": losses.cross_entropy(
          logits, batch["label"], config.loss.label_smoothing
        )
      }
      if config.loss.latent_prior or config.loss.latent_mean:
        latent = updates["intermediates"]["latent"][0]
        prior = state.constants["z_prior"]
        terms |= _latent_terms(latent, batch["label"], prior, config.loss)
      banks, logged = state.banks, {}
      if head is not None:
        source = graph
        if config.contrast.source == "feature":
          source = updates["intermediates"]["feature"][0]
        graph_terms, banks, logged = contrast(
          head,
          params["projection"],
          source,
          banks,
          batch,
          keys("sampling"),
          config.contrast,
          temperature,
        )
        terms |= graph_terms
      shares = {name: share(*term) for name, term in terms.items()}
      logged["accuracy"] = _correct(logits, batch["label"])
      aux = shares, updates.get("batch_stats", {}), banks, logged
      return sum(shares.values()), aux

    grads, (shares, batch_stats, banks, logged) = jax.grad(
      loss_fn, has_aux=True
    )(state.params)
    # Each replica differentiated its own share of the global loss.
    grads = lax.psum(grads, parallel.AXIS)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    metrics = lax.psum(shares, parallel.AXIS)
    metrics["loss"] = sum(metrics.values())
    metrics |= {name: _mean(*pair) for name, pair in logged.items()}
    metrics["gradient_norm"] = optax.tree.norm(grads)
    if banks is not None:
      metrics["bank_fill"] = objective.fill(banks)
    state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      batch_stats=batch_stats,
      opt_state=opt_state,
      banks=banks,
    )
    return state, metrics

  return train_step


def contrast(
  head: nn.Module,
  params: dict[str, Any],
  source: jax.Array,
  banks: objective.Banks | None,
  batch: dict[str, jax.Array],
  keys: jax.Array,
  config: ConfigDict,
  temperature: float,
) -> tuple[dict[str, Pair], objective.Banks | None, dict[str, Pair]]:
  """What the contrast adds to the loss, from the graph on (Eq. 7).

  Args:
    head: Of `objective.make_head`.
    params: Of the head.
    source: Graph [N, S, V, V] or feature [N, F] of this replica's clips.
    banks: State before the step, None where nothing uses them.
    batch: Of this replica: `label` [N] and `index` [N].
    keys: [N] PRNG keys, one per clip.
    config: `contrast` of a config.
    temperature: tau.

  Returns:
    Terms of the loss as (sum, count), the banks after the write, and what to
    log as (sum, count).
  """
  output = head.apply({"params": params}, source)
  if config.loss == "classifier":
    terms = {"graph_ce": losses.cross_entropy(output, batch["label"])}
    return terms, None, {"graph_accuracy": _correct(output, batch["label"])}
  labels = _gather(batch["label"])
  if banks is None:
    # Every replica contrasts the whole batch, and so counts as one of R.
    contrasts = objective.contrast_within_batch(
      _gather(output), labels, config, temperature
    )
  else:
    rows = _gather(lax.stop_gradient(output))
    index = _gather(batch["index"])
    banks = objective.update_banks(banks, rows, labels, index, config)
    contrasts = objective.contrast_with_banks(
      banks, output, batch["label"], keys, config, temperature
    )
  # Of the instances, if there are any: those of the classes say less.
  sums = next(iter(contrasts.values())).diagnostics
  logged = {"active_anchors": (sums["num_active"], sums["num_anchors"])}
  for kind in ("positive", "negative"):
    total = sums[f"{kind}_similarity_sum"]
    logged[f"{kind}_similarity"] = total, sums[f"num_{kind}s"]
  terms = {name: (c.loss_sum, c.num_pairs) for name, c in contrasts.items()}
  return terms, banks, logged


def make_eval_step(
  model: nn.Module, augment: Callable[..., jax.Array]
) -> Callable[[dict, dict], jax.Array]:
  """Builds eval_step(variables, batch) -> logits [N, L]: the backbone alone."""

  def eval_step(variables, batch):
    x = augment(batch["skeleton"], batch["num_frames"], None)
    logits, _ = model.apply(variables, x, False)
    return logits

  return eval_step


def _latent_terms(latent, labels, prior, weights):
  """Returns InfoGCN's own terms, which are not sums over clips."""
  latent, labels = _gather(latent), _gather(labels)
  distance = losses.latent_prior_distance(latent, labels, prior)
  # Every replica computes them whole, and each counts as one of R.
  one = jnp.ones((), latent.dtype)
  return {
    "latent_prior": (weights.latent_prior * distance, one),
    "latent_mean": (
      weights.latent_mean * losses.latent_mean_norm(latent),
      one,
    ),
  }


def _correct(logits, labels):
  hits = (logits.argmax(-1) == labels).astype(logits.dtype)
  return hits.sum(), jnp.array(len(labels), logits.dtype)


def _gather(x):
  return lax.all_gather(x, parallel.AXIS, tiled=True)


def share(total: jax.Array, count: jax.Array) -> jax.Array:
  """Returns this replica's part of the global mean, 0 where nothing counts."""
  count = lax.psum(lax.stop_gradient(count), parallel.AXIS)
  return total / jnp.maximum(count, 1)


def _mean(total, count):
  return lax.psum(share(total, count), parallel.AXIS)
