# SPDX-License-Identifier: Apache-2.0
"""Makes glibc's malloc keep the memory that each training step frees.

Measured in docs/notes/allocator.md.
"""

import ctypes
import os
import re
import sys
import threading
from typing import Any

from jax import monitoring

# A function of each allocator that may replace malloc: jemalloc, mimalloc and
# tcmalloc.
OTHER_ALLOCATORS = ("mallctl", "mi_version", "tc_version")
# The event that JAX records after each compilation, with its duration.
COMPILED = "/jax/core/compile/backend_compile_duration"
# Shorter compilations leave few free blocks behind. A step that comes from the
# compilation cache takes less, too.
MIN_COMPILE_SECONDS = 1.0
# Filling right at the event, before the first step, gains only half as much.
FILL_DELAY_SECONDS = 1.0

# Parameters of glibc's mallopt (malloc.h) and of Linux's madvise (mman.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_ARENA_MAX = -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
# Larger blocks are mapped, and returned to the system, unless the heap has room
# for them: they would leave gaps that later blocks do not fit into. Before
# version 2.35, glibc accepts no more than the second value.
_MAX_KEPT_SIZES = 2**30, 2**25
# At most so much of the heap is in huge pages.
_MAX_HUGE_HEAP = 2**33
# Sizes of the free blocks that are filled: from the first up to the second.
_MIN_FILLED, _MAX_FILLED = 2**14, 2**20
_BIN = re.compile(
  rb'<size from="([0-9]+)" to="[0-9]+" total="[0-9]+" count="([0-9]+)"/>'
)

# The C library, once its malloc is set up.
_libc: ctypes.CDLL | None = None
# Two threads must not fill the same blocks.
_filling = threading.Lock()


def keep_freed_memory() -> bool:
  """Makes malloc keep freed memory in huge pages instead of returning it.

  Call this before JAX computes anything. On CPU, XLA allocates the buffers of a
  step anew in every step. By default, glibc returns each large block to the
  system when it is freed, and the system then clears gigabytes of pages in
  every step. All threads share one arena, because only the first arena can grow
  in place. Blocks of more than 1 GiB are still returned unless the heap has
  room for them.

  After each long compilation, the free blocks that it left are filled
  (`fill_free_blocks`), in a thread while the first step runs.

  Returns:
    Whether malloc is set up. It is left alone where it is not that of glibc.
  """
  global _libc
  if _libc:
    return True
  libc = _find_glibc()
  if libc is None:
    return False
  libc.mallopt(_ARENA_MAX, 1)
  libc.mallopt(_TRIM_THRESHOLD, -1)  # Never.
  libc.mallopt(_TOP_PAD, 32 * _HUGE_PAGE)
  libc.mallopt(_MMAP_MAX, 0)  # Places the next block in the heap.
  _advise_huge_pages(libc)
  libc.mallopt(_MMAP_MAX, 2**16)  # The default.
  kept = any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _MAX_KEPT_SIZES)
  _libc = libc
  monitoring.register_event_duration_secs_listener(_on_event)
  return kept


def fill_free_blocks() -> int:
  """Allocates the free blocks in malloc's heap, and never frees them.

  A compilation leaves thousands of free blocks behind. malloc keeps them in
  lists by size. Once it also keeps what a step frees, it searches these lists
  for most blocks of a step, which slows each step down.

  Returns:
    The number of bytes allocated, 0 unless `keep_freed_memory` set malloc up.
  """
  if _libc is None:
    return 0
  with _filling:
    return _fill()


def _fill():
  limit = _MAX_FILLED
  filled = 0
  while sizes := {
    size: count
    for size, count in _count_free_blocks().items()
    if _MIN_FILLED <= size < limit
  }:
    # Largest first: what remains of a block is a smaller free block.
    limit = max(sizes)
    for _ in range(sizes[limit]):
      _libc.malloc(ctypes.c_size_t(limit - ctypes.sizeof(ctypes.c_size_t)))
    filled += sizes[limit] * limit
  return filled


def _on_event(event: str, seconds: float, **_: Any):
  if event == COMPILED and seconds >= MIN_COMPILE_SECONDS:
    timer = threading.Timer(FILL_DELAY_SECONDS, fill_free_blocks)
    timer.daemon = True
    timer.start()


def _find_glibc():
  """Returns the C library, or None if malloc is not that of glibc."""
  if sys.platform != "linux":
    return None
  libc = ctypes.CDLL(None)
  if not hasattr(libc, "gnu_get_libc_version"):
    return None
  return None if any(hasattr(libc, f) for f in OTHER_ALLOCATORS) else libc


def _count_free_blocks():
  """Returns the length of each of malloc's lists, by its smallest block."""
  text, size = ctypes.c_void_p(), ctypes.c_size_t()
  _libc.open_memstream.restype = ctypes.c_void_p
  stream = _libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
  _libc.malloc_info(0, ctypes.c_void_p(stream))
  _libc.fclose(ctypes.c_void_p(stream))
  description = ctypes.string_at(text, size.value)
  _libc.free(text)
  first_heap = description.partition(b"</heap>")[0]
  # The low bits of a size are a flag.
  return {int(s) & ~15: int(n) for s, n in _BIN.findall(first_heap)}


def _advise_huge_pages(libc):
  """Requests huge pages where the heap will grow; allocates none yet."""
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  heap = min(_MAX_HUGE_HEAP, memory // 2)
  libc.malloc.restype = ctypes.c_void_p
  start = libc.malloc(ctypes.c_size_t(heap))
  if start:
    skipped = -start % _HUGE_PAGE
    first, size = start + skipped, heap - skipped
    libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), _MADV_HUGEPAGE)
    libc.free(ctypes.c_void_p(start))
