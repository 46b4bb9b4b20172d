# SPDX-License-Identifier: Apache-2.0
"""A trained model and how new clips reach it: predict and export."""
