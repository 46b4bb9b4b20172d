# SPDX-License-Identifier: Apache-2.0
"""Data that others have prepared: their files, and what both commands share."""
