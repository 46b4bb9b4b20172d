# SPDX-License-Identifier: Apache-2.0
"""From a config to its parts: clips, backbone, transform, initial state."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from sgcl_jax import (
  augment,
  errors,
  input_pipeline,
  models,
  optim,
  parallel,
  skeletons,
  steps,
)
from sgcl_jax import state as state_lib
from sgcl_jax.contrast import objective

# Smallest value of each count that a run can use.
MINIMA = {
  "batch_size": 1,
  "eval_batch_size": 1,
  "eval_every_epochs": 1,
  "num_classes": 2,
  "data.window": 2,
  "data.repeats": 1,
  "loss.label_smoothing": 0,
  "loss.latent_prior": 0,
  "loss.latent_mean": 0,
  "optim.num_epochs": 1,
  "optim.base_lr": 0,
  "optim.momentum": 0,
  "optim.weight_decay": 0,
  "contrast.features": 1,
  "contrast.margin": 0,
  "contrast.rows_per_class": 1,
  "contrast.num_hard_positives": 1,
  "contrast.num_hard_negatives": 0,
  "contrast.num_random_negatives": 0,
}


def resolve(config: ConfigDict) -> None:
  """Sets what the config leaves to its data set, such as its joint layout.

  Raises:
    DataError: If the data set is missing, or does not tell.
  """
  names = "num_classes", "num_persons", "skeleton"
  if all(config[name] is not None for name in names):
    return
  with _telling_how_to_prepare(config):
    found = input_pipeline.describe(config.data.dir)
  for name in names:
    if config[name] is None:
      config[name] = found[name]


def check(config: ConfigDict) -> None:
  """Refuses values that no run can use, before anything is loaded.

  Raises:
    ConfigError: Names the key and what it may be.
  """
  for key, minimum in MINIMA.items():
    value = _get(config, key)
    if value < minimum:
      raise errors.ConfigError(f"config.{key}={value} is less than {minimum}")
  objective.check(config)
  if config.gcl and not temperature(config) > 0:
    raise errors.ConfigError("config.contrast.temperature is not above 0")
  parallel.check_batch_size(config.batch_size, "config.batch_size")
  make_augment(config)
  make_model(config)


def temperature(config: ConfigDict) -> float:
  """Returns tau: the one that is set, or the table's for this stream."""
  if config.contrast.temperature is not None:
    return config.contrast.temperature
  return config.contrast.temperatures[
    f"{config.data.split}_{config.data.modality}"
  ]


def load_clips(config: ConfigDict, part: str) -> input_pipeline.Clips:
  """Loads the `train` or the `test` part and checks its layout.

  Raises:
    DataError: Names the command that prepares the data.
  """
  data = config.data
  with _telling_how_to_prepare(config):
    clips = input_pipeline.load(data.dir, data[f"{part}_split"])
    _check_layout(config, clips)
  return clips


@contextlib.contextmanager
def _telling_how_to_prepare(config):
  try:
    yield
  except errors.DataError as error:
    data = config.data
    raise errors.DataError(
      f"{error}. Prepare it with: {data.prepare} --out {data.dir}"
    ) from error


def _check_layout(config, clips):
  _, persons, joints, _ = clips.frames.shape
  expected = skeletons.get(config.skeleton).num_joints
  if (persons, joints) != (config.num_persons, expected):
    raise errors.DataError(
      f"{config.data.dir} holds {persons} persons of {joints} joints, the"
      f" config wants {config.num_persons} of {expected}"
      f" ({skeletons.get(config.skeleton).name})"
    )
  if config.data.require_aligned and not clips.metadata.get("aligned"):
    raise errors.DataError(
      f"the bodies in {config.data.dir} are not aligned, which InfoGCN expects;"
      " to train on them all the same: --config.data.require_aligned=false"
    )
  if clips.labels.max() >= config.num_classes:
    raise errors.DataError(
      f"{config.data.dir} has label {clips.labels.max()}, the config only"
      f" num_classes={config.num_classes}"
    )


def _get(config, key):
  for name in key.split("."):
    config = config[name]
  return config


def make_model(config: ConfigDict, **overrides: Any) -> nn.Module:
  """Builds the backbone of a config."""
  return models.create(
    config.backbone,
    num_classes=config.num_classes,
    skeleton=config.skeleton,
    num_persons=config.num_persons,
    **_model_fields(config),
    **overrides,
  )


def _model_fields(config):
  """The fields that are set; the others are the module's own."""
  fields = config.model.to_dict()
  if _makes_bones(config) and fields["k"] is None:
    # As far as any joint is from the root: the joints themselves.
    known = config.skeleton in skeletons.LAYOUTS
    joints = 8 if known else skeletons.get(config.skeleton).num_joints
    fields["k"] = 1 if "bone" in config.data.modality else joints
  return {name: value for name, value in fields.items() if value is not None}


def _makes_bones(config):
  """Whether the backbone itself takes the differences along bones."""
  return config.backbone == "infogcn"


