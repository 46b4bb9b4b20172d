# SPDX-License-Identifier: Apache-2.0
"""What the machine has, and its allocator; imports nothing that takes long."""

import ctypes
import os
import re
import sys

# Parameters of glibc's mallopt (malloc.h), and of Linux's madvise (mman.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_ARENA_MAX = -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
# Larger blocks that the heap has no room for are mapped, and so given back: it
# would grow by holes that the next ones do not fit into. Before 2.35, glibc
# takes the second as the largest.
_LARGEST_KEPT = 2**30, 2**25
# How far the heap is in huge pages, at most.
_HEAP = 2**33
# Sizes of the holes that are filled.
_HOLES = 2**14, 2**20
_BIN = re.compile(rb'<size from="(\d+)" to="\d+" total="\d+" count="(\d+)"/>')

# Where malloc keeps what is freed: the C library.
_keeping = None


def count_cores() -> int:
  """Returns how many cores this process may use."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def keep_freed_memory() -> bool:
  """Makes malloc keep what is freed, in huge pages.

  To be called before JAX computes anything. XLA on CPU allocates what a step
  needs anew in every step. By default glibc gives all that is large back to the
  system as soon as it is free, which then clears gigabytes of pages in each
  step. Blocks of more than 1 GiB are still given back where the heap has no
  room for them. All threads share one arena, as only the first can grow in
  place.

  Returns:
    Whether it was done, which takes glibc.
  """
  global _keeping
  if sys.platform != "linux":
    return False
  libc = ctypes.CDLL(None)
  if not hasattr(libc, "gnu_get_libc_version"):
    return False
  libc.mallopt(_ARENA_MAX, 1)
  libc.mallopt(_TRIM_THRESHOLD, -1)  # Never.
  libc.mallopt(_TOP_PAD, 32 * _HUGE_PAGE)
  libc.mallopt(_MMAP_MAX, 0)  # So that the range comes of the heap.
  _advise_huge_pages(libc)
  libc.mallopt(_MMAP_MAX, 2**16)  # The default.
  _keeping = libc
  return any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST_KEPT)


def fill_holes() -> int:
  """Takes the holes that a compilation left in malloc's heap, for good.

  There are thousands of them, and malloc keeps them in lists by size. Where it
  keeps what a step frees, the blocks of a step are in these lists, too, and it
  walks along them at every call: that took a quarter of a step. Does nothing
  unless freed memory is kept.

  Returns:
    How many bytes were taken.
  """
  if _keeping is None:
    return 0
  smallest, limit = _HOLES
  taken = 0
  while holes := {s: n for s, n in _holes().items() if smallest <= s < limit}:
    # From the largest, as what is left of one is a smaller one.
    limit = max(holes)
    for _ in range(holes[limit]):
      _keeping.malloc(ctypes.c_size_t(limit - ctypes.sizeof(ctypes.c_size_t)))
    taken += holes[limit] * limit
  return taken


def _holes():
  """Returns the length of each of malloc's lists, by its smallest block."""
  text, size = ctypes.c_void_p(), ctypes.c_size_t()
  _keeping.open_memstream.restype = ctypes.c_void_p
  stream = _keeping.open_memstream(ctypes.byref(text), ctypes.byref(size))
  _keeping.malloc_info(0, ctypes.c_void_p(stream))
  _keeping.fclose(ctypes.c_void_p(stream))
  described = ctypes.string_at(text, size.value)
  _keeping.free(text)
  first_heap = described.partition(b"</heap>")[0]
  # Sizes have a flag in their last bits.
  return {int(s) & ~15: int(n) for s, n in _BIN.findall(first_heap)}


def _advise_huge_pages(libc):
  """Marks the range into which the heap will grow; it takes no memory yet."""
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  heap = min(_HEAP, memory // 2)
  libc.malloc.restype = ctypes.c_void_p
  start = libc.malloc(ctypes.c_size_t(heap))
  if start:
    skipped = -start % _HUGE_PAGE
    first, size = start + skipped, heap - skipped
    libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), _MADV_HUGEPAGE)
    libc.free(ctypes.c_void_p(start))
