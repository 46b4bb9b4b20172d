# SPDX-License-Identifier: Apache-2.0
"""The trained model that ships with the project."""
