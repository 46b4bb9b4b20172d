# SPDX-License-Identifier: Apache-2.0
"""malloc keeps what a step frees, and holds no free blocks to search."""

import ctypes.util
import os
import pathlib
import platform
import subprocess
import sys

import jax
import pytest
from jax import monitoring

from sgcl_jax.devices import glibc

ROOT = pathlib.Path(__file__).parents[2]
JEMALLOC = ctypes.util.find_library("jemalloc")
on_glibc = pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="malloc is not that of glibc"
)

# Threads that allocate, touch and free 64 MiB, as XLA's do in each step.
THREADS = """
import ctypes, resource, sys, threading
from sgcl_jax.devices import glibc
if sys.argv[1] == "keep":
  assert glibc.keep_freed_memory()
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

# Frees every other one of 4,000 blocks of 20 to 60 KB, so that none can merge.
# Then a compilation ends that took argv[2] seconds.
FREE_BLOCKS = """
import ctypes, sys, threading
from jax import monitoring
from sgcl_jax.devices import glibc
if sys.argv[1] == "keep":
  assert glibc.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [libc.malloc(ctypes.c_size_t(20_000 + 10 * i)) for i in range(4_000)]
for block in blocks[::2]:
  libc.free(ctypes.c_void_p(block))
monitoring.record_event_duration_secs(glibc.COMPILED, float(sys.argv[2]))
[t.join() for t in threading.enumerate() if isinstance(t, threading.Timer)]
print(glibc.fill_free_blocks(), glibc.fill_free_blocks())
"""


def _run(program, *arguments, **variables):
  """Returns the output of a program on malloc with no setting but these."""
  unset = ("GLIBC_TUNABLES", "LD_PRELOAD")
  env = {
    name: value
    for name, value in os.environ.items()
    if "MALLOC" not in name and name not in unset
  }
  command = [sys.executable, "-c", program, *map(str, arguments)]
  return subprocess.check_output(command, text=True, env=env | variables)


@on_glibc
def test_freed_memory_is_not_requested_again():
  # 20 blocks of 16,384 small pages or 32 huge ones. If memory is kept, a few
  # faults of the threads themselves remain.
  by_default = int(_run(THREADS, "default"))
  assert by_default >= 20 * 32
  assert int(_run(THREADS, "keep")) < by_default / 10


@on_glibc
@pytest.mark.parametrize(
  ("how", "compile_seconds", "size"),
  [("keep", 0.1, 80e6), ("keep", 10.0, 0), ("default", 0.1, 0)],
)
def test_free_blocks_are_filled(how, compile_seconds, size):
  """All but pieces below 16 KiB, on call or after a long compilation."""
  filled, again = map(int, _run(FREE_BLOCKS, how, compile_seconds).split())
  assert 0.8 * size <= filled <= 1.01 * size + 1e6
  assert again <= 0.01 * size


def test_a_compilation_records_the_event():
  durations = []

  def listen(event, seconds, **_):
    if event == glibc.COMPILED:
      durations.append(seconds)

  monitoring.register_event_duration_secs_listener(listen)
  try:
    jax.jit(lambda x: 3 * x + 1)(1.0)
  finally:
    monitoring.unregister_event_duration_listener(listen)
  assert durations


@on_glibc
@pytest.mark.parametrize("allocator", ["jemalloc", "mimalloc", "tcmalloc"])
def test_another_allocator_is_left_alone(allocator, monkeypatch):
  function = {
    "jemalloc": "mallctl",
    "mimalloc": "mi_version",
    "tcmalloc": "tc_version",
  }[allocator]
  libc = ctypes.CDLL(None)

  class Symbols:
    def __getattr__(self, name):
      assert name != "mallopt"
      return libc.free if name == function else getattr(libc, name)

  monkeypatch.setattr(glibc, "_libc", None)
  monkeypatch.setattr(ctypes, "CDLL", lambda _: Symbols())
  assert not glibc.keep_freed_memory()
  assert glibc.fill_free_blocks() == 0


@on_glibc
@pytest.mark.skipif(JEMALLOC is None, reason="jemalloc is not installed")
def test_jemalloc_is_left_alone():
  program = """
from sgcl_jax.devices import glibc
print(glibc.keep_freed_memory(), glibc.fill_free_blocks())
"""
  assert _run(program, LD_PRELOAD=JEMALLOC).split() == ["False", "0"]


def _source_environment(**variables):
  """Returns LD_PRELOAD and MALLOC_CONF as the launch scripts set them."""
  script = f"""
set -euo pipefail
source {ROOT}/launch/environment.sh
echo "${{LD_PRELOAD:-}}"
echo "${{MALLOC_CONF:-}}"
"""
  unset = ("LD_PRELOAD", "MALLOC_CONF")
  env = {k: v for k, v in os.environ.items() if k not in unset}
  return subprocess.check_output(
    ["bash", "-c", script], text=True, env=env | variables
  ).splitlines()


@on_glibc
def test_launch_scripts_preload_jemalloc_if_it_is_there():
  library, settings = _source_environment()
  if library:
    assert pathlib.Path(library).name == "libjemalloc.so.2"
    assert pathlib.Path(library).exists()
    assert _source_environment(MALLOC_CONF="thp:never")[1] == "thp:never"
  assert bool(library) == bool(settings)


@on_glibc
def test_launch_scripts_keep_a_preloaded_library():
  assert _source_environment(LD_PRELOAD="libm.so.6") == ["libm.so.6", ""]
