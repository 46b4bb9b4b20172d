# SPDX-License-Identifier: Apache-2.0
"""The machines that a run uses."""
