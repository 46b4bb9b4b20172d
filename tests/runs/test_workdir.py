# SPDX-License-Identifier: Apache-2.0
"""A workdir belongs to one config and to one training at a time."""

import json
import os

import pytest

from sgcl_jax import errors
from sgcl_jax.runs import workdir


def begin(path, record):
  """Makes a workdir look like a run that has saved a checkpoint."""
  workdir.write_config(path, record)
  (path / "checkpoints" / "12" / "metadata").mkdir(parents=True)


def test_a_run_that_began_meanwhile_keeps_its_config(tmp_path):
  begin(tmp_path, {"seed": 1})
  with (
    pytest.raises(errors.WorkdirError, match="config.seed=1, not 2"),
    workdir.claim({"seed": 2}, tmp_path),
  ):
    pass
  assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 1}


def test_some_keys_may_change_on_resume(tmp_path):
  begin(tmp_path, {"seed": 1, "optim": {"num_epochs": 2}})
  record = {"seed": 1, "optim": {"num_epochs": 3}}
  with workdir.claim(record, tmp_path):
    assert workdir.read_config(tmp_path) == record


def test_a_place_where_nothing_can_be_written(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("mine")
  for name in ("file", "file/run"):
    with pytest.raises(
      errors.WorkdirError, match=f"{tmp_path}/file is not a directory: use"
    ):
      workdir.check_free(tmp_path / name)
  assert (tmp_path / "file").read_text() == "mine"
  workdir.check_free(tmp_path / "new" / "run")
  assert not (tmp_path / "new").exists()
  monkeypatch.setattr(os, "access", lambda *_: False)
  with pytest.raises(
    errors.WorkdirError, match=f"{tmp_path} cannot be written to: change"
  ):
    workdir.check_free(tmp_path / "new" / "run")


def test_a_run_of_before_a_key_goes_on_with_its_default(tmp_path):
  begin(tmp_path, {"seed": 1})
  record = {"seed": 1, "start": "auto", "deterministic": False}
  workdir.check_resume(record, tmp_path)
  with pytest.raises(errors.WorkdirError, match="config.start='auto', not"):
    workdir.check_resume({**record, "start": "stable"}, tmp_path)


def test_an_unfinished_checkpoint_is_none(tmp_path):
  name = "12.orbax-checkpoint-tmp-1"
  (tmp_path / "checkpoints" / name / "metadata").mkdir(parents=True)
  assert not workdir.has_checkpoint(tmp_path)
  (tmp_path / "checkpoints" / "12" / "metadata").mkdir(parents=True)
  assert workdir.has_checkpoint(tmp_path)
