# SPDX-License-Identifier: Apache-2.0
"""Configs: their files, fields and ranges."""
