# SPDX-License-Identifier: Apache-2.0
"""Packaging; the ranges are those the test suite ran with."""

import setuptools

setuptools.setup(
  name="sgcl_jax",
  version="0.1.0",
  description=(
    "Graph contrastive learning for skeleton-based action recognition"
    " (SkeletonGCL, ICLR 2023) in JAX and Flax"
  ),
  license="Apache-2.0",
  packages=setuptools.find_packages(
    include=["sgcl_jax*", "configs", "data_prep*"]
  ),
  package_data={"data_prep.ntu": ["*_missing.txt"]},
  python_requires=">=3.11,<3.14",
  install_requires=[
    "absl-py>=2.1",
    "flax>=0.12.8,<0.13",
    "google-crc32c>=1.7,<2",  # Checksums of TFRecords, without TensorFlow.
    "jax>=0.10.2,<0.13",  # 0.10.2 is the last for Python 3.11.
    "jaxlib>=0.10.2,<0.13",
    "ml-collections>=1.1,<2",
    "numpy>=2.0,<3",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "tensorboardX>=2.6.5,<3",
    "tensorflow-datasets>=4.9.10,<5",
    # TFRecords are read and written with TensorFlow; the smaller build where
    # there is one.
    "tensorflow-cpu>=2.21,<3; platform_machine in 'x86_64 AMD64'",
    "tensorflow>=2.21,<3; platform_machine in 'aarch64 arm64'",
    "tqdm>=4.66,<5",
  ],
  extras_require={
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
    "tpu": ["jax[tpu]"],
    # Reads .pt files without PyTorch, and without running what is in them.
    "torch": ["ptloader>=0.3,<0.4"],
    "test": [
      "hypothesis>=6.100,<7",
      "ptloader>=0.3,<0.4",
      "pytest>=8,<10",
      "pytest-xdist>=3.6,<4",
      "ruff>=0.17.6,<0.18",
    ],
  },
)
