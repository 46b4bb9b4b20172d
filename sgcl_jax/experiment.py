# SPDX-License-Identifier: Apache-2.0
"""Turns a config into its parts, once; nothing below takes a whole config."""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from sgcl_jax import augment, errors, losses, models, optim, skeletons
from sgcl_jax.contrast import base, switches
from sgcl_jax.dataset import source
from sgcl_jax.devices import parallel, set_up
from sgcl_jax.runs import saving, workdir
from sgcl_jax.settings import ranges
from sgcl_jax.terminal import paths
from sgcl_jax.training import finetune

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
    temperature: tau of the contrast, or None if it has none.
    optimizer: Settings of the optimizer.
    init_from: Workdir of the run whose backbone this one starts from, or None.
    saving: When to save, and which checkpoints to keep.
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
  temperature: float | None
  optimizer: optim.Sgd
  init_from: str | None
  saving: saving.Saving
  identity: dict[str, Any]
  record: dict[str, Any]


def prepare(config: ConfigDict, batch_size: int | None = None) -> None:
  """Checks a config, and configures the devices for it.

  Every command calls it before JAX computes anything.

  Args:
    config: Config of the run.
    batch_size: Clips of a batch over all devices, if not `config.batch_size`.

  Raises:
    ConfigError: If a field is missing, or if no run can use its value.
  """
  ranges.check(config)
  set_up.configure(
    batch_size or config.batch_size,
    config.matmul_precision,
    remat=bool(config.model.get("remat")),
    deterministic=bool(config.get("deterministic")),
  )


def open(directory: str | os.PathLike) -> Experiment:
  """Builds the experiment of a run from its config.

  The config in its newest checkpoint counts, or its `config.json` without one.

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
  ranges.check(config)
  config = _resolve(config)
  ranges.check(config)  # The data set may have filled open fields.
  layout = _get_layout(config.skeleton)
  contrast = _make_contrast(config)
  fields, modality = models.adapt(
    config.backbone,
    modality=config.data.modality,
    skeleton=layout,
    fields={k: v for k, v in config.model.items() if v is not None},
  )
  model = _make_model(config, layout, fields)
  shape = (1, config.num_persons, config.data.window, layout.num_joints, 3)
  clip = jax.ShapeDtypeStruct(shape, np.float32)
  return Experiment(
    seed=config.seed,
    source=_make_source(config, layout),
    schedule=_make_schedule(config),
    layout=layout,
    clip=clip,
    model=model,
    transform=_make_transform(config, layout, modality),
    weights=losses.Weights(**config.loss),
    contrast=contrast,
    temperature=_temperature_in_use(config),
    optimizer=_make_optimizer(config, model, clip),
    init_from=config.init_from,
    saving=saving.Saving(config.save_every_minutes, config.keep_every_epochs),
    identity=_make_identity(config, model, fields),
    record=config.to_dict(),
  )


def _resolve(config):
  """Returns a copy whose open fields are filled from the data set."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    for key, allowed in ranges.RANGES.items():
      section, _, name = key.rpartition(".")
      section = config[section] if section else config
      if allowed.is_open and name not in section:  # Of an older run.
        section[name] = None
  config.data.dir = _expand("data.dir", config.data.dir)
  if config.init_from is not None:
    config.init_from = _expand("init_from", config.init_from)
  names = ("num_classes", "num_persons", "skeleton")
  if any(config[name] is None for name in names):
    found = source.describe(config.data.dir, config.data.prepare)
    for name in names:
      if config[name] is None:
        config[name] = found[name]
  layout = _get_layout(config.skeleton)
  # A file's text, not its name: the run must not depend on that file.
  named = layout.name in skeletons.LAYOUTS
  config.skeleton = layout.name if named else layout.to_json()
  return config


def _expand(key, text):
  try:
    return str(paths.expand(text))
  except errors.ConfigError as error:
    raise errors.ConfigError(f"config.{key}: {error}") from error


def _get_layout(skeleton):
  if not skeleton.startswith("{"):  # The text of a layout.
    skeleton = _expand("skeleton", skeleton)
  try:
    return skeletons.get(skeleton)
  except (errors.ConfigError, OSError) as error:
    text = str(error).removeprefix("config.skeleton: ")
    raise errors.ConfigError(f"config.skeleton: {text}") from error


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
      " --config.contrast.temperature for another stream"
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


def _temperature_in_use(config):
  uses_it = config.gcl and config.contrast.loss == "infonce"
  return find_temperature(config) if uses_it else None


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


def _make_optimizer(config, model, clip):
  names = ("momentum", "nesterov", "weight_decay", "clip_norm")
  frozen = None
  if config.optim.freeze is not None:
    finetune.check_freeze(
      config.optim.freeze,
      init_from=config.init_from,
      gcl=config.gcl,
      dropout=config.model.dropout,
    )
    frozen = finetune.find_frozen(model, clip)
  return optim.Sgd(
    frozen=frozen, **{name: config.optim[name] for name in names}
  )


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
