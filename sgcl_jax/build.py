# SPDX-License-Identifier: Apache-2.0
"""From a config to its parts: clips, backbone, transform, initial state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import augment, input_pipeline, models, optim, parallel, steps
from sgcl_jax import state as state_lib
from sgcl_jax.contrast import projection as projection_lib


def load_clips(config: ConfigDict, part: str) -> input_pipeline.Clips:
  """Loads the `train` or the `test` part and checks its layout."""
  data = config.data
  try:
    clips = input_pipeline.load(data.dir, data[f"{part}_split"])
  except input_pipeline.DataError as error:
    raise input_pipeline.DataError(
      f"{error}. Prepare it with: {data.prepare} --out {data.dir}"
    ) from error
  _, persons, joints, _ = clips.frames.shape
  expected = make_model(config).skeleton.num_joints
  if (persons, joints) != (config.num_persons, expected):
    raise input_pipeline.DataError(
      f"{data.dir} holds {persons} persons of {joints} joints, the config"
      f" wants {config.num_persons} of {expected} ({config.skeleton})"
    )
  if clips.labels.max() >= config.num_classes:
    raise input_pipeline.DataError(
      f"{data.dir} has label {clips.labels.max()}, the config only"
      f" num_classes={config.num_classes}"
    )
  return clips


def make_model(config: ConfigDict, **overrides: Any):
  """Builds the backbone of a config."""
  return models.create(
    config.backbone,
    num_classes=config.num_classes,
    skeleton=config.skeleton,
    num_persons=config.num_persons,
    **config.model,
    **overrides,
  )


def make_augment(config: ConfigDict):
  """Builds the input transform of a config."""
  return augment.make_augment(
    config.data.recipe,
    config.data.modality,
    config.data.window,
    config.skeleton,
    config.data.max_angle,
  )


def input_shape(config: ConfigDict) -> jax.ShapeDtypeStruct:
  """Returns the shape of one clip as the backbone sees it."""
  model = make_model(config)
  joints = model.skeleton.num_joints
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
  return {**identity, "model": config.model.to_dict()}


def make_projection(config: ConfigDict) -> projection_lib.ProjectionHead | None:
  """Builds the projection head, None without the contrast."""
  if not config.gcl:
    return None
  return projection_lib.ProjectionHead(
    config.num_classes, config.contrast.features
  )


def make_optimizer(config: ConfigDict, steps_per_epoch: int):
  """Builds the optimizer; its rate is constant within an epoch."""
  rates = jnp.asarray(optim.learning_rates(config.optim))
  return optim.sgd(lambda step: rates[step // steps_per_epoch], config.optim)


def init_state(config: ConfigDict, optimizer) -> state_lib.TrainState:
  """Draws the initial state; the backbone's does not depend on `config.gcl`."""
  model = make_model(config)
  x = input_shape(config)
  variables = model.lazy_init(steps.make_key(config.seed, "backbone"), x)
  params = {"backbone": variables["params"]}
  banks = None
  projection = make_projection(config)
  if projection is not None:
    _, graph = jax.eval_shape(model.apply, variables, x)
    key = steps.make_key(config.seed, "projection")
    params["projection"] = projection.lazy_init(key, graph)["params"]
    banks = steps.init_banks(config.num_classes, config.contrast)
  return state_lib.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables["batch_stats"],
    constants=variables.get("constants", {}),
    opt_state=optimizer.init(params),
    banks=banks,
  )


def make_train_step(config: ConfigDict, optimizer):
  """Builds the training step, mapped over the devices."""
  step = steps.make_train_step(
    make_model(config, axis_name=parallel.AXIS),
    make_projection(config),
    optimizer,
    make_augment(config),
    config,
  )
  return parallel.map_train_step(step)
