# SPDX-License-Identifier: Apache-2.0
"""Times the parts of an experiment in turn, and describes the setting.

The clips are random, the banks full and all anchors active.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sgcl_jax import evaluate, experiment, input_pipeline, train
from sgcl_jax.benchmark import flops, workload
from sgcl_jax.devices import cores, parallel
from sgcl_jax.terminal import progress

PAUSE_SECONDS = 0.3
# Side of the square matrices whose product measures the machine's rate.
MATMUL_SIZE = 2048
# Batch size for timing the input pipeline.
INPUT_BATCH = 64


def run(
  parts: experiment.Experiment,
  repeats: int,
  wait: Callable[[], None] = lambda: None,
) -> dict[str, float | None]:
  """Measures an experiment on this machine.

  Args:
    parts: Parts of the experiment.
    repeats: Runs of each part; the medians are returned.
    wait: Called between the first run of each part, which compiles, and those
      that are timed.

  Returns:
    Figures by name; most names end in their units.

    * `gflop_per_clip`: operations of the published architecture's forward pass
      (`flops`), None for an unknown backbone.
    * `matmul_share`: the rate of the training step, counted as 3 forward
      passes, divided by `matmul_gflops`.
    * `matmul_gflops`: the machine's rate on a square product in single
      precision, the larger one of NumPy's and XLA's on all devices at once.
    * `contrast_overhead`: time of the contrast divided by the time of the rest
      of the step.
    * `peak_memory_gib`: peak over all parts, more than a training needs.

  Raises:
    ConfigError: If the batch does not split over the devices.
  """
  parallel.check_batch_size(parts.source.batch_size, "config.batch_size")
  calls, known = _calls(parts)
  seconds = {name: [] for name in calls}
  for i in progress.bar(range(repeats + 2), unit="rounds"):
    if i == 1:
      wait()
    for name, call in calls.items():
      # The part before may still free memory after its results are ready.
      time.sleep(PAUSE_SECONDS)
      start = time.perf_counter()
      call()
      seconds[name].append(time.perf_counter() - start)
  # The first call compiles, and the second still fills buffers.
  medians = {name: statistics.median(s[2:]) for name, s in seconds.items()}
  n = parts.source.batch_size
  found = dict(known)
  for name, prefix in (("train", ""), ("inference", "inference_")):
    found[f"{name}_ms_per_clip"] = 1e3 * medians[name] / n
    found[f"{name}_clips_per_second"] = n / medians[name]
    compiling = seconds[name][0] - medians[name]
    found[f"{prefix}compile_seconds"] = compiling
  found |= _compare_with_products(medians, known["gflop_per_clip"], n)
  contrast = medians.get("contrast", 0.0)
  found["augment_ms"] = 1e3 * medians["augment"]
  found["contrast_ms"] = 1e3 * contrast
  found["contrast_overhead"] = contrast / (medians["train"] - contrast)
  found["input_clips_per_second"] = workload.NUM_CLIPS / medians["input"]
  found["peak_memory_gib"] = _peak_memory() / 2**30
  return found


def _compare_with_products(medians, gflop_per_clip, num_clips):
  """Returns the machine's rate on products, and the step's share of it."""
  operations = 2 * MATMUL_SIZE**3
  products = {"numpy": 1, "xla": jax.local_device_count()}
  rate = max(operations * num / medians[c] for c, num in products.items())
  share = None
  if gflop_per_clip:
    share = 3e9 * gflop_per_clip * num_clips / medians["train"] / rate
  return {"matmul_gflops": rate / 1e9, "matmul_share": share}


def _calls(parts):
  """Returns the calls to time, by name, and the figures that need no timing."""
  optimizer = parts.optimizer.follow(parts.schedule, 1_000)
  state = workload.init_state(parts, optimizer)
  batch = workload.random_batch(parts)
  weights = jax.tree.leaves(state.params["backbone"])
  known = {
    "num_params": sum(x.size for x in weights),
    "gflop_per_clip": _count_operations(parts),
  }
  step = train.make_train_step(parts, optimizer)
  inference = evaluate.make_eval_step(parts)
  variables = parallel.replicate(state.variables())
  augment = workload.make_augment_step(parts)
  calls = {
    "train": _repeated(step, state, batch),
    "inference": lambda: jax.block_until_ready(inference(variables, batch)),
    "augment": lambda: jax.block_until_ready(augment({}, batch)),
    **_products(),
  }
  if parts.contrast is not None:
    contrast = workload.make_contrast_step(parts)
    problem = workload.contrast_problem(parts, state, batch)
    calls["contrast"] = _repeated(contrast, *problem)
    used = contrast.lower(*problem).compile().memory_analysis()
    known["contrast_temp_mb"] = used.temp_size_in_bytes / 1e6
  clips = workload.random_clips(parts)
  arguments = {"seed": 0, "epoch": 0, "repeats": 1, "batch_size": INPUT_BATCH}
  # The batches are dropped one by one, as in training.
  calls["input"] = lambda: [
    None for _ in input_pipeline.train_batches(clips, **arguments)
  ]
  return calls, known


def _count_operations(parts):
  """Returns billions of operations per clip, None if they are unknown."""
  if parts.record["model"]["width"] not in (None, 64):
    return None
  operations = flops.forward(
    parts.record["backbone"],
    num_classes=parts.source.num_classes,
    skeleton=parts.layout,
    num_persons=parts.source.num_persons,
    num_frames=parts.clip.shape[2],
  )
  return operations and operations / 1e9


def _repeated(step, carry, argument):
  """Returns a call of step(carry, argument) that keeps the new carry."""

  def call():
    nonlocal carry
    carry, rest = step(carry, argument)
    jax.block_until_ready((carry, rest))

  return call


def _products():
  shape = (MATMUL_SIZE, MATMUL_SIZE)
  x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  on_devices = parallel.repeat_on_devices(lambda x: x @ x, x)
  return {
    "numpy": lambda: x @ x,
    "xla": lambda: jax.block_until_ready(on_devices()),
  }


def _peak_memory():
  """Returns the device's bytes, or the process's if the device counts none."""
  stats = jax.local_devices()[0].memory_stats()
  if stats:
    return stats["peak_bytes_in_use"]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else 1024 * peak


def describe(parts: experiment.Experiment) -> dict[str, Any]:
  """Returns the setting of a measurement: model, sizes, precision, machine."""
  record = parts.record
  has_contrast = parts.contrast is not None
  return {
    "backbone": record["backbone"],
    "skeleton": parts.layout.name,
    "num_persons": parts.source.num_persons,
    "num_classes": parts.source.num_classes,
    "gcl": record["contrast"]["variant"] if has_contrast else False,
    "bank_rows": workload.bank_rows(parts) if has_contrast else 0,
    "batch_size": parts.source.batch_size,
    "frames": parts.clip.shape[2],
    "width": record["model"]["width"] or 64,
    "remat": bool(record["model"]["remat"]),
    "dtype": record["model"]["dtype"] or "float32",
    "matmul_precision": record["matmul_precision"],
    "devices": parallel.describe_devices(),
    "cores": cores.count_cores(),
    "jax": jax.__version__,
  }
