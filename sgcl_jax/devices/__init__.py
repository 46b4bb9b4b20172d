# SPDX-License-Identifier: Apache-2.0
"""The machine that a run uses: its cores and devices."""
