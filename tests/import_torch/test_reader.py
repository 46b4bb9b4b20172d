# SPDX-License-Identifier: Apache-2.0
"""Files of `torch.save`: those that are read, those that are refused."""

import os
import sys

import jax
import numpy as np
import pytest

from sgcl_jax import errors, import_torch
from sgcl_jax.import_torch import __main__, reader

try:
  import torch
except ImportError:
  torch = None

needs_torch = pytest.mark.skipif(
  torch is None, reason='PyTorch is not here: pip install -e ".[torch]"'
)


@pytest.fixture
def path(tmp_path):
  return tmp_path / "x.pt"


def make_tensors():
  generator = torch.Generator().manual_seed(0)
  return {
    "weight": torch.randn(3, 4, generator=generator),
    "column": torch.randn(5, 2, generator=generator)[:, 1],  # Not contiguous.
    "double": torch.randn(2, generator=generator, dtype=torch.float64),
    "half": torch.randn(2, generator=generator).half(),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "num_batches_tracked": torch.tensor(7),
  }


def refuse(path, match):
  with pytest.raises(errors.CheckpointError, match=match) as caught:
    reader.read(path)
  message = str(caught.value)
  assert message.startswith(f"{path} ") and "\n" not in message
  assert "weights_only" not in message  # No advice to run code from a file.


@needs_torch
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before_1.6"])
@pytest.mark.parametrize("wrapper", [None, *reader.WRAPPERS])
def test_tensors_are_read(path, wrapper, zipped):
  tensors = make_tensors()
  content = {wrapper: tensors, "epoch": 3} if wrapper else tensors
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  read = reader.read(path)
  assert read.keys() == tensors.keys()
  for key, tensor in tensors.items():
    expected = tensor.detach().numpy()
    assert type(read[key]) is np.ndarray
    assert read[key].dtype == expected.dtype
    np.testing.assert_array_equal(read[key], expected)


@needs_torch
def test_bfloat16_becomes_float32(path):
  torch.save({"weight": torch.tensor([0.5, -3], dtype=torch.bfloat16)}, path)
  array = reader.read(path)["weight"]
  assert array.dtype == np.float32
  np.testing.assert_array_equal(array, [0.5, -3])


@needs_torch
def test_a_saved_state_dict_is_converted(path, make_state):
  state = make_state("agcn")
  tensors = {key: torch.tensor(value) for key, value in state.items()}
  torch.save(tensors, path)
  ours = import_torch.convert("agcn", reader.read(path))
  expected = import_torch.convert("agcn", state)
  jax.tree.map(np.testing.assert_array_equal, ours, expected)


class Harmful:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@needs_torch
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before_1.6"])
def test_nothing_in_a_file_is_run(path, zipped):
  made = path.with_name("made")
  content = {"weight": torch.ones(2), "other": Harmful(made)}
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  refuse(path, r"cannot be read: it holds posix\.mkdir, which is not a tensor")
  assert not made.exists()


@needs_torch
def test_a_whole_model_is_refused(path):
  torch.save(torch.nn.Linear(2, 3), path)
  refuse(path, r"holds torch\.nn\.modules\.linear\.Linear, .*save the weights")


@needs_torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_is_refused(path):
  torch.jit.script(torch.nn.Linear(2, 3)).save(str(path))
  refuse(path, "it is a TorchScript archive; save the weights alone")


@needs_torch
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before_1.6"])
def test_a_cut_file_is_refused(path, zipped):
  torch.save(make_tensors(), path, _use_new_zipfile_serialization=zipped)
  content = path.read_bytes()
  for size in (0, 1, 10, 100, len(content) // 2, len(content) - 1):
    path.write_bytes(content[:size])
    refuse(path, "cannot be read: it is damaged or not a PyTorch file")


@needs_torch
@pytest.mark.parametrize(
  "content", [b"no checkpoint\n", b"PK\3\4", b"\x80\2}q."]
)
def test_other_files_are_refused(path, content):
  path.write_bytes(content)
  refuse(path, "cannot be read: it is damaged or not a PyTorch file")


@needs_torch
def test_a_file_without_a_state_dict_is_refused(path):
  ones = torch.ones(2)
  for content in ({"epoch": 3}, {}, ones, [ones], {"weight": ones, "lr": 0.1}):
    torch.save(content, path)
    refuse(path, "holds no state dict")


@needs_torch
def test_a_missing_file_is_the_systems_error(path):
  with pytest.raises(FileNotFoundError):
    reader.read(path)


def test_the_missing_package_is_named(path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  path.write_bytes(b"")
  command = ["--backbone", "agcn", "--checkpoint", str(path), "--out", "out"]
  with pytest.raises(errors.CheckpointError) as caught:
    __main__.main(command)
  assert 'pip install -e ".[torch]"' in str(caught.value)
