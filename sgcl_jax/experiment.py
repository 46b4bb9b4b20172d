# SPDX-License-Identifier: Apache-2.0
"""Turns a config into its parts, once; nothing below takes a whole config."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from sgcl_jax import (
  augment,
  errors,
  losses,
  models,
  optim,
  skeletons,
  source,
  splits,
)
from sgcl_jax.contrast import base, switches
from sgcl_jax.devices import parallel
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
  "contrast.features": _at_least(1),
  "contrast.margin": _at_least(0),
  "contrast.rows_per_class": _at_least(1),
  "contrast.momentum": Range("in [0, 1]", lambda x: 0 <= x <= 1),
  "contrast.temperature": ABOVE_0,
  "contrast.num_hard_positives": _at_least(1),
  "contrast.num_hard_negatives": _at_least(0),
  "contrast.num_random_negatives": _at_least(0),
}
# Further fields that `make` reads.
REQUIRED = (
  *("seed", "preset", "backbone", "skeleton", "num_persons", "init_from"),
  *("gcl", "matmul_precision", "data.dir", "data.prepare", "data.split"),
  *("data.train_split", "data.test_split", "data.modality", "data.transform"),
  *("data.max_angle", "data.require_aligned", "contrast.variant"),
)
# Fields of a module that do not change its variables or its logits.
NOT_IDENTITY = ("dropout", "dtype", "graph_block", "remat")


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The parts of a run: plain values, no open files.

  Attributes:
    seed: Seed of all random draws.
    source: The clips of the run and the sizes of its batches.
    schedule: Epochs and learning rates.
    layout: Joint layout.
    clip: Shape of one clip as the model sees it, [1, M, T, V, C].
    model: Backbone, for training and evaluation.
    transform: Turns padded clips into network inputs, see
      `augment.make_transform`.
    weights: Weights of the terms of the backbone's loss.
    contrast: The contrast, or None if the run has none.
    optimizer: Settings of the optimizer.
    init_from: Workdir of the run whose backbone this one starts from, or None.
    identity: Fields that a checkpoint must share with this run.
    record: The whole config, as `config.json` stores it.
  """

  seed: int
  source: source.Source
  schedule: optim.Schedule
  layout: skeletons.Skeleton
  clip: jax.ShapeDtypeStruct
  model: nn.Module
  transform: Callable[..., jax.Array]
  weights: losses.Weights
  contrast: base.Contrast | None
  optimizer: optim.Sgd
  init_from: str | None
  identity: dict[str, Any]
  record: dict[str, Any]


def open(directory: str | os.PathLike) -> Experiment:
  """Builds the experiment of a run from its `config.json`.

  Args:
    directory: Workdir of the run.

  Raises:
    WorkdirError: If there is no `config.json`, or if it is damaged.
    ConfigError: As `make`.
    DataError: As `make`.
  """
  return make(ConfigDict(workdir.read_config(directory)))


def make(config: ConfigDict) -> Experiment:
  """Resolves and checks a config of `configs/`, and builds each part once.

  Raises:
    ConfigError: If no run can use a value; names the key and what it may be.
    DataError: If open fields cannot be filled from the data set's metadata.
  """
  _check_keys(config)
  config = _resolve(config)
  check_values(config)
  layout = skeletons.get(config.skeleton)
  contrast = _make_contrast(config)
  fields, modality = models.adapt(
    config.backbone,
    modality=config.data.modality,
    skeleton=layout,
    fields={k: v for k, v in config.model.items() if v is not None},
  )
  model = _make_model(config, layout, fields)
  shape = (1, config.num_persons, config.data.window, layout.num_joints, 3)
  return Experiment(
    seed=config.seed,
    source=_make_source(config, layout),
    schedule=_make_schedule(config),
    layout=layout,
    clip=jax.ShapeDtypeStruct(shape, np.float32),
    model=model,
    transform=_make_transform(config, layout, modality),
    weights=losses.Weights(**config.loss),
    contrast=contrast,
    optimizer=_make_optimizer(config),
    init_from=config.init_from,
    identity=_make_identity(config, model, fields),
    record=config.to_dict(),
  )


def _check_keys(config):
  known = workdir.flatten(config.to_dict())
  for key in (*REQUIRED, *MINIMA):
    if key not in known:
      raise errors.ConfigError(
        f"config.{key} is missing: the config belongs to another version of"
        " sgcl_jax; pass --config FILE of this one"
      )


