# SPDX-License-Identifier: Apache-2.0
"""Times an experiment: the training step, its parts, inference, the input."""
