# SPDX-License-Identifier: Apache-2.0
"""The loop of a training, its epochs, and starts from another run."""
