# SPDX-License-Identifier: Apache-2.0
"""Nothing that a user runs imports TensorFlow."""

import subprocess
import sys

PROGRAM = '''
import importlib.util
import pkgutil
import sys

from importlib.machinery import PathFinder


class HidingFinder(PathFinder):
  """Finds what is installed except TensorFlow.

  `sys.modules["tensorflow"] = None` is not enough: tensorflow_datasets looks
  for the key to see whether TensorFlow is loaded.
  """

  @classmethod
  def find_spec(cls, name, path=None, target=None):
    if name == "tensorflow":
      return None
    return super().find_spec(name, path, target)


finders = sys.meta_path
sys.meta_path = [HidingFinder if f is PathFinder else f for f in finders]
assert importlib.util.find_spec("tensorflow") is None

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
assert "tensorflow" not in sys.modules
'''


def test_nothing_imports_tensorflow(make_data):
  data = make_data({"train": 48, "test": 13}, layout="ucla")
  command = [sys.executable, "-c", PROGRAM, str(data)]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
