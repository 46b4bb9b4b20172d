# SPDX-License-Identifier: Apache-2.0
"""PyTorch files: what is read, what is refused, and a run from one."""

import json
import os
import pickle
import sys
import types
import zipfile

import jax
import numpy as np
import pytest

from configs import infogcn_ucla
from sgcl_jax import (
  build,
  checkpoint,
  errors,
  evaluate,
  import_torch,
  models,
  skeletons,
  torch_tables,
  train,
)
from tests import reference

BACKBONES = sorted(torch_tables.TABLES)


@pytest.fixture(scope="module")
def make_state():
  """Returns a maker of random state dicts for NW-UCLA, made from our own."""
  made = {}

  def make(name):
    if name not in made:
      made[name] = invert(name)
    return dict(made[name])

  return make


def invert(name):
  """Lays out the variables of a backbone as the reference does."""
  model = models.create(name, num_classes=10, skeleton="ucla", num_persons=1)
  x = jax.ShapeDtypeStruct((1, 1, 2, 20, 3), np.float32)
  variables = model.lazy_init(jax.random.key(0), x)
  layouts = {
    "_matrix": lambda x: x.T,
    "_temporal": lambda x: x.transpose(3, 2, 0, 1),
    "_scalar": lambda x: x.reshape(1),
    "_position": lambda x: x[None],
  }
  state = {}
  for key, entry in torch_tables.TABLES[name]().items():
    layout = layouts.get(entry.transform.__name__, lambda x: x)
    state[key] = np.ascontiguousarray(layout(reference.pick(variables, entry)))
    if key.endswith("running_var"):
      counter = key.replace("running_var", "num_batches_tracked")
      state[counter] = np.array(7)
  return state


