# SPDX-License-Identifier: Apache-2.0
"""SkeletonGCL in JAX and Flax."""

__version__ = "0.2.0"
