# SPDX-License-Identifier: Apache-2.0
"""The allocator keeps what a step frees, and has no holes to search."""

import os
import platform
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


on_glibc = pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="malloc is not that of glibc"
)


@on_glibc
def test_freed_memory_is_not_asked_for_again():
  def count_page_faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    env = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
    env.pop("GLIBC_TUNABLES", None)
    return int(subprocess.check_output(command, text=True, env=env))

  # 20 blocks of 16,384 small pages or 32 huge ones; kept, some of the threads'.
  by_default = count_page_faults("default")
  assert by_default >= 20 * 32
  assert count_page_faults("keep") < by_default / 10


# Frees every other one of 4,000 blocks of 20 to 60 KB, so that none can merge.
HOLES = """
import ctypes, sys
from sgcl_jax import machine
if sys.argv[1] == "keep":
  assert machine.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [libc.malloc(ctypes.c_size_t(20_000 + 10 * i)) for i in range(4_000)]
for block in blocks[::2]:
  libc.free(ctypes.c_void_p(block))
print(machine.fill_holes(), machine.fill_holes())
"""


@on_glibc
@pytest.mark.parametrize(("how", "size"), [("keep", 80e6), ("default", 0)])
def test_holes_are_filled(how, size):
  """Up to pieces below 16 KiB; where malloc is not set up, nothing is done."""
  output = subprocess.check_output(
    [sys.executable, "-c", HOLES, how], text=True
  )
  filled, again = map(int, output.split())
  assert 0.8 * size <= filled <= 1.01 * size
  assert again <= 0.01 * size