def make_augment(config: ConfigDict) -> Callable[..., jax.Array]:
  """Builds the input transform of a config.

  Raises:
    ConfigError: If there is no such recipe or modality, or InfoGCN would take
      the differences along bones a second time.
  """
  modality = config.data.modality
  if _makes_bones(config):
    k = config.model.k
    if k is not None and (k == 1) != ("bone" in modality):
      raise errors.ConfigError(
        f"config.model.k={k} with data.modality={modality!r}: bones are k=1 of"
        " InfoGCN, and all other k go with joint or joint_motion"
      )
    modality = modality.replace("bone", "joint")
  return augment.make_augment(
    config.data.recipe,
    modality,
    config.data.window,
    config.skeleton,
    config.data.max_angle,
  )


def input_shape(config: ConfigDict) -> jax.ShapeDtypeStruct:
  """Returns the shape of one clip as the backbone sees it."""
  joints = skeletons.get(config.skeleton).num_joints
  shape = (1, config.num_persons, config.data.window, joints, 3)
  return jax.ShapeDtypeStruct(shape, np.float32)


def init_shapes(config: ConfigDict) -> dict[str, Any]:
  """Returns the shapes of the backbone's variables."""
  shapes = jax.eval_shape(
    make_model(config).init, jax.random.key(0), input_shape(config)
  )
  names = ("params", "batch_stats", "constants")
  return {name: shapes.get(name, {}) for name in names}


def model_identity(config: ConfigDict) -> dict[str, Any]:
  """Returns what a checkpoint and a config must agree on."""
  names = ("backbone", "num_classes", "skeleton", "num_persons")
  identity = {name: config[name] for name in names}
  fields = _model_fields(config)
  for name in ("dropout", "dtype", "remat"):  # The variables are the same.
    fields.pop(name, None)
  return identity | {f"model.{name}": value for name, value in fields.items()}


def make_head(config: ConfigDict) -> nn.Module | None:
  """Builds what leads from the graph to the contrast, None without it."""
  if not config.gcl:
    return None
  return objective.make_head(config.num_classes, config.contrast)


def make_optimizer(
  config: ConfigDict, steps_per_epoch: int
) -> optax.GradientTransformation:
  """Builds the optimizer; its rate is constant within an epoch."""
  rates = jnp.asarray(optim.learning_rates(config.optim))
  sgd = optim.sgd(lambda step: rates[step // steps_per_epoch], config.optim)
  return freeze_projection(config, sgd)


def freeze_projection(
  config: ConfigDict, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
  """Keeps the projection at its draw where the released code does."""
  if config.contrast.variant != "released":
    return optimizer
  return optax.partition(
    {"backbone": optimizer, "projection": optax.set_to_zero()},
    lambda params: {name: name for name in params},
  )


def init_state(
  config: ConfigDict, optimizer: optax.GradientTransformation, num_rows: int
) -> state_lib.TrainState:
  """Draws the initial state; the backbone's does not depend on `config.gcl`.

  Args:
    config: Of `configs/`.
    optimizer: Of `make_optimizer`.
    num_rows: Clips of an epoch, repeats included.
  """
  model = make_model(config)
  x = input_shape(config)
  variables = model.lazy_init(steps.make_key(config.seed, "backbone"), x)
  params = {"backbone": variables["params"]}
  banks = None
  head = make_head(config)
  if head is not None:
    source = contrasted(config, variables)
    key = steps.make_key(config.seed, "projection")
    projection = head.lazy_init(key, source)
    params["projection"] = projection.get("params", {})
    output = jax.eval_shape(head.apply, projection, source)
    banks = objective.init_banks(
      config.num_classes, num_rows, output.shape[-1], config.contrast
    )
  return state_lib.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables.get("batch_stats", {}),
    constants=variables.get("constants", {}),
    opt_state=optimizer.init(params),
    banks=banks,
  )


def contrasted(
  config: ConfigDict, variables: dict[str, Any]
) -> jax.ShapeDtypeStruct:
  """Returns the shape of what is contrasted, for one clip.

  Args:
    config: Of `configs/`.
    variables: Of the backbone.

  Raises:
    ConfigError: If it is the feature, and the backbone does not sow it.
  """
  apply = functools.partial(make_model(config).apply, mutable=["intermediates"])
  (_, graph), sown = jax.eval_shape(apply, variables, input_shape(config))
  if config.contrast.source == "graph":
    return graph
  if "feature" not in sown.get("intermediates", {}):
    raise errors.ConfigError(
      f"config.contrast.source=feature: the backbone {config.backbone} does not"
      " sow its feature [N, F] as 'feature' in 'intermediates'"
    )
  return sown["intermediates"]["feature"][0]


def make_train_step(
  config: ConfigDict, optimizer: optax.GradientTransformation
) -> Callable[..., Any]:
  """Builds the training step, mapped over the devices."""
  step = steps.make_train_step(
    make_model(config, axis_name=parallel.AXIS),
    make_head(config),
    optimizer,
    make_augment(config),
    config,
    temperature(config) if config.gcl else None,
  )
  return parallel.map_train_step(step)


def make_eval_step(config: ConfigDict) -> Callable[..., Any]:
  """Builds the evaluation step, mapped over the devices."""
  step = steps.make_eval_step(make_model(config), make_augment(config))
  return parallel.map_eval_step(step)