def save(path, content, archive_name="model"):
  """Writes what `torch.save` writes, tensors being arrays."""
  arrays = []

  class FloatStorage:
    pass

  class LongStorage:
    pass

  def _rebuild_tensor_v2():
    pass

  torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
  torch._utils = utils
  for module, name, item in (
    ("torch", "FloatStorage", FloatStorage),
    ("torch", "LongStorage", LongStorage),
    ("torch._utils", "_rebuild_tensor_v2", _rebuild_tensor_v2),
  ):
    item.__module__, item.__qualname__ = module, name
    setattr({"torch": torch, "torch._utils": utils}[module], name, item)

  class Storage:
    def __init__(self, array):
      self.array = array

  class Pickler(pickle.Pickler):
    def persistent_id(self, item):
      if not isinstance(item, Storage):
        return None
      arrays.append(item.array)
      kind = FloatStorage if item.array.dtype == np.float32 else LongStorage
      return "storage", kind, str(len(arrays) - 1), "cpu", item.array.size

    def reducer_override(self, item):
      if not isinstance(item, np.ndarray):
        return NotImplemented
      strides = tuple(step // item.itemsize for step in item.strides)
      fields = (Storage(item), 0, item.shape, strides, False, {})
      return _rebuild_tensor_v2, fields

  saved = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
  sys.modules |= {"torch": torch, "torch._utils": utils}
  try:
    with zipfile.ZipFile(path, "w") as archive:
      with archive.open(f"{archive_name}/data.pkl", "w") as file:
        Pickler(file, protocol=2).dump(content)
      for i, array in enumerate(arrays):
        archive.writestr(f"{archive_name}/data/{i}", array.tobytes())
  finally:
    for name, module in saved.items():
      if module is None:
        del sys.modules[name]
      else:
        sys.modules[name] = module


@pytest.mark.parametrize("name", BACKBONES)
def test_every_variable_is_filled(name, make_state):
  converted = import_torch.convert(name, make_state(name))
  model = models.create(name, num_classes=10, skeleton="ucla", num_persons=1)
  x = jax.ShapeDtypeStruct((1, 1, 2, 20, 3), np.float32)
  expected = model.lazy_init(jax.random.key(0), x)
  for collection in ("params", "batch_stats"):
    jax.tree.map(
      np.testing.assert_array_equal, converted[collection], expected[collection]
    )


def test_older_and_wrapped_names(make_state):
  """Of several GPUs, of PyTorch 0.4, and with 2s-AGCN's adjacency stored."""
  state = {
    f"module.{key}": value
    for key, value in make_state("agcn").items()
    if "num_batches" not in key
  }
  adjacency = skeletons.UCLA.adjacency().astype(np.float32)
  state["module.l3.gcn1.A"] = adjacency
  ours = import_torch.convert("agcn", state)
  expected = import_torch.convert("agcn", make_state("agcn"))
  jax.tree.map(np.testing.assert_array_equal, ours, expected)
  state["module.l3.gcn1.A"] = adjacency[::-1]
  with pytest.raises(errors.CheckpointError, match="unknown: l3.gcn1.A"):
    import_torch.convert("agcn", state)


@pytest.mark.parametrize("name", BACKBONES)
def test_all_problems_are_listed(name, make_state):
  state = make_state(name)
  some = sorted(key for key in state if key.endswith("running_mean"))[:2]
  for key in some:
    del state[key]
  state["fc.scale"] = np.zeros(3)
  with pytest.raises(errors.CheckpointError) as caught:
    import_torch.convert(name, state)
  lines = str(caught.value).splitlines()
  assert lines[0] == f"not a state dict of {name}:"
  assert set(lines[1:]) == {
    *(f"missing: {key}" for key in some),
    "unknown: fc.scale",
  }


@pytest.mark.parametrize("name", BACKBONES)
def test_misshapen_tensors_are_listed(name, make_state):
  state = make_state(name)
  keys = [
    key for key in state if key.endswith(("down.0.weight", "down.1.bias"))
  ]
  for key in keys:
    state[key] = state[key][:-1]
  with pytest.raises(errors.CheckpointError) as caught:
    import_torch.convert(name, state)
  lines = str(caught.value).splitlines()[1:]
  assert sorted(line.split()[1] for line in lines) == sorted(keys)
  assert all(line.startswith("misshapen: ") for line in lines)


def test_unknown_backbones_are_refused():
  with pytest.raises(errors.CheckpointError, match="unknown backbone 'stgcn'"):
    import_torch.convert("stgcn", {})


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_files_are_read(tmp_path, make_state, wrapper):
  state = make_state("infogcn")
  content = {wrapper: state, "epoch": 3} if wrapper else state
  save(tmp_path / "x.pt", content)
  read = import_torch.read(tmp_path / "x.pt")
  assert read.keys() == state.keys()
  for key, value in state.items():
    np.testing.assert_array_equal(read[key], value)


class Harmful:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_run(tmp_path):
  save(tmp_path / "x.pt", {"weight": Harmful(tmp_path / "made")})
  with pytest.raises(errors.CheckpointError, match="x.pt cannot be read"):
    import_torch.read(tmp_path / "x.pt")
  assert not (tmp_path / "made").exists()


def test_other_files_are_refused(tmp_path):
  path = tmp_path / "x.pt"
  path.write_bytes(pickle.dumps({}))
  with pytest.raises(errors.CheckpointError, match="PyTorch 1.5 and older"):
    import_torch.read(path)
  save(path, {"epoch": 3})
  with pytest.raises(errors.CheckpointError, match="holds no state dict"):
    import_torch.read(path)
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(errors.CheckpointError, match="cannot be read"):
    import_torch.read(path)
  with pytest.raises(FileNotFoundError):
    import_torch.read(tmp_path / "absent.pt")


def test_an_imported_model_is_evaluated(
  tmp_path, make_state, tiny_data, monkeypatch
):
  save(tmp_path / "x.pt", make_state("infogcn"))
  out = tmp_path / "imported"
  arguments = ["--backbone", "infogcn", "--checkpoint", str(tmp_path / "x.pt")]
  import_torch.main([*arguments, "--out", str(out)])
  config = infogcn_ucla.get_config("modality=bone")
  config.data.dir, config.data.window = str(tiny_data), 8
  summary = evaluate.run(config, out)
  assert summary["num_clips"] == 13 and summary["epoch"] == 0
  assert summary == json.loads((out / "summary.json").read_text())

  with np.load(out / "scores" / "xview_bone.npz") as scores:
    logits = scores["logits"]
  variables = import_torch.convert("infogcn", make_state("infogcn"))
  clips = build.load_clips(config, "test")
  expected = evaluate.make_evaluator(config, clips)(variables)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)

  with pytest.raises(errors.CheckpointError, match="is not empty"):
    import_torch.main([*arguments, "--out", str(out)])
  with pytest.raises(errors.WorkdirError, match="holds imported weights"):
    config.contrast.cold_start = "partial"
    config.batch_size = 4
    train.run(config, out)
  wrong = build.model_identity(config) | {"num_classes": 60}
  with pytest.raises(errors.CheckpointError, match="num_classes=10"):
    checkpoint.Checkpoints(out).check_model(wrong)
