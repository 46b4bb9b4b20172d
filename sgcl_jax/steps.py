# SPDX-License-Identifier: Apache-2.0
"""The training step and the evaluation step: pure functions of one replica."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from sgcl_jax import losses, models, randomness, state
from sgcl_jax.contrast import base
from sgcl_jax.devices import parallel

TrainState, Metrics = state.TrainState, state.Metrics


def make_train_step(
  *,
  seed: int,
  model: nn.Module,
  transform: Callable[..., jax.Array],
  weights: losses.Weights,
  contrast: base.Contrast | None,
  optimizer: optax.GradientTransformation,
  apply: Callable[..., tuple] = models.apply_train,
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
  """Builds the step of one replica.

  Args:
    seed: Seed of the run.
    model: Backbone, x [N, M, T, V, C] -> (logits [N, L], graph [N, S, V, V]).
    transform: Returned by `augment.make_transform`.
    weights: Weights of the terms of the backbone's loss.
    contrast: The contrast, or None.
    optimizer: Turns gradients into updates.
    apply: Applies the backbone in training, see `models.apply_train`.

  Returns:
    train_step(state, batch) -> (state, metrics), mapped over `parallel.AXIS`.
  """
  loss_fn = _make_loss(model, weights, contrast or base.NONE, apply)

  def train_step(state, batch):
    def keys(purpose):
      position = batch["position"]
      return randomness.clip_keys(seed, purpose, state.step, position)

    x = transform(batch["skeleton"], batch["num_frames"], keys("augment"))
    # Equal on all replicas; the layers fold in the clips' positions.
    rngs = {s: randomness.step_key(seed, s, state.step) for s in models.STREAMS}
    grads, (metrics, batch_stats, memory) = jax.grad(loss_fn, has_aux=True)(
      state.params, state, batch, x, rngs, keys("sampling")
    )
    # Each replica differentiated its own share of the global loss.
    grads, metrics = lax.psum((grads, metrics), parallel.AXIS)
    metrics.values["loss"] = metrics.total()
    metrics.values["gradient_norm"] = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    after = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      batch_stats=batch_stats,
      opt_state=opt_state,
      memory=memory,
    )
    return after, metrics

  return train_step


def _make_loss(model, weights, contrast, apply):
  """Builds the function to differentiate: one replica's share of the loss."""

  def loss_fn(params, state, batch, x, rngs, keys):
    variables = {**state.variables(), "params": params["backbone"]}
    out, batch_stats = apply(model, variables, x, rngs)
    terms = losses.backbone_terms(
      out, batch["label"], state.constants, weights, gather
    )
    outcome = contrast.apply(
      params["contrast"], state.memory, out, batch, keys, gather
    )
    correct = losses.correct(out.logits, batch["label"])
    logged = {"accuracy": correct, **outcome.logged}
    metrics = Metrics(*map(share, (terms, outcome.terms, logged)))
    return metrics.total(), (metrics, batch_stats, outcome.memory)

  return loss_fn


def make_eval_step(
  model: nn.Module, transform: Callable[..., jax.Array], fields=("logits",)
) -> Callable[[dict, dict], dict[str, jax.Array | None]]:
  """Builds eval_step(variables, batch) -> those `models.Outputs`, by name."""

  def eval_step(variables, batch):
    x = transform(batch["skeleton"], batch["num_frames"], None)
    out = models.apply_eval(model, variables, x)
    return {name: getattr(out, name) for name in fields}

  return eval_step


def share(terms: dict[str, base.Mean]) -> dict[str, jax.Array]:
  """Returns this replica's part [] of each mean over the global batch.

  The sum over the replicas is the mean, 0 where nothing counts.
  """

  def divide(total, count):
    count = lax.psum(lax.stop_gradient(count), parallel.AXIS)
    return total / jnp.maximum(count, 1)

  return {name: divide(*term) for name, term in terms.items()}


def gather(x: jax.Array) -> jax.Array:
  """Joins [N, ...] of all replicas along the first axis."""
  return lax.all_gather(x, parallel.AXIS, tiled=True)
