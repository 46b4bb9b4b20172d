# SPDX-License-Identifier: Apache-2.0
"""Which fields a config must have, and which values a run can use."""

import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from sgcl_jax import augment, errors, modalities
from sgcl_jax.contrast import switches
from sgcl_jax.dataset import splits
from sgcl_jax.settings import fields

# Words of JAX for the precision of products, besides its dot algorithms.
PRECISIONS = (
  "default",
  "high",
  "highest",
  "bfloat16",
  "tensorfloat32",
  "float32",
)
# Upper bound of all numbers: a slip of the keyboard would ask for more memory
# than there is, or overflow in the middle of a training.
MOST = 1_000_000


class Range(NamedTuple):
  """The values of a field that a run can use.

  Attributes:
    text: What the value may be, for messages: "must be ...".
    holds: Whether a value of any type is one of them; false for NaN.
    is_open: Whether the field may also be None, or missing in an older run: the
      data set, the stream or the backbone then decides, or nothing is done.
  """

  text: str
  holds: Callable[[Any], bool]
  is_open: bool = False


def _is_whole(x):
  return isinstance(x, int) and not isinstance(x, bool)


def _is_number(x):
  return isinstance(x, float) or _is_whole(x)


def _count(low, high=MOST):
  return Range(
    f"a whole number from {low} to {high:,}",
    lambda x: _is_whole(x) and low <= x <= high,
  )


def _number(text, holds):
  return Range(text, lambda x: _is_number(x) and holds(x))


def _one_of(*words):
  return Range(
    f"one of {', '.join(words)}", lambda x: isinstance(x, str) and x in words
  )


def _is_increasing(x):
  if not isinstance(x, tuple | list) or not all(map(_is_whole, x)):
    return False
  return all(a < b for a, b in itertools.pairwise((-1, *x)))


def _is_word(x):
  return isinstance(x, str) and bool(re.fullmatch(r"[\w.-]+", x))


def _is_plain(x):
  if isinstance(x, tuple | list):
    return all(map(_is_plain, x))
  return x is None or isinstance(x, str | int | float)


AT_LEAST_0 = _number(f"a number from 0 to {MOST:,}", lambda x: 0 <= x <= MOST)
ABOVE_0 = _number(
  f"a number above 0, at most {MOST:,}", lambda x: 0 < x <= MOST
)
BELOW_1 = _number("a number from 0 to 1, below 1", lambda x: 0 <= x < 1)
EPOCHS = Range(
  "whole epochs of 0 or more, in order, such as (35, 55)", _is_increasing
)
PRECISION = Range(
  f"one of {', '.join(PRECISIONS)} or a jax.lax.DotAlgorithmPreset",
  lambda x: (
    isinstance(x, str)
    and (x in PRECISIONS or x in jax.lax.DotAlgorithmPreset.__members__)
  ),
)
SWITCH = Range("true or false", lambda x: isinstance(x, bool))
TEXT = Range("a text, not empty", lambda x: isinstance(x, str) and bool(x))
WORD = Range("a word of letters, digits and . _ -", _is_word)
# What config.json can store.
PLAIN = Range("a text, a number, true, false or a tuple of these", _is_plain)
SEED = Range(
  "a whole number in [0, 2**32)", lambda x: _is_whole(x) and 0 <= x < 2**32
)
DECAY = _number("a number above 0, at most 1", lambda x: 0 < x <= 1)
SHARE = _number("a number from 0 to 1", lambda x: 0 <= x <= 1)


def _open(allowed):
  return allowed._replace(text=f"{allowed.text}, or None", is_open=True)


