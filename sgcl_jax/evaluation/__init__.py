# SPDX-License-Identifier: Apache-2.0
"""Figures of classified clips, their intervals, and which clips they were."""
