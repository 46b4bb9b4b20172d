# SPDX-License-Identifier: Apache-2.0
"""The allocator keeps what a step frees."""

import os
import subprocess
import sys

import pytest

# Threads that allocate, touch and free 64 MiB, as XLA's do in each step.
PROGRAM = """
import ctypes, resource, sys, threading
from sgcl_jax import machine
if sys.argv[1] == "keep":
  assert machine.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def use():
  block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(2**26)))
  libc.memset(block, 1, ctypes.c_size_t(2**26))
  libc.free(block)

def run_threads():
  threads = [threading.Thread(target=use) for _ in range(2)]
  [thread.start() for thread in threads]
  [thread.join() for thread in threads]

run_threads()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
  run_threads()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
  not sys.platform.startswith("linux"), reason="malloc of glibc"
)
def test_freed_memory_is_not_asked_for_again():
  def count_page_faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    return int(subprocess.check_output(command, text=True, env=env))

  # 20 blocks of 16,384 pages of 4 KiB, or 1,024 of 64 KiB.
  assert count_page_faults("default") >= 20 * 1024
  # Less than a huge page each.
  assert count_page_faults("keep") < 20 * 32
