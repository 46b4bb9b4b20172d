# SPDX-License-Identifier: Apache-2.0
"""The checkpoint of an imported model, from the command line to its scores."""

import json

import numpy as np
import pytest

from configs import infogcn_ucla
from sgcl_jax import build, checkpoint, errors, evaluate, import_torch, train
from sgcl_jax.import_torch import __main__, reader


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
  summary = evaluate.run(config, out)
  assert summary["num_clips"] == 13 and summary["epoch"] == 0
  assert summary == json.loads((out / "summary.json").read_text())

  with np.load(out / "scores" / "xview_bone.npz") as scores:
    logits = scores["logits"]
  variables = import_torch.convert("infogcn", state)
  clips = build.load_clips(config, "test")
  expected = evaluate.make_evaluator(config, clips)(variables)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)

  with pytest.raises(errors.CheckpointError, match="is not empty"):
    __main__.main([*arguments, "--out", str(out)])
  with pytest.raises(errors.WorkdirError, match="holds imported weights"):
    config.contrast.cold_start = "partial"
    config.batch_size = 4
    train.run(config, out)
  wrong = build.model_identity(config) | {"num_classes": 60}
  with pytest.raises(errors.CheckpointError, match="num_classes=10"):
    checkpoint.Checkpoints(out).check_model(wrong)
