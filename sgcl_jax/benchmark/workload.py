# SPDX-License-Identifier: Apache-2.0
"""The benchmark's inputs, random clips and full banks, and parts of a step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from sgcl_jax import (
  experiment,
  input_pipeline,
  models,
  randomness,
  state,
  steps,
  train,
)
from sgcl_jax.contrast import banks, paper, projection, released
from sgcl_jax.devices import parallel

# Frames to which the clips of NTU RGB+D are padded before they are resized.
NUM_FRAMES = 300
NUM_CLIPS = 640
# (number of classes, split) -> training clips. Other data sets count like NTU
# RGB+D 60, X-Sub.
NUM_TRAINING_CLIPS = {
  (10, "xview"): 1_020,
  (60, "xsub"): 40_091,
  (60, "xview"): 37_646,
  (120, "xsub"): 63_026,
  (120, "xset"): 54_468,
}


def random_batch(parts: experiment.Experiment) -> dict[str, np.ndarray]:
  """Returns a batch of random clips, as `input_pipeline` makes them."""
  rng = np.random.default_rng(0)
  n = parts.source.batch_size
  skeleton = rng.normal(size=(n, NUM_FRAMES, *_frame_shape(parts)))
  skeleton = skeleton.astype(np.float32)
  num_frames = rng.integers(40, 150, n).astype(np.int32)
  for clip, length in zip(skeleton, num_frames, strict=True):
    clip[length:] = 0
  position = np.arange(n, dtype=np.int32)
  labels = rng.integers(0, parts.source.num_classes, n)
  return {
    "skeleton": skeleton,
    "num_frames": num_frames,
    "label": labels.astype(np.int32),
    "index": position,
    "position": position,
  }


def random_clips(parts: experiment.Experiment) -> input_pipeline.Clips:
  """Returns clips in memory: one of `NUM_FRAMES`, the others of 40 to 149."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(40, 150, NUM_CLIPS)
  lengths[0] = NUM_FRAMES
  labels = rng.integers(0, parts.source.num_classes, NUM_CLIPS)
  frames = rng.normal(size=(lengths.sum(), *_frame_shape(parts)))
  frames = frames.astype(np.float32)
  return input_pipeline.Clips(
    names=np.array([f"{i:03}" for i in range(NUM_CLIPS)]),
    labels=labels.astype(np.int32),
    skeletons=np.split(frames, np.cumsum(lengths)[:-1]),
    class_names=(),
    metadata={},
  )


def _frame_shape(parts):
  return parts.source.num_persons, parts.layout.num_joints, 3


def fill(memory: Any, num_classes: int) -> Any:
  """Returns a contrast's memory with all rows filled at random.

  Args:
    memory: Memory of any contrast.
    num_classes: L.
  """

  def rows(like):
    noise = np.random.default_rng(1).normal(size=like.shape)
    return projection.normalize(jnp.asarray(noise, like.dtype))

  if isinstance(memory, released.Memory):
    labels = jnp.arange(len(memory.bank.labels), dtype=jnp.int32)
    bank = released.ClipBank(rows(memory.bank.rows), labels % num_classes)
    return memory.replace(bank=bank)
  if not isinstance(memory, paper.Banks):
    return memory
  instance, semantic = memory.instance, memory.semantic
  if instance is not None:
    size = banks.rows_per_class(instance)
    instance = instance.replace(
      rows=rows(instance.rows),
      num_filled=jnp.full_like(instance.num_filled, size),
    )
  if semantic is not None:
    seen = jnp.ones_like(semantic.seen)
    semantic = banks.SemanticBank(rows(semantic.rows), seen)
  return paper.Banks(instance, semantic)


def bank_rows(parts: experiment.Experiment) -> int:
  """Returns the number of rows of the instance bank on the data set."""
  if parts.record["contrast"]["variant"] == "paper":
    rows_per_class = parts.record["contrast"]["rows_per_class"]
    return parts.source.num_classes * rows_per_class
  data_set = parts.source.num_classes, parts.record["data"]["split"]
  num_clips = NUM_TRAINING_CLIPS.get(data_set, NUM_TRAINING_CLIPS[60, "xsub"])
  return parts.source.repeats * num_clips


def init_state(
  parts: experiment.Experiment, optimizer: optax.GradientTransformation
) -> state.TrainState:
  """Returns an initial state whose banks are full."""
  start = train.init_state(parts, optimizer, bank_rows(parts))
  return start.replace(memory=fill(start.memory, parts.source.num_classes))


def make_augment_step(
  parts: experiment.Experiment,
) -> Callable[..., jax.Array]:
  """Builds step({}, batch) -> x, the input transform of training alone."""

  def step(_, batch):
    keys = randomness.clip_keys(parts.seed, "augment", 0, batch["position"])
    return parts.transform(batch["skeleton"], batch["num_frames"], keys)

  return parallel.map_eval_step(step)


def make_contrast_step(parts: experiment.Experiment) -> Callable[..., Any]:
  """Builds the contrast part of a training step alone, forward and backward.

  Returns:
    step((params, memory), batch) -> ((params, memory), squared norm). A batch
    also holds `graph` and `feature`; the norm is of the gradient by both. The
    pair is donated, and returned with updated params and written memory.
  """

  def step(carry, batch):
    params, memory = carry
    keys = randomness.clip_keys(parts.seed, "sampling", 0, batch["position"])

    def loss_fn(params, source):
      outputs = models.Outputs(None, source["graph"], source["feature"])
      outcome = parts.contrast.apply(
        params, memory, outputs, batch, keys, steps.gather
      )
      return sum(steps.share(outcome.terms).values()), outcome.memory

    gradients = jax.grad(loss_fn, (0, 1), has_aux=True)
    source = {name: batch[name] for name in ("graph", "feature")}
    (grads, of_source), written = gradients(params, source)
    squares = sum(jnp.sum(jnp.square(x)) for x in of_source.values())
    grads, squared_norm = lax.psum((grads, squares), parallel.AXIS)
    params = jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)
    return (params, written), squared_norm

  return parallel.map_train_step(step)


def contrast_problem(
  parts: experiment.Experiment,
  current: state.TrainState,
  batch: dict[str, np.ndarray],
) -> tuple[Any, dict[str, np.ndarray]]:
  """Returns random arguments for the step of `make_contrast_step`.

  Args:
    parts: Parts of the experiment.
    current: State with full banks.
    batch: Batch of clips, see `random_batch`.
  """
  shapes = state.output_shapes(parts.model, current.variables(), parts.clip)
  rng, n = np.random.default_rng(2), parts.source.batch_size

  def draw(like):
    return rng.normal(size=(n, *like.shape[1:])).astype(like.dtype)

  carry = current.params["contrast"], current.memory
  # Without a sown feature, one zero takes its place.
  has_feature = shapes.feature is not None
  feature = draw(shapes.feature) if has_feature else np.zeros((n, 1))
  return carry, {**batch, "graph": draw(shapes.graph), "feature": feature}
