# SPDX-License-Identifier: Apache-2.0
"""The paper's contrast: graphs against both memory banks (Sec. 3.2 and 3.3)."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax import lax

from sgcl_jax.contrast import banks, base, losses, projection, sampling


@struct.dataclass
class Banks:
  """The memory of this contrast.

  Attributes:
    instance: The instance bank, or None if it is not used.
    semantic: The semantic bank, or None if it is not used.
  """

  instance: banks.InstanceBank | None
  semantic: banks.SemanticBank | None


def make(
  *,
  num_classes: int,
  temperature: float,
  memory: str = "both",
  source: str = "graph",
  loss: str = "infonce",
  margin: float = 0.2,
  projection_layers: int = 1,
  features: int = 256,
  rows_per_class: int = 684,
  momentum: float = 0.85,
  draws: sampling.Draws = sampling.PAPER_DRAWS,
  cold_start: str = "skip",
) -> base.Contrast:
  """Builds the contrast; the defaults are the paper's (Sec. 4.2).

  Args:
    num_classes: L.
    temperature: tau.
    memory: Banks to use: `both`, `instance` or `semantic` (Tab. 5).
    source: The output to contrast, `graph` or `feature` (Tab. 4).
    loss: `infonce` or `triplet` (Tab. 7).
    margin: Margin of the triplet loss.
    projection_layers: 0 for no projection, 1 dense layer, 2 for an MLP
      (Tab. 12).
    features: Embedding width D.
    rows_per_class: P of the instance bank.
    momentum: alpha of the semantic bank (Eq. 4).
    draws: Number of rows of the instance bank that each anchor draws.
    cold_start: `skip` leaves an anchor out while the bank holds fewer rows than
      that, `partial` uses the rows it holds.

  Returns:
    A contrast with one term for each bank that is used, `instance` and
    `semantic`.
  """
  settings = _Settings(
    num_classes,
    projection.ProjectionHead(num_classes, features, projection_layers),
    source,
    memory,
    rows_per_class,
    momentum,
    losses.make_pair_loss(loss, temperature, margin),
    draws,
    cold_start,
  )
  functions = (_init, _apply, _check_data)
  return base.Contrast(*(functools.partial(f, settings) for f in functions))


class _Settings(NamedTuple):
  num_classes: int
  head: nn.Module
  source: str
  memory: str
  rows_per_class: int
  momentum: float
  pair_loss: losses.PairLoss
  draws: sampling.Draws
  cold_start: str


def _init(settings, key, outputs, num_rows=None):
  del num_rows
  contrasted = base.select(outputs, settings.source)
  params, width = projection.init(settings.head, key, contrasted)
  num_classes = settings.num_classes
  instance = semantic = None
  if settings.memory in ("both", "instance"):
    instance = banks.init_instance_bank(
      num_classes, settings.rows_per_class, width
    )
  if settings.memory in ("both", "semantic"):
    semantic = banks.init_semantic_bank(num_classes, width)
  return params, Banks(instance, semantic)


def _apply(settings, params, memory, outputs, batch, keys, gather=base.keep):
  contrasted = base.select(outputs, settings.source)
  anchors = settings.head.apply({"params": params}, contrasted)
  rows, labels = gather(lax.stop_gradient(anchors)), gather(batch["label"])
  instance, semantic = memory.instance, memory.semantic
  # The batch is written first: an anchor's own row is a legal positive.
  sums = {}
  if instance is not None:
    instance = banks.update_instance_bank(instance, rows, labels)
    sums["instance"] = losses.instance_loss(
      anchors,
      batch["label"],
      instance,
      keys,
      settings.pair_loss,
      settings.draws,
      settings.cold_start,
    )
  if semantic is not None:
    semantic = banks.update_semantic_bank(
      semantic, rows, labels, settings.momentum
    )
    sums["semantic"] = losses.semantic_loss(
      anchors, batch["label"], semantic, settings.pair_loss
    )
  terms, logged = losses.report(sums)
  memory = Banks(instance, semantic)
  return base.Outcome(terms, memory, {**logged, "bank_fill": _fill(memory)})


def _check_data(settings, drawn, class_names):
  if settings.cold_start == "partial" or settings.memory == "semantic":
    return
  limit = settings.rows_per_class
  base.check_rows(
    drawn,
    np.minimum(drawn.visits, limit),
    class_names,
    positives=settings.draws.num_positives,
    negatives=settings.draws.num_negatives,
    limit=f" and config.contrast.rows_per_class={limit}",
    asked=str(settings.draws),
  )


def _fill(memory):
  """Returns (written rows, all rows), of the instance bank if it is used."""
  if memory.instance is None:
    seen = memory.semantic.seen
    return jnp.sum(seen, dtype=float), jnp.asarray(seen.size, float)
  num_rows, _ = memory.instance.rows.shape
  filled = jnp.sum(memory.instance.num_filled, dtype=float)
  return filled, jnp.asarray(num_rows, float)
