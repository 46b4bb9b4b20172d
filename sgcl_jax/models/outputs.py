# SPDX-License-Identifier: Apache-2.0
"""Applies a backbone and collects its outputs, sown ones included."""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

# Random streams of the modules in training.
STREAMS = ("dropout", "latent")


class Outputs(NamedTuple):
  """Outputs of a backbone for N clips.

  Attributes:
    logits: [N, L].
    graph: [N, S, V, V] learned joint graphs, which the contrast compares.
    feature: [N, F] pooled, before the classifier; None if the module does not
      sow it.
    latent: [N, D] of InfoGCN, None for other backbones.
  """

  logits: jax.Array
  graph: jax.Array
  feature: jax.Array | None = None
  latent: jax.Array | None = None


def apply_train(
  module: nn.Module,
  variables: dict[str, Any],
  x: jax.Array,
  rngs: dict[str, jax.Array],
) -> tuple[Outputs, dict[str, Any]]:
  """Applies a backbone in training.

  Args:
    module: Backbone, x -> (logits, graph).
    variables: Its `params`, `batch_stats` and `constants`.
    x: [N, M, T, V, C].
    rngs: PRNG key of each of `STREAMS`.

  Returns:
    Its outputs, and its `batch_stats` after the step.
  """
  (logits, graph), updates = module.apply(
    variables, x, True, rngs=rngs, mutable=["batch_stats", "intermediates"]
  )
  return _collect(logits, graph, updates), updates.get("batch_stats", {})


def apply_eval(
  module: nn.Module, variables: dict[str, Any], x: jax.Array
) -> Outputs:
  """Applies a backbone to clips x [N, M, T, V, C] at test time."""
  (logits, graph), sown = module.apply(
    variables, x, False, mutable=["intermediates"]
  )
  return _collect(logits, graph, sown)


def _collect(logits, graph, collections):
  sown = collections.get("intermediates", {})
  feature, latent = (
    sown.get(name, (None,))[0] for name in ("feature", "latent")
  )
  return Outputs(logits, graph, feature, latent)
