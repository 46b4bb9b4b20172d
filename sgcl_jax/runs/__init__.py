# SPDX-License-Identifier: Apache-2.0
"""The files that a run writes to its workdir."""
