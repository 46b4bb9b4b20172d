# SPDX-License-Identifier: Apache-2.0
"""What JAX has to know before it computes anything."""

import importlib.util
import os
import pathlib

import jax
from absl import logging

from sgcl_jax.devices import cores, glibc

# Each holds a copy of the state; more were not measured.
MAX_CPU_DEVICES = 8


def configure(batch_size: int, matmul_precision: str, *, remat: bool) -> None:
  """Sets devices, allocator, precision and compilation cache.

  Args:
    batch_size: Clips of a training batch, which the devices share.
    matmul_precision: Of JAX, such as `highest`.
    remat: Whether the backward pass computes blocks again.
  """
  if _is_cpu_alone():
    glibc.keep_freed_memory()
    make_devices_of_cores(batch_size)
    if remat:
      # There a pass removes the barriers that `jax.checkpoint` sets, and the
      # next one merges what is computed twice. GPUs need that pass.
      _add_flags("--xla_disable_hlo_passes=cse_barrier_expander")
  logging.set_verbosity(logging.WARNING)  # Orbax logs every file.
  jax.config.update("jax_default_matmul_precision", matmul_precision)
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    cache = pathlib.Path.home() / ".cache" / "sgcl_jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))


def make_devices_of_cores(batch_size: int) -> None:
  """Gives each core its own share of the batch, as far as it splits.

  XLA does use several cores within an operation, but not within all of them:
  with a device per core a training step takes 11 to 22 % less on two cores. A
  number of devices that is set in XLA_FLAGS is kept.
  """
  if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
    return
  num_cores = cores.count_cores()
  shares = range(1, min(num_cores, MAX_CPU_DEVICES) + 1)
  num = max(n for n in shares if batch_size % n == 0)
  if num > 1:
    _add_flags(f"--xla_force_host_platform_device_count={num}")
  if 1 < num == num_cores:
    _add_flags("--xla_cpu_multi_thread_eigen=false")


def _is_cpu_alone():
  """Tells whether no plugin for an accelerator is installed, or none wanted."""
  return jax.config.jax_platforms == "cpu" or not any(
    importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu")
  )


def _add_flags(flags):
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
