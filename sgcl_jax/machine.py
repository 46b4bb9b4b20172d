# SPDX-License-Identifier: Apache-2.0
"""What the machine has, and its allocator; imports nothing that takes long."""

import ctypes
import os
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
  return any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST_KEPT)


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
