# SPDX-License-Identifier: Apache-2.0
"""The checkpoint of an imported model, from the command line to its scores."""

import json

import numpy as np
import pytest

from configs import infogcn_ucla
from sgcl_jax import errors, evaluate, experiment, import_torch, train
from sgcl_jax.import_torch import __main__, reader, tables
from sgcl_jax.runs import checkpoint


def test_the_command_knows_all_backbones():
  assert sorted(__main__.BACKBONES) == sorted(tables.TABLES)


def test_an_imported_model_is_evaluated(
  tmp_path, make_state, tiny_data, monkeypatch
):
  # The suite runs without PyTorch: test_reader.py tests the file itself.
  state = make_state("infogcn")
  monkeypatch.setattr(reader, "read", lambda path: state)
  out = tmp_path / "imported"
  arguments = ["--backbone", "infogcn", "--checkpoint", str(tmp_path / "x.pt")]
  __main__.main([*arguments, "--out", str(out)])
  config = infogcn_ucla.get_config("modality=bone")
  config.data.dir, config.data.window = str(tiny_data), 8
  parts = experiment.make(config)
  summary = evaluate.run(parts, out)
  assert summary["num_clips"] == 13 and summary["epoch"] == 0
  assert summary == json.loads((out / "summary.json").read_text())

  with np.load(out / "scores" / "xview_bone.npz") as scores:
    logits = scores["logits"]
  variables = import_torch.convert("infogcn", state)
  evaluator = evaluate.make_evaluator(parts, parts.source.load_test())
  expected = evaluator(variables)[0].logits
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)

  with pytest.raises(errors.CheckpointError, match="is not empty"):
    __main__.main([*arguments, "--out", str(out)])
  with pytest.raises(errors.WorkdirError, match="holds imported weights"):
    train.run(experiment.make(config), out)
  wrong = parts.identity | {"num_classes": 60}
  with pytest.raises(errors.CheckpointError, match="num_classes=10"):
    checkpoint.Checkpoints(out).check_model(wrong)


@pytest.mark.parametrize("arg", [None, "modality=bone"])
def test_a_run_is_named_by_its_directory(
  tmp_path, make_state, tiny_data, monkeypatch, arg
):
  monkeypatch.setattr(reader, "read", lambda path: make_state("infogcn"))
  out = tmp_path / "imported"
  arguments = ["--backbone", "infogcn", "--checkpoint", "x.pt", "--out"]
  config = "configs/infogcn_ucla.py" + (f":{arg}" if arg else "")
  options = [f"--config.data.dir={tiny_data}", "--config.data.window=8"]
  __main__.main([*arguments, str(out), "--config", config, *options])
  parts = experiment.open(out)
  assert parts.model.k == (1 if arg else 8)
  summary = evaluate.run(parts, out)
  assert summary["num_clips"] == 13
  name = "bone" if arg else "joint"
  assert (out / "scores" / f"xview_{name}.npz").exists()


def test_the_config_is_that_of_the_data_set(tmp_path, make_state, monkeypatch):
  monkeypatch.setattr(reader, "read", lambda path: make_state("ctrgcn"))
  arguments = ["--backbone", "ctrgcn", "--checkpoint", "x.pt", "--out"]
  __main__.main([*arguments, str(tmp_path / "imported")])
  parts = experiment.open(tmp_path / "imported")
  assert parts.source.data_dir == "data/nw_ucla"
  with pytest.raises(errors.ConfigError, match="config.num_classes=60"):
    config = ["--config", "configs/ctrgcn_ntu60.py"]
    __main__.main([*arguments, str(tmp_path / "other"), *config])
  assert not (tmp_path / "other").exists()


def test_nothing_half_written_stays(tmp_path, make_state, monkeypatch):
  monkeypatch.setattr(reader, "read", lambda path: make_state("ctrgcn"))

  def fail(*_):
    raise OSError(28, "No space left on device")

  arguments = ["--backbone", "ctrgcn", "--checkpoint", "x.pt", "--out"]
  with monkeypatch.context() as patch, pytest.raises(OSError, match="space"):
    patch.setattr(checkpoint.Checkpoints, "save", fail)
    __main__.main([*arguments, str(tmp_path / "imported")])
  assert not (tmp_path / "imported").exists()
  __main__.main([*arguments, str(tmp_path / "imported")])
