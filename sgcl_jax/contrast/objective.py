# SPDX-License-Identifier: Apache-2.0
"""The contrast of a config: its switches, its banks, its terms of the loss.

The switches are those of the paper's Tables 3 to 7 and 11 to 13; the first
choice of each is the paper's method.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from ml_collections import ConfigDict

from sgcl_jax import errors
from sgcl_jax.contrast import losses, memory, projection, released

CHOICES = {
  "variant": ("paper", "released"),
  "memory": ("both", "instance", "semantic", "batch"),
  "source": ("graph", "feature"),
  "loss": ("infonce", "triplet", "classifier"),
  "projection": ("dense", "none", "mlp"),
  "positives": ("hard", "random", "both"),
  "negatives": ("both", "hard", "random"),
  "cold_start": ("skip", "partial"),
}
# (switch, its value) -> the switches that then have nothing to switch, and why.
IDLE = {
  ("variant", "released"): (
    ("memory", "source", "loss", "projection", "positives", "negatives"),
    "is the authors' code as it is",
  ),
  ("loss", "classifier"): (
    ("memory", "projection", "positives", "negatives"),
    "is one dense layer, without banks",
  ),
  ("memory", "batch"): (
    ("positives", "negatives"),
    "contrasts with all other clips of the batch",
  ),
  ("memory", "semantic"): (
    ("positives", "negatives"),
    "contrasts with the rows of all classes",
  ),
}


@struct.dataclass
class Banks:
  """The memory of the contrast (paper Sec. 3.2); None where one is not used."""

  instance: memory.InstanceBank | released.ClipBank | None
  semantic: memory.SemanticBank | None


def check(config: ConfigDict) -> None:
  """Refuses switches that do not go together.

  Args:
    config: A whole one.

  Raises:
    ConfigError: Names the key and what it may be, or why it has no effect.
  """
  contrast = config.contrast
  for name, choices in CHOICES.items():
    if contrast[name] not in choices:
      raise errors.ConfigError(
        f"config.contrast.{name}={contrast[name]!r} is not one of"
        f" {', '.join(choices)}"
      )
  idle = [
    (f"config.contrast.{name}={value}", names, why)
    for (name, value), (names, why) in IDLE.items()
    if contrast[name] == value
  ]
  if not config.gcl:
    idle.append(("gcl=false", CHOICES, "has no contrast"))
  for cause, names, why in idle:
    for name in departures(contrast):
      if name in names:
        raise errors.ConfigError(
          f"config.contrast.{name}={contrast[name]} has no effect, because"
          f" {cause} {why}"
        )
  if contrast.source == "feature" and config.model.graph_block is not None:
    raise errors.ConfigError(
      f"config.model.graph_block={config.model.graph_block} has no effect,"
      " because config.contrast.source=feature contrasts no graph"
    )
  numbers = draws(contrast)
  if uses_instances(contrast) and not (
    numbers["num_hard_negatives"] + numbers["num_random_negatives"]
  ):
    raise errors.ConfigError(
      f"config.contrast.negatives={contrast.negatives} draws none: set"
      " num_hard_negatives or num_random_negatives of config.contrast above 0"
    )
  if contrast.memory == "batch" and config.batch_size < 3:
    raise errors.ConfigError(
      f"config.batch_size={config.batch_size} leaves no positive or negative"
      " to config.contrast.memory=batch; it needs at least 3"
    )
  counts = contrast.num_hard_negatives, contrast.num_random_negatives
  if contrast.negatives == "random" and counts[0] != counts[1]:
    raise errors.ConfigError(
      "config.contrast.negatives=random draws as many as there would be hard"
      f" ones: set num_hard_negatives={counts[0]} and num_random_negatives="
      f"{counts[1]} of config.contrast to one number"
    )


def departures(config: ConfigDict) -> list[str]:
  """Returns the switches that do not stand at the paper's method.

  Args:
    config: `contrast` of a config; `cold_start` is no part of the method.
  """
  return [
    name
    for name, choices in CHOICES.items()
    if name != "cold_start" and config[name] != choices[0]
  ]


def draws(config: ConfigDict) -> dict[str, int]:
  """Returns how many rows of each kind an anchor draws (Tab. 6).

  Args:
    config: `contrast` of a config. A random draw takes as many as the hard one
      would; of negatives of both kinds the config has two numbers.
  """
  positives, negatives = config.num_hard_positives, config.num_hard_negatives
  random = {"hard": 0, "random": negatives, "both": config.num_random_negatives}
  return {
    "num_hard_positives": 0 if config.positives == "random" else positives,
    "num_random_positives": 0 if config.positives == "hard" else positives,
    "num_hard_negatives": 0 if config.negatives == "random" else negatives,
    "num_random_negatives": random[config.negatives],
  }


def uses_instances(config: ConfigDict) -> bool:
  """Tells whether rows of the instance bank are drawn."""
  return config.loss != "classifier" and config.memory in ("both", "instance")


def make_head(num_classes: int, config: ConfigDict) -> nn.Module:
  """Builds what stands between the graph [N, S, V, V] and the contrast.

  Args:
    num_classes: L.
    config: `contrast` of a config.

  Returns:
    Embeddings [N, D] of unit length, or logits [N, L] for `loss=classifier`.
  """
  if config.loss == "classifier":
    return projection.GraphClassifier(num_classes)
  num_layers = ("none", "dense", "mlp").index(config.projection)
  return projection.ProjectionHead(num_classes, config.features, num_layers)


def init_banks(
  num_classes: int, num_rows: int, features: int, config: ConfigDict
) -> Banks | None:
  """Returns empty memory banks.

  Args:
    num_classes: L.
    num_rows: Clips of an epoch, the rows of the released code's bank.
    features: Embedding width D.
    config: `contrast` of a config.
  """
  if config.variant == "released":
    return Banks(released.init_bank(num_rows, features), None)
  if config.loss == "classifier" or config.memory == "batch":
    return None
  instance = semantic = None
  if config.memory != "semantic":
    instance = memory.init_instance_bank(
      num_classes, config.rows_per_class, features
    )
  if config.memory != "instance":
    semantic = memory.init_semantic_bank(num_classes, features)
  return Banks(instance, semantic)


def update_banks(
  banks: Banks,
  embeddings: jax.Array,
  labels: jax.Array,
  index: jax.Array,
  config: ConfigDict,
) -> Banks:
  """Writes a batch, in its order.

  Args:
    banks: State before the step.
    embeddings: [N, D] of the global batch. No gradient flows into the banks.
    labels: [N] classes.
    index: [N] rows of the released code's bank.
    config: `contrast` of a config.

  Returns:
    The state after the step.
  """
  instance, semantic = banks.instance, banks.semantic
  if isinstance(instance, released.ClipBank):
    instance = released.update_bank(instance, embeddings, labels, index)
  elif instance is not None:
    instance = memory.update_instance_bank(instance, embeddings, labels)
  if semantic is not None:
    semantic = memory.update_semantic_bank(
      semantic, embeddings, labels, config.momentum
    )
  return Banks(instance, semantic)


def fill(banks: Banks) -> jax.Array:
  """Returns the share [] of the rows that are written, of instances if any."""
  if banks.instance is None:
    return jnp.mean(banks.semantic.seen)
  if isinstance(banks.instance, released.ClipBank):
    return jnp.mean(banks.instance.labels >= 0)
  size = memory.rows_per_class(banks.instance)
  return jnp.mean(banks.instance.fill / size)


def contrast_with_banks(
  banks: Banks,
  embeddings: jax.Array,
  labels: jax.Array,
  keys: jax.Array,
  config: ConfigDict,
  temperature: float,
) -> dict[str, losses.Contrast]:
  """Contrasts clips with the banks (Eq. 7).

  Args:
    banks: The banks, the batch already written.
    embeddings: [N, D] anchors.
    labels: [N] classes.
    keys: [N] PRNG keys, one per anchor.
    config: `contrast` of a config.
    temperature: tau.

  Returns:
    `instance`, `semantic` or both, in this order.
  """
  numbers = {**draws(config), "cold_start": config.cold_start}
  if config.variant == "released":
    return {
      "instance": released.instance_loss(
        embeddings,
        labels,
        banks.instance,
        keys,
        temperature=temperature,
        **numbers,
      )
    }
  pair_loss = _pair_loss(config, temperature)
  terms = {}
  if banks.instance is not None:
    terms["instance"] = losses.instance_loss(
      embeddings, labels, banks.instance, keys, pair_loss=pair_loss, **numbers
    )
  if banks.semantic is not None:
    terms["semantic"] = losses.semantic_loss(
      embeddings, labels, banks.semantic, pair_loss
    )
  return terms


def contrast_within_batch(
  embeddings: jax.Array,
  labels: jax.Array,
  config: ConfigDict,
  temperature: float,
) -> dict[str, losses.Contrast]:
  """Contrasts the clips of a global batch with one another (Tab. 3).

  Args:
    embeddings: [N, D], the gradient flows to all of them.
    labels: [N] classes.
    config: `contrast` of a config.
    temperature: tau.

  Returns:
    `batch`.
  """
  pair_loss = _pair_loss(config, temperature)
  return {"batch": losses.batch_loss(embeddings, labels, pair_loss)}


def _pair_loss(config, temperature):
  if config.loss == "triplet":
    return functools.partial(losses.triplet, margin=config.margin)
  return functools.partial(losses.info_nce, temperature=temperature)
