# SPDX-License-Identifier: Apache-2.0
"""Tables of finished runs: lines of a CSV, statistics, and docs/RESULTS.md."""
