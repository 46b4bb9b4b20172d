# SPDX-License-Identifier: Apache-2.0
"""What the machine has, and its allocator; imports nothing that takes long."""

import ctypes
import os

# Parameters of glibc's mallopt (malloc.h), and of Linux's madvise (mman.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_ARENA_MAX = -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
# Larger blocks would leave holes that the next ones do not fit into.
_LARGEST_KEPT = 2**30
# How far the heap is in huge pages.
_HEAP = 2**33


def count_cores() -> int:
  """Returns how many cores this process may use."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def keep_freed_memory() -> bool:
  """Makes malloc keep what is freed, in huge pages; call it before any thread.

  XLA on CPU allocates what a step needs anew in every step. By default glibc
  gives all that is large back to the system as soon as it is free, which then
  clears gigabytes of pages in each step. Blocks of more than 1 GiB are still
  given back. All threads share a heap, as only the first can grow in place.

  Returns:
    Whether it was done, which takes glibc.
  """
  libc = ctypes.CDLL(None)
  if not hasattr(libc, "gnu_get_libc_version"):
    return False
  libc.mallopt(_ARENA_MAX, 1)
  libc.mallopt(_TRIM_THRESHOLD, -1)  # Never.
  libc.mallopt(_TOP_PAD, 32 * _HUGE_PAGE)
  libc.mallopt(_MMAP_MAX, 0)  # So that the range comes of the heap.
  _advise_huge_pages(libc)
  libc.mallopt(_MMAP_MAX, 2**16)  # The default.
  libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
  return True


def _advise_huge_pages(libc):
  """Marks the range into which the heap will grow; it takes no memory yet."""
  libc.malloc.restype = ctypes.c_void_p
  start = libc.malloc(ctypes.c_size_t(_HEAP))
  if start:
    skipped = -start % _HUGE_PAGE
    first, size = start + skipped, _HEAP - skipped
    libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), _MADV_HUGEPAGE)
    libc.free(ctypes.c_void_p(start))
