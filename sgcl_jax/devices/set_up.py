# SPDX-License-Identifier: Apache-2.0
"""Configures JAX and the allocator before anything is computed."""

import importlib.util
import os
import pathlib

import jax

from sgcl_jax import errors
from sgcl_jax.devices import cores, glibc, hosts, platforms

# Each device holds a copy of the state. More than these were not measured.
MAX_CPU_DEVICES = 8
CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def configure(
  batch_size: int,
  matmul_precision: str,
  *,
  remat: bool = False,
  deterministic: bool = False,
) -> None:
  """Sets devices, allocator, precision and compilation cache.

  Args:
    batch_size: Clips of a training batch, over all devices.
    matmul_precision: JAX's default precision of products, such as `highest`.
    remat: Whether the backward pass computes blocks again.
    deterministic: Whether CUDA devices leave out operations whose results
      depend on the order of additions.

  Raises:
    UserError: As `check_devices`.
  """
  if platforms.is_cpu_alone(jax.config.jax_platforms):
    glibc.keep_freed_memory()
    make_devices_of_cores(batch_size // hosts.count())
    if remat:
      # On CPU this pass removes the barriers that `jax.checkpoint` sets. The
      # next pass then merges the two computations, and no memory is saved. GPUs
      # need the pass.
      _add_flags("--xla_disable_hlo_passes=cse_barrier_expander")
  if any(importlib.util.find_spec(name) for name in CUDA_PLUGINS):
    # XLA's fusion of products with Triton aborts on our transpositions
    # (https://github.com/openxla/xla/issues/47381, seen with jax 0.11.2).
    _set_flag("--xla_gpu_enable_triton_gemm", "false")
    if deterministic:
      _set_flag("--xla_gpu_exclude_nondeterministic_ops", "true")
  jax.config.update("jax_default_matmul_precision", matmul_precision)
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    cache = pathlib.Path.home() / ".cache" / "sgcl_jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
  check_devices()


def check_devices() -> None:
  """Starts JAX's devices.

  Raises:
    ConfigError: If JAX finds none of the kind that JAX_PLATFORMS asks for.
    HostsError: As `hosts.check_joined`.
  """
  try:
    jax.local_devices()
  except (RuntimeError, AssertionError) as error:  # The second has no text.
    chosen = jax.config.jax_platforms or ""
    reason = " ".join(str(error).split()) or "its plugin finds no such device"
    raise errors.ConfigError(
      f"JAX_PLATFORMS={chosen}: JAX cannot use it ({reason}). Unset it"
      " or set JAX_PLATFORMS=cpu; for a GPU, install sgcl_jax[cuda13]"
    ) from error
  hosts.check_joined()


def make_devices_of_cores(batch_size: int) -> None:
  """Makes JAX treat each core as a device with its own share of the batch.

  XLA uses several cores only within some operations: with one device per core,
  a training step takes 11 to 22 % less time on two cores. The number of devices
  is the largest one that divides the batch, up to the number of cores. If
  XLA_FLAGS already sets it, nothing changes.

  Args:
    batch_size: Clips of a training batch.
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


def _set_flag(name, value):
  """Sets a flag of XLA, unless XLA_FLAGS does already."""
  if name not in os.environ.get("XLA_FLAGS", ""):
    _add_flags(f"{name}={value}")


def _add_flags(flags):
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
