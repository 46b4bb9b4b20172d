# SPDX-License-Identifier: Apache-2.0
"""Shares accelerators, their memory and cores among processes side by side.

A slot is the place of one process after another: 0 to jobs - 1.
"""

import os
from collections.abc import Sequence

from sgcl_jax.devices import platforms

# Of the memory of an accelerator, for all processes on it together.
MEMORY_SHARE = 0.9


def make_environment(
  slot: int, jobs: int, devices: Sequence[str]
) -> dict[str, str]:
  """Returns the variables of the processes of one slot.

  Args:
    slot: The slot.
    jobs: Number of slots.
    devices: Accelerators, for the slots in turn; none for no choice.
  """
  if _is_cpu_alone():
    return {}
  environment = {}
  if devices:
    environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
  sharing = -(-jobs // max(len(devices), 1))
  if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
    share = f"{MEMORY_SHARE / sharing:.3f}"
    environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = share
  return environment


def take_cores(slot: int, jobs: int) -> None:
  """Gives the processes that this thread starts their share of the cores."""
  if not _is_cpu_alone() or not hasattr(os, "sched_setaffinity"):
    return
  cores = sorted(os.sched_getaffinity(os.getpid()))
  mine = cores[slot % len(cores) :: jobs]
  os.sched_setaffinity(0, mine)  # Of this thread alone, on Linux.


def _is_cpu_alone():
  # Of the processes: this one may keep JAX off the accelerator for itself.
  return platforms.is_cpu_alone(os.environ.get("JAX_PLATFORMS"))
