# SPDX-License-Identifier: Apache-2.0
"""What the benchmark times: random clips, full banks, the parts of a step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from ml_collections import ConfigDict

from sgcl_jax import build, input_pipeline, parallel, skeletons, steps
from sgcl_jax import state as state_lib
from sgcl_jax.contrast import memory, objective, projection, released

# Frames to which the clips of NTU RGB+D are padded before they are resized.
NUM_FRAMES = 300
NUM_CLIPS = 640
# Training clips by number of classes and split; other data is taken to have as
# many as NTU RGB+D 60, X-Sub.
NUM_TRAINING_CLIPS = {
  (10, "xview"): 1_020,
  (60, "xsub"): 40_091,
  (60, "xview"): 37_646,
  (120, "xsub"): 63_026,
  (120, "xset"): 54_468,
}


def random_batch(config: ConfigDict) -> dict[str, np.ndarray]:
  """Returns a batch of random clips, as `input_pipeline` makes them."""
  rng = np.random.default_rng(0)
  n, joints = config.batch_size, skeletons.get(config.skeleton).num_joints
  shape = (n, NUM_FRAMES, config.num_persons, joints, 3)
  skeleton = rng.normal(size=shape).astype(np.float32)
  num_frames = rng.integers(40, 150, n).astype(np.int32)
  for clip, length in zip(skeleton, num_frames, strict=True):
    clip[length:] = 0
  position = np.arange(n, dtype=np.int32)
  return {
    "skeleton": skeleton,
    "num_frames": num_frames,
    "label": rng.integers(0, config.num_classes, n).astype(np.int32),
    "index": position,
    "position": position,
  }


def random_clips(config: ConfigDict) -> input_pipeline.Clips:
  """Returns clips in memory: of 40 to 149 frames, and one of the longest."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(40, 150, NUM_CLIPS)
  lengths[0] = NUM_FRAMES
  joints = skeletons.get(config.skeleton).num_joints
  shape = (lengths.sum(), config.num_persons, joints, 3)
  return input_pipeline.Clips(
    names=np.array([f"{i:03}" for i in range(NUM_CLIPS)]),
    labels=rng.integers(0, config.num_classes, NUM_CLIPS).astype(np.int32),
    frames=rng.normal(size=shape).astype(np.float32),
    offsets=np.concatenate([[0], np.cumsum(lengths)]),
    class_names=(),
    metadata={},
  )


def full_banks(config: ConfigDict, banks: objective.Banks) -> objective.Banks:
  """Returns banks of the same shapes with random rows everywhere."""

  def rows(like):
    noise = np.random.default_rng(1).normal(size=like.shape)
    return projection.normalize(jnp.asarray(noise, like.dtype))

  instance, semantic = banks.instance, banks.semantic
  if isinstance(instance, released.ClipBank):
    labels = jnp.arange(len(instance.labels), dtype=jnp.int32)
    labels %= config.num_classes
    instance = released.ClipBank(rows(instance.rows), labels)
  elif instance is not None:
    fill = jnp.full_like(instance.fill, memory.rows_per_class(instance))
    instance = instance.replace(rows=rows(instance.rows), fill=fill)
  if semantic is not None:
    seen = jnp.ones_like(semantic.seen)
    semantic = memory.SemanticBank(rows(semantic.rows), seen)
  return objective.Banks(instance, semantic)


def bank_rows(config: ConfigDict) -> int:
  """Returns how many rows the instance bank of a config has on its data set."""
  if config.contrast.variant == "paper":
    return config.num_classes * config.contrast.rows_per_class
  data_set = config.num_classes, config.data.split
  num_clips = NUM_TRAINING_CLIPS.get(data_set, NUM_TRAINING_CLIPS[60, "xsub"])
  return config.data.repeats * num_clips


def init_state(config: ConfigDict, optimizer: Any) -> state_lib.TrainState:
  """Returns an initial state whose banks are full.

  Args:
    config: Of `configs/`.
    optimizer: Of `build.make_optimizer`.
  """
  state = build.init_state(config, optimizer, bank_rows(config))
  if state.banks is None:
    return state
  return state.replace(banks=full_banks(config, state.banks))


def make_augment_step(config: ConfigDict) -> Callable[..., jax.Array]:
  """Builds step({}, batch) -> x, the input transform of training alone."""
  augment = build.make_augment(config)

  def step(_, batch):
    keys = steps.clip_keys(config.seed, "augment", 0, batch["position"])
    return augment(batch["skeleton"], batch["num_frames"], keys)

  return parallel.map_eval_step(step)


def make_contrast_step(config: ConfigDict) -> Callable[..., Any]:
  """Builds the contrast part of a training step alone, forward and backward.

  Returns:
    step((params of the head, banks), batch) -> ((params a step further, banks
    after the write), squared norm of the gradient of what is contrasted); a
    batch has that as `source`, graph or feature. The first pair is donated.
  """
  head, tau = build.make_head(config), build.temperature(config)

  def step(carry, batch):
    params, banks = carry
    keys = steps.clip_keys(config.seed, "sampling", 0, batch["position"])

    def loss_fn(params, source):
      terms, written, _ = steps.contrast(
        head, params, source, banks, batch, keys, config.contrast, tau
      )
      return sum(steps.share(*term) for term in terms.values()), written

    gradients = jax.grad(loss_fn, (0, 1), has_aux=True)
    (grads, of_source), written = gradients(params, batch["source"])
    sums = grads, jnp.sum(jnp.square(of_source))
    grads, squared_norm = lax.psum(sums, parallel.AXIS)
    params = jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)
    return (params, written), squared_norm

  return parallel.map_train_step(step)


def contrast_problem(
  config: ConfigDict, state: state_lib.TrainState, batch: dict[str, np.ndarray]
) -> tuple[Any, dict[str, np.ndarray]]:
  """Returns random arguments of `make_contrast_step`'s result."""
  source = build.contrasted(config, state.variables())
  shape = (config.batch_size, *source.shape[1:])
  noise = np.random.default_rng(2).normal(size=shape).astype(source.dtype)
  carry = state.params["projection"], state.banks
  return carry, {**batch, "source": noise}
