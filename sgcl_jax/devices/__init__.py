# SPDX-License-Identifier: Apache-2.0
"""The machine that a run has: its devices, hosts and memory."""
