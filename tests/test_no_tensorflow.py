# SPDX-License-Identifier: Apache-2.0
"""Nothing that a user runs imports TensorFlow."""

import subprocess
import sys

PROGRAM = """
import importlib
import pkgutil
import sys

sys.modules["tensorflow"] = None  # Importing it is an ImportError from here on.

import configs
import data_prep
import sgcl_jax

for package in (sgcl_jax, data_prep, configs):
  prefix = f"{package.__name__}."
  for module in pkgutil.walk_packages(package.__path__, prefix):
    if not module.name.endswith(".__main__"):
      importlib.import_module(module.name)

from sgcl_jax import input_pipeline

assert len(input_pipeline.load(sys.argv[1], "train")) == 48
assert len(list(input_pipeline.read_clips(sys.argv[1], "test"))) == 13
assert input_pipeline.describe(sys.argv[1])["num_classes"] == 10
"""


def test_nothing_imports_tensorflow(make_data):
  data = make_data({"train": 48, "test": 13}, layout="ucla")
  command = [sys.executable, "-c", PROGRAM, str(data)]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
