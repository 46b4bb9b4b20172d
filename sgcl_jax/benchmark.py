# SPDX-License-Identifier: Apache-2.0
r"""Times a config's training step, and the part of it that is the contrast.

python -m sgcl_jax.benchmark --config configs/ctrgcn_ntu60.py --repeats 10

Random clips, the banks full and all anchors active.
"""

import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import lax
from ml_collections import ConfigDict, config_flags

from sgcl_jax import build, errors, parallel, skeletons, steps
from sgcl_jax import state as state_lib
from sgcl_jax.contrast import memory, objective, projection, released

# Frames to which the clips of NTU RGB+D are padded before they are resized.
NUM_FRAMES = 300
PAUSE_SECONDS = 1.0

_CONFIG = config_flags.DEFINE_config_file("config", None, "Of configs/.")
_REPEATS = flags.DEFINE_integer(
  "repeats", 10, "Runs of each, in turn; their median counts.", lower_bound=1
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")


def random_batch(config: ConfigDict) -> dict[str, np.ndarray]:
  """Returns a batch of random clips, as `input_pipeline` makes them."""
  rng = np.random.default_rng(0)
  n, joints = config.batch_size, skeletons.get(config.skeleton).num_joints
  shape = (n, NUM_FRAMES, config.num_persons, joints, 3)
  position = np.arange(n, dtype=np.int32)
  return {
    "skeleton": rng.normal(size=shape).astype(np.float32),
    "num_frames": rng.integers(40, 150, n).astype(np.int32),
    "label": rng.integers(0, config.num_classes, n).astype(np.int32),
    "index": position,
    "position": position,
  }


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


def init_state(
  config: ConfigDict, optimizer: Any, num_rows: int = 40_091
) -> state_lib.TrainState:
  """Returns an initial state whose banks are full.

  Args:
    config: Of `configs/`.
    optimizer: Of `build.make_optimizer`.
    num_rows: Of the released code's bank; by default NTU RGB+D 60, X-Sub.
  """
  state = build.init_state(config, optimizer, num_rows)
  if state.banks is None:
    return state
  return state.replace(banks=full_banks(config, state.banks))


def make_contrast_step(config: ConfigDict) -> Callable[..., Any]:
  """Builds the contrast part of a training step alone, forward and backward.

  Returns:
    step((params of the head, banks), batch) -> ((gradient of the params, banks
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
    return (grads, written), squared_norm

  return parallel.map_train_step(step)


def contrast_problem(
  config: ConfigDict, state: state_lib.TrainState, batch: dict[str, np.ndarray]
) -> tuple[Any, dict[str, np.ndarray]]:
  """Returns random arguments of `make_contrast_step`'s result, banks copied."""
  source = build.contrasted(config, state.variables())
  shape = (config.batch_size, *source.shape[1:])
  noise = np.random.default_rng(2).normal(size=shape).astype(source.dtype)
  carry = state.params["projection"], state.banks
  return jax.tree.map(jnp.copy, carry), {**batch, "source": noise}


def run(config: ConfigDict, repeats: int) -> dict[str, float]:
  """Times the training step and its contrast part in turn.

  Args:
    config: Of `configs/`.
    repeats: Of each; the medians are returned.
  """
  build.resolve(config)
  build.check(config)
  optimizer = build.make_optimizer(config, 1_000)
  state, batch = init_state(config, optimizer), random_batch(config)
  num_params = sum(x.size for x in jax.tree.leaves(state.params["backbone"]))
  calls = {"train": (build.make_train_step(config, optimizer), batch)}
  carries = {"train": state}
  result = {}
  if config.gcl:
    carries["contrast"], arguments = contrast_problem(config, state, batch)
    calls["contrast"] = make_contrast_step(config), arguments
    compiled = calls["contrast"][0].lower(carries["contrast"], arguments)
    memory_used = compiled.compile().memory_analysis()
    result["contrast_temp_mb"] = memory_used.temp_size_in_bytes / 1e6
  seconds = {name: [] for name in calls}
  for _ in range(repeats + 2):
    for name, (step, arguments) in calls.items():
      # What ran before goes on freeing its memory after its results are there.
      time.sleep(PAUSE_SECONDS)
      start = time.perf_counter()
      carries[name], metrics = step(carries[name], arguments)
      jax.block_until_ready((carries[name], metrics))
      seconds[name].append(time.perf_counter() - start)
  # The first call compiles, and the second still fills buffers.
  medians = {name: statistics.median(s[2:]) for name, s in seconds.items()}
  result |= {
    "train_ms_per_clip": 1e3 * medians["train"] / config.batch_size,
    "compile_seconds": seconds["train"][0] - medians["train"],
    "num_params": num_params,
    "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    / 2**20,
  }
  if config.gcl:
    result["contrast_ms"] = 1e3 * medians["contrast"]
    result["contrast_overhead"] = medians["contrast"] / medians["train"]
  return result


def main() -> None:
  """Prints what `run` measures."""
  if _CONFIG.value is None:
    raise errors.ConfigError(
      "--config is missing, as in --config configs/ctrgcn_ntu60.py"
    )
  parallel.set_up(_CONFIG.value)
  # What is compiled here is measured.
  jax.config.update("jax_enable_compilation_cache", False)
  result = run(_CONFIG.value, _REPEATS.value)
  if _JSON.value:
    print(json.dumps(result))
    return
  for name, value in result.items():
    print(f"{name:20} {value:,.4g}")


if __name__ == "__main__":
  errors.run_with_flags(main)
