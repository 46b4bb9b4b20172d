# SPDX-License-Identifier: Apache-2.0
"""Times an experiment: training step, its parts, inference and input."""