def _resolve(config):
  """Returns a copy whose open fields are filled from the data set."""
  config = config.copy_and_resolve_references()
  names = ("num_classes", "num_persons", "skeleton")
  if any(config[name] is None for name in names):
    found = source.describe(config.data.dir, config.data.prepare)
    for name in names:
      if config[name] is None:
        config[name] = found[name]
  layout = skeletons.get(config.skeleton)
  if layout.name not in skeletons.LAYOUTS:
    # The text, not a file's name: the run must not depend on that file.
    config.skeleton = layout.to_json()
  return config


def check_values(config: ConfigDict) -> None:
  """Refuses values that no run can use; open fields fit.

  Raises:
    ConfigError: Names the key, its value and what it may be.
  """
  values = workdir.flatten(config.to_dict())
  ranges = dict(RANGES)
  for key in values:
    if key.startswith(("contrast.temperatures.", "contrast.released_temp")):
      ranges[key] = ABOVE_0
  for key, allowed in ranges.items():
    value = values.get(key)
    if value is not None and not allowed.holds(value):
      raise errors.ConfigError(f"config.{key}={value!r} must be {allowed.text}")


def find_temperature(config: ConfigDict) -> float:
  """Returns tau: `temperature` if it is set, otherwise the one of its stream.

  The stream's is in `temperatures`; where the released code differs, its own is
  in `released_temperatures`.

  Raises:
    ConfigError: If the config has no temperature for its split and modality.
  """
  contrast = config.contrast
  if contrast.temperature is not None:
    return contrast.temperature
  stream = f"{config.data.split}_{config.data.modality}"
  temperatures = dict(contrast.temperatures)
  if contrast.variant == "released":
    # Older runs have no such table.
    temperatures |= dict(contrast.get("released_temperatures", {}))
  if stream not in temperatures:
    raise errors.ConfigError(
      f"config.contrast.temperatures has no {stream} (split and modality); it"
      f" has {', '.join(temperatures)}. Set"
      " config.contrast.temperature for another stream"
    )
  return temperatures[stream]


def _make_contrast(config):
  switches.check(
    config.contrast,
    enabled=config.gcl,
    graph_block=config.model.graph_block,
    batch_size=config.batch_size,
  )
  if not config.gcl:
    return None
  return switches.make(
    config.contrast,
    num_classes=config.num_classes,
    temperature=find_temperature(config),
  )


def _make_model(config, layout, fields):
  return models.create(
    config.backbone,
    num_classes=config.num_classes,
    skeleton=layout,
    num_persons=config.num_persons,
    axis_name=parallel.AXIS,
    **fields,
  )


def _make_transform(config, layout, modality):
  return augment.make_transform(
    config.data.transform,
    modality=modality,
    window=config.data.window,
    layout=layout,
    max_angle=config.data.max_angle,
  )


def _make_source(config, layout):
  data = config.data
  return source.Source(
    data_dir=data.dir,
    prepare=data.prepare,
    train_split=data.train_split,
    test_split=data.test_split,
    repeats=data.repeats,
    batch_size=config.batch_size,
    eval_batch_size=config.eval_batch_size,
    num_classes=config.num_classes,
    num_persons=config.num_persons,
    layout=layout,
    require_aligned=data.require_aligned,
  )


def _make_schedule(config):
  names = ("num_epochs", "base_lr", "warmup_epochs", "decay_rate")
  return optim.Schedule(
    decay_epochs=tuple(config.optim.decay_epochs),
    eval_every_epochs=config.eval_every_epochs,
    **{name: config.optim[name] for name in names},
  )


def _make_optimizer(config):
  names = ("momentum", "nesterov", "weight_decay")
  return optim.Sgd(**{name: config.optim[name] for name in names})


def _make_identity(config, model, fields):
  """Returns what a checkpoint must share: it changes variables or logits."""
  names = ("backbone", "num_classes", "skeleton", "num_persons")
  identity = {name: config[name] for name in names}
  for name in sorted({*config.model, *fields} - {*NOT_IDENTITY}):
    # The value in use, so that a default is equal to the same value set.
    value = getattr(model, name, None)
    if not isinstance(value, (bool, int, float, str, list, tuple)):
      value = fields.get(name)
    if value is not None:
      # As the metadata store it: a tuple comes back as a list.
      identity[f"model.{name}"] = json.loads(json.dumps(value))
  return identity
