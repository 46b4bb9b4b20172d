# SPDX-License-Identifier: Apache-2.0
"""Turns the switches of the paper's Tables 3 to 7, 11 and 12 into a contrast.

The first choice of each switch is the paper's method.
"""

from typing import Any

from ml_collections import ConfigDict

from sgcl_jax import errors
from sgcl_jax.contrast import (
  base,
  classifier,
  paper,
  released,
  sampling,
  within_batch,
)

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
PROJECTION_LAYERS = {"none": 0, "dense": 1, "mlp": 2}
# (switch, value) -> (switches that have no effect beside it, the reason).
IDLE = {
  ("variant", "released"): (
    ("memory", "source", "loss", "projection", "positives", "negatives"),
    "is the authors' code unchanged",
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


def make(
  settings: ConfigDict, *, num_classes: int, temperature: float
) -> base.Contrast:
  """Builds the contrast that checked switches describe.

  Args:
    settings: The `contrast` of a config.
    num_classes: L.
    temperature: tau.
  """
  fields: dict[str, Any] = {"num_classes": num_classes}
  if settings.variant == "paper":
    fields["source"] = settings.source
  if settings.loss == "classifier":
    return classifier.make(**fields)
  fields |= {"temperature": temperature, "features": settings.features}
  if settings.variant == "released" or settings.memory != "batch":
    fields |= {"draws": draws(settings), "cold_start": settings.cold_start}
  if settings.variant == "released":
    return released.make(**fields)
  fields["projection_layers"] = PROJECTION_LAYERS[settings.projection]
  fields |= {"loss": settings.loss, "margin": settings.margin}
  if settings.memory == "batch":
    return within_batch.make(**fields)
  names = ("memory", "rows_per_class", "momentum")
  return paper.make(**fields, **{name: settings[name] for name in names})


def check(
  settings: ConfigDict,
  *,
  enabled: bool,
  graph_block: int | None,
  batch_size: int,
) -> None:
  """Refuses switches that contradict each other; each is one of `CHOICES`.

  Args:
    settings: The `contrast` of a config.
    enabled: Whether the run uses a contrast.
    graph_block: The `model.graph_block` of the config.
    batch_size: Clips of a training batch, over all devices.

  Raises:
    ConfigError: Names the key, and why it has no effect.
  """
  _check_idle(settings, enabled)
  if settings.source == "feature" and graph_block is not None:
    raise errors.ConfigError(
      f"config.model.graph_block={graph_block} has no effect, because"
      " config.contrast.source=feature contrasts no graph"
    )
  if settings.memory == "batch" and batch_size < 3:
    raise errors.ConfigError(
      f"config.batch_size={batch_size} leaves no positive or negative to"
      " config.contrast.memory=batch; it needs at least 3"
    )
  _check_negatives(settings)


def _check_idle(settings, enabled):
  idle = [
    (f"config.contrast.{name}={value}", names, why)
    for (name, value), (names, why) in IDLE.items()
    if settings[name] == value
  ]
  if not enabled:
    idle.append(("gcl=false", tuple(CHOICES), "has no contrast"))
  for cause, names, why in idle:
    for name in departures(settings):
      if name in names:
        raise errors.ConfigError(
          f"config.contrast.{name}={settings[name]} has no effect, because"
          f" {cause} {why}"
        )


def _check_negatives(settings):
  draws_instances = settings.loss != "classifier" and settings.memory in (
    "both",
    "instance",
  )
  if draws_instances and not draws(settings).num_negatives:
    raise errors.ConfigError(
      f"config.contrast.negatives={settings.negatives} draws none: set"
      " --config.contrast.num_hard_negatives or"
      " --config.contrast.num_random_negatives above 0"
    )
  counts = settings.num_hard_negatives, settings.num_random_negatives
  if settings.negatives == "random" and counts[0] != counts[1]:
    raise errors.ConfigError(
      "config.contrast.negatives=random draws num_hard_negatives rows: set"
      f" --config.contrast.num_random_negatives={counts[0]} (it is {counts[1]})"
      " as well"
    )


def departures(settings: ConfigDict) -> list[str]:
  """Returns the switches that depart from the paper's method.

  Args:
    settings: The `contrast` of a config; its `cold_start` is not compared.
  """
  return [
    name
    for name, choices in CHOICES.items()
    if name != "cold_start" and settings[name] != choices[0]
  ]


def draws(settings: ConfigDict) -> sampling.Draws:
  """Returns the number of rows of each kind that an anchor draws (Tab. 6).

  A random draw takes as many rows as the hard draw that it replaces. If both
  kinds of negatives are drawn, the config has a number for each.

  Args:
    settings: The `contrast` of a config.
  """
  positives = settings.num_hard_positives
  negatives = settings.num_hard_negatives
  random = {
    "hard": 0,
    "random": negatives,
    "both": settings.num_random_negatives,
  }
  return sampling.Draws(
    num_hard_positives=0 if settings.positives == "random" else positives,
    num_random_positives=0 if settings.positives == "hard" else positives,
    num_hard_negatives=0 if settings.negatives == "random" else negatives,
    num_random_negatives=random[settings.negatives],
  )
