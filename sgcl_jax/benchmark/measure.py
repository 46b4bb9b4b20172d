# SPDX-License-Identifier: Apache-2.0
r"""Times a config: the training step, its parts, inference, the input.

python -m sgcl_jax.benchmark --config configs/ctrgcn_ntu60.py
python -m sgcl_jax.benchmark --config configs/agcn_ucla.py \
  --config.batch_size=16 --json > before.json
python -m sgcl_jax.benchmark --config configs/agcn_ucla.py \
  --config.batch_size=16 --compare before.json

Random clips, the banks full and all anchors active. Everything is run in turn,
and medians are printed.
"""

import json
import resource
import statistics
import sys
import time
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags
from ml_collections import ConfigDict, config_flags

from sgcl_jax import (
  build,
  errors,
  input_pipeline,
  machine,
  parallel,
  skeletons,
  workload,
)
from sgcl_jax.models import flops

PAUSE_SECONDS = 0.3
# Side of the square product that is the measure of the machine.
MATMUL_SIZE = 2048
# Of the input pipeline's figure.
INPUT_BATCH = 64
# What may differ between measurements that are compared.
MAY_DIFFER = ("jax", "devices")

_CONFIG = config_flags.DEFINE_config_file("config", None, "Of configs/.")
_REPEATS = flags.DEFINE_integer(
  "repeats", 10, "Runs of each, in turn; their median counts.", lower_bound=1
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")
_COMPARE = flags.DEFINE_string(
  "compare", None, "Output of --json; also prints what became of each figure."
)


def run(config: ConfigDict, repeats: int) -> dict[str, float | None]:
  """Measures a config on this machine.

  Args:
    config: Of `configs/`, resolved (`build.resolve`).
    repeats: Runs of each part; the medians are returned.

  Returns:
    Figures by name; most names end in their units. `gflop_per_clip` is the
    published architecture's forward pass (`models.flops`), None where nothing
    is known of the backbone. `matmul_share` is 3 times that per second of the
    training step, over the larger of NumPy's and XLA's rate on a square product
    in single precision, XLA's on all devices at once. `contrast_overhead` is
    what the contrast adds to the rest of the step, as a fraction.
    `peak_memory_gib` is that of all that is timed: more than a training takes.
  """
  build.check(config)
  calls, result = _calls(config)
  seconds = {name: [] for name in calls}
  for _ in tqdm.trange(repeats + 2, desc="rounds", disable=None):
    for name, call in calls.items():
      # What ran before goes on freeing its memory after its results are there.
      time.sleep(PAUSE_SECONDS)
      start = time.perf_counter()
      call()
      seconds[name].append(time.perf_counter() - start)
  # The first call compiles, and the second still fills buffers.
  medians = {name: statistics.median(s[2:]) for name, s in seconds.items()}
  n = config.batch_size
  for name in ("train", "inference"):
    result |= {
      f"{name}_ms_per_clip": 1e3 * medians[name] / n,
      f"{name}_clips_per_second": n / medians[name],
    }
  result["compile_seconds"] = seconds["train"][0] - medians["train"]
  compiling = seconds["inference"][0] - medians["inference"]
  result["inference_compile_seconds"] = compiling
  operations = 2 * MATMUL_SIZE**3
  products = {"numpy": 1, "xla": jax.local_device_count()}
  rate = max(operations * num / medians[c] for c, num in products.items())
  result["matmul_gflops"] = rate / 1e9
  result["matmul_share"] = None
  if result["gflop_per_clip"]:
    done = 3e9 * result["gflop_per_clip"] * n / medians["train"]
    result["matmul_share"] = done / rate
  result["augment_ms"] = 1e3 * medians["augment"]
  contrast = medians.get("contrast", 0.0)
  result["contrast_ms"] = 1e3 * contrast
  result["contrast_overhead"] = contrast / (medians["train"] - contrast)
  result["input_clips_per_second"] = workload.NUM_CLIPS / medians["input"]
  result["peak_memory_gib"] = _peak_memory() / 2**30
  return result


def _calls(config):
  """Returns what is timed, by name, and what is known without timing."""
  optimizer = build.make_optimizer(config, 1_000)
  state = workload.init_state(config, optimizer)
  batch = workload.random_batch(config)
  weights = jax.tree.leaves(state.params["backbone"])
  known = {"num_params": sum(x.size for x in weights), "gflop_per_clip": None}
  operations = flops.forward(
    config.backbone,
    num_classes=config.num_classes,
    skeleton=config.skeleton,
    num_persons=config.num_persons,
    num_frames=config.data.window,
  )
  if operations and config.model.width in (None, 64):
    known["gflop_per_clip"] = operations / 1e9
  step = build.make_train_step(config, optimizer)
  inference = build.make_eval_step(config)
  augment = workload.make_augment_step(config)
  calls = {
    "train": _repeated(step, state, batch),
    "inference": lambda: jax.block_until_ready(
      inference(state.variables(), batch)
    ),
    "augment": lambda: jax.block_until_ready(augment({}, batch)),
    **_products(),
  }
  if config.gcl:
    contrast = workload.make_contrast_step(config)
    problem = workload.contrast_problem(config, state, batch)
    calls["contrast"] = _repeated(contrast, *problem)
    used = contrast.lower(*problem).compile().memory_analysis()
    known["contrast_temp_mb"] = used.temp_size_in_bytes / 1e6
  clips = workload.random_clips(config)
  arguments = {"seed": 0, "epoch": 0, "repeats": 1, "batch_size": INPUT_BATCH}
  # One after the other, as in training.
  calls["input"] = lambda: [
    None for _ in input_pipeline.train_batches(clips, **arguments)
  ]
  return calls, known


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
  """Returns bytes: the device's, or where it does not tell the process's."""
  stats = jax.local_devices()[0].memory_stats()
  if stats:
    return stats["peak_bytes_in_use"]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else 1024 * peak


def describe(config: ConfigDict) -> dict[str, Any]:
  """Returns what was measured, and where."""
  return {
    "backbone": config.backbone,
    "skeleton": skeletons.get(config.skeleton).name,
    "num_persons": config.num_persons,
    "num_classes": config.num_classes,
    "gcl": config.contrast.variant if config.gcl else False,
    "bank_rows": workload.bank_rows(config) if config.gcl else 0,
    "batch_size": config.batch_size,
    "frames": config.data.window,
    "width": config.model.get("width") or 64,
    "remat": bool(config.model.get("remat")),
    "dtype": config.model.dtype or "float32",
    "matmul_precision": config.matmul_precision,
    "devices": parallel.describe_devices(),
    "cores": machine.count_cores(),
    "jax": jax.__version__,
  }


def _read(path, setting):
  """Returns the figures of an earlier run, which has to be of this setting."""
  try:
    with open(path) as file:
      earlier = json.load(file)
    theirs = {name: earlier[name] for name in setting}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.ConfigError(
      f"--compare={path}: is no output of --json ({error!r})"
    ) from error
  for name, value in setting.items():
    if name not in MAY_DIFFER and theirs[name] != value:
      raise errors.ConfigError(
        f"--compare={path}: its {name} is {theirs[name]}, and here {value}"
      )
  return earlier


def main() -> None:
  """Prints what `run` measures."""
  config = _CONFIG.value
  if config is None:
    raise errors.ConfigError(
      "--config is missing, as in --config configs/ctrgcn_ntu60.py"
    )
  if _JSON.value and _COMPARE.value:
    raise errors.ConfigError(
      "--json has no room for a comparison; leave it or --compare out"
    )
  parallel.set_up(config)
  build.resolve(config)
  setting = describe(config)
  before = _read(_COMPARE.value, setting) if _COMPARE.value else {}
  # What is compiled here is measured.
  jax.config.update("jax_enable_compilation_cache", False)
  figures = run(config, _REPEATS.value)
  if _JSON.value:
    print(json.dumps(setting | figures, indent=1))
    return
  for name, value in setting.items():
    print(f"{name:28} {value}")
  if before:
    print(f"{'':28} {'now':>12} {'before':>12} {'now / before':>13}")
  for name, value in figures.items():
    line = f"{name:28} {_rounded(value):>12}"
    if value is not None and before.get(name):
      ratio = value / before[name]
      line += f" {_rounded(before[name]):>12} {ratio:>12.2f}x"
    print(line)


def _rounded(value):
  if value is None:
    return "-"
  return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


if __name__ == "__main__":
  errors.run_with_flags(main)
