# SPDX-License-Identifier: Apache-2.0
"""Which fields a config must have, and which values a run can use."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import augment, errors, splits
from sgcl_jax.contrast import switches
from sgcl_jax.runs import workdir

# Words of JAX for the precision of products, besides its dot algorithms.
PRECISIONS = (
  "default",
  "high",
  "highest",
  "bfloat16",
  "tensorfloat32",
  "float32",
)


class Range(NamedTuple):
  """The values of a field that a run can use.

  Attributes:
    text: What the value may be, for messages: "must be ...".
    holds: Whether a value is one of them; false for NaN.
  """

  text: str
  holds: Callable[[Any], bool]


def _at_least(low):
  return Range(f"a finite number of {low} or more", lambda x: low <= x < np.inf)


def _one_of(*words):
  return Range(f"one of {', '.join(words)}", lambda x: x in words)


BELOW_1 = Range("in [0, 1)", lambda x: 0 <= x < 1)
ABOVE_0 = Range("a finite number above 0", lambda x: 0 < x < np.inf)
INCREASING = Range(
  "increasing epochs of 0 or more",
  lambda x: all(a < b for a, b in itertools.pairwise((-1, *x, np.inf))),
)
PRECISION = Range(
  f"one of {', '.join(PRECISIONS)} or a jax.lax.DotAlgorithmPreset",
  lambda x: x in PRECISIONS or x in jax.lax.DotAlgorithmPreset.__members__,
)
# Ranges of all numbers, and of the words that nothing else checks. The switches
# of the contrast are checked in `contrast/switches.py`, fields of one backbone
# where it is created.
RANGES = {
  "seed": Range("in [0, 2**32)", lambda x: 0 <= x < 2**32),
  "matmul_precision": PRECISION,
  "batch_size": _at_least(1),
  "eval_batch_size": _at_least(1),
  "eval_every_epochs": _at_least(1),
  "num_classes": _at_least(2),
  "num_persons": _at_least(1),
  "model.dropout": BELOW_1,
  "model.dtype": _one_of("float32", "bfloat16", "float16"),
  "data.split": _one_of(*splits.PROTOCOLS, "all"),
  "data.modality": _one_of(*augment.MODALITIES),
  "data.window": _at_least(2),
  "data.max_angle": _at_least(0),
  "data.repeats": _at_least(1),
  "loss.label_smoothing": BELOW_1,
  "loss.latent_prior": _at_least(0),
  "loss.latent_mean": _at_least(0),
  "optim.num_epochs": _at_least(1),
  "optim.base_lr": _at_least(0),
  "optim.warmup_epochs": _at_least(0),
  "optim.decay_epochs": INCREASING,
  "optim.decay_rate": Range("in (0, 1]", lambda x: 0 < x <= 1),
  "optim.momentum": BELOW_1,
  "optim.weight_decay": _at_least(0),
  "optim.clip_norm": ABOVE_0,
  "contrast.features": _at_least(1),
  "contrast.margin": _at_least(0),
  "contrast.rows_per_class": _at_least(1),
  "contrast.momentum": Range("in [0, 1]", lambda x: 0 <= x <= 1),
  "contrast.temperature": ABOVE_0,
  "contrast.num_hard_positives": _at_least(1),
  "contrast.num_hard_negatives": _at_least(0),
  "contrast.num_random_negatives": _at_least(0),
}
# Further fields that a run reads.
REQUIRED = (
  *("preset", "start", "backbone", "skeleton", "gcl", "init_from", "data.dir"),
  *("data.prepare", "data.train_split", "data.test_split", "data.transform"),
  *("data.require_aligned", "optim.nesterov", "model.graph_block"),
  *(f"contrast.{name}" for name in switches.CHOICES),
)


def check_keys(config: ConfigDict) -> None:
  """Refuses a config that lacks a field.

  Raises:
    ConfigError: Names the key.
  """
  known = workdir.flatten(config.to_dict())
  for key in (*REQUIRED, *RANGES):
    if key not in known:
      raise errors.ConfigError(
        f"config.{key} is missing: the config belongs to another version of"
        " sgcl_jax; pass --config FILE of this one"
      )


def check_values(config: ConfigDict) -> None:
  """Refuses values that no run can use; open fields fit.

  Raises:
    ConfigError: Names the key, its value and what it may be.
  """
  values = workdir.flatten(config.to_dict())
  allowed_values = dict(RANGES)
  for key in values:
    if key.startswith(("contrast.temperatures.", "contrast.released_temp")):
      allowed_values[key] = ABOVE_0
  for key, allowed in allowed_values.items():
    value = values.get(key)
    if value is not None and not allowed.holds(value):
      raise errors.ConfigError(f"config.{key}={value!r} must be {allowed.text}")
