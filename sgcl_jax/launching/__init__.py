# SPDX-License-Identifier: Apache-2.0
"""Several runs, as processes: one after another or side by side."""
