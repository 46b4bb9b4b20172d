# SPDX-License-Identifier: Apache-2.0
"""Counts cores; imports nothing slow, so that converters can use it."""

import os


def count_cores() -> int:
  """Returns how many cores this process may use."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
