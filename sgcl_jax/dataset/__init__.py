# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk: their files, splits, records, and a run's clips."""