# Every field, but for further fields of a backbone (`model.*`), which it checks
# itself, and for temperatures of streams. `contrast/switches.py` refuses values
# that contradict each other.
RANGES = {
  "seed": SEED,
  "preset": WORD,
  "start": _open(_one_of("auto", "stable", "reference")),
  "backbone": TEXT,
  "skeleton": _open(TEXT),
  "num_classes": _open(_count(2)),
  "num_persons": _open(_count(1, 1_000)),
  "matmul_precision": PRECISION,
  "init_from": _open(TEXT),
  "gcl": SWITCH,
  "deterministic": _open(SWITCH),
  "batch_size": _count(1),
  "eval_batch_size": _count(1),
  "eval_every_epochs": _count(1),
  "save_every_minutes": _open(ABOVE_0),
  "keep_every_epochs": _open(_count(1)),
  "model.graph_block": _open(_count(0)),
  "model.width": _open(_count(1, 10_000)),
  "model.dropout": _open(BELOW_1),
  "model.dtype": _open(_one_of("float32", "bfloat16", "float16")),
  "model.remat": _open(SWITCH),
  "data.dir": TEXT,
  "data.prepare": TEXT,
  "data.split": _one_of(*splits.PROTOCOLS, "all"),
  "data.train_split": TEXT,
  "data.test_split": TEXT,
  "data.modality": _one_of(*modalities.NAMES),
  "data.transform": _one_of(*augment.TRANSFORMS),
  "data.window": _count(2),
  "data.max_angle": _number("an angle from 0 to 360", lambda x: 0 <= x <= 360),
  "data.repeats": _count(1),
  "data.require_aligned": SWITCH,
  "loss.label_smoothing": BELOW_1,
  "loss.latent_prior": AT_LEAST_0,
  "loss.latent_mean": AT_LEAST_0,
  "optim.num_epochs": _count(1),
  "optim.base_lr": AT_LEAST_0,
  "optim.warmup_epochs": _count(0),
  "optim.decay_epochs": EPOCHS,
  "optim.decay_rate": DECAY,
  "optim.momentum": BELOW_1,
  "optim.nesterov": SWITCH,
  "optim.weight_decay": AT_LEAST_0,
  "optim.clip_norm": _open(ABOVE_0),
  "optim.freeze": _open(_one_of("backbone")),
  **{f"contrast.{k}": _one_of(*v) for k, v in switches.CHOICES.items()},
  "contrast.features": _count(1, 10_000),
  "contrast.margin": AT_LEAST_0,
  "contrast.rows_per_class": _count(1),
  "contrast.momentum": SHARE,
  "contrast.temperature": _open(ABOVE_0),
  "contrast.num_hard_positives": _count(1),
  "contrast.num_hard_negatives": _count(0),
  "contrast.num_random_negatives": _count(0),
}
# Tables of temperatures have fields <split>_<modality>, any number of them.
TEMPERATURES = {
  f"contrast.{table}.{split}_{modality}": ABOVE_0
  for table in ("temperatures", "released_temperatures")
  for split in (*splits.PROTOCOLS, "all")
  for modality in modalities.NAMES
}
KNOWN = RANGES | TEMPERATURES


def check(config: ConfigDict) -> None:
  """Refuses a config with missing or unknown fields, or unusable values.

  Open fields pass, and so do further fields of `config.model`: the backbone
  checks them.

  Raises:
    ConfigError: Names the key, and what it may be.
  """
  values = _read(config)
  _check_keys(values)
  # In the order of the table: a split is named before what follows from it.
  for key in sorted(values, key=[*KNOWN, *values].index):
    allowed = KNOWN.get(key, PLAIN)
    if allowed.is_open and values[key] is None:
      continue
    if not allowed.holds(values[key]):
      raise errors.ConfigError(describe(key, values[key]))


def describe(key: str, value: Any) -> str:
  """Returns a message that a key cannot have this value, and what it may be."""
  shown = " ".join(repr(value).split())  # An array takes several lines.
  return f"config.{key}={shown} must be {KNOWN.get(key, PLAIN).text}"


def _check_keys(values):
  missing = [k for k, r in RANGES.items() if k not in values and not r.is_open]
  unknown = [
    key for key in values if key not in KNOWN and not key.startswith("model.")
  ]
  if missing and not any(fields.suggest(key, missing) for key in unknown):
    section = missing[0].rpartition(".")[0]
    if section in values:
      raise errors.ConfigError(
        f"config.{section}={values[section]!r} must be a ConfigDict of fields"
      )
    raise errors.ConfigError(
      f"config.{missing[0]} is missing: the config belongs to another version"
      " of sgcl_jax; pass --config FILE of this one"
    )
  for key in values:
    if key.startswith("model.") and key.count(".") > 1:
      name = ".".join(key.split(".")[:2])
      raise errors.ConfigError(f"config.{name} must be a value, not a section")
  if unknown:
    hint = fields.suggest(unknown[0], missing or KNOWN)
    raise errors.ConfigError(f"unknown key config.{unknown[0]}{hint}")


def _read(config, prefix=""):
  """Returns all values by their dotted keys."""
  values = {}
  for name in config:
    try:
      value = config[name]
    except TypeError as error:  # Computed from a field of a wrong type.
      value = error
    if isinstance(value, ConfigDict):
      values |= _read(value, f"{prefix}{name}.")
    else:
      values[prefix + name] = value
  return values
