# SPDX-License-Identifier: Apache-2.0
"""Results that would be wrong, or refused without a reason."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from sgcl_jax import errors, evaluate, train
from sgcl_jax.runs import checkpoint


@pytest.fixture(scope="module")
def one_epoch_path(tmp_path_factory):
  return tmp_path_factory.mktemp("one_epoch") / "run"


@pytest.fixture
def one_epoch(one_epoch_path, tiny):
  """Returns the workdir of a run of one epoch, trained once for all tests."""
  if not (one_epoch_path / "summary.json").exists():
    train.run(tiny(**{"optim.num_epochs": 1}), one_epoch_path)
  return one_epoch_path


def test_a_run_is_resumed_without_the_run_it_started_from(
  one_epoch, tmp_path, tiny
):
  source = tmp_path / "source"
  shutil.copytree(one_epoch, source)
  for epochs in (1, 2):
    config = tiny(init_from=str(source), **{"optim.num_epochs": epochs})
    summary = train.run(config, tmp_path / "run")
    shutil.rmtree(source, ignore_errors=True)
  assert summary["epoch"] == 2


def read_results(workdir):
  paths = workdir / "summary.json", workdir / "scores" / "xview_joint.npz"
  return [path.read_bytes() for path in paths]


def test_logits_that_are_not_finite_are_refused(one_epoch, tiny, monkeypatch):
  before = read_results(one_epoch)

  def spoil(self, variables, model):
    variables = restore(self, variables, model)
    # Only the biases: a NaN for one class spoils every clip.
    change = lambda x: np.where(np.arange(len(x)) == 3, np.nan, x)
    params = jax.tree.map(
      lambda x: change(x) if x.shape == (10,) else x, variables["params"]
    )
    return {**variables, "params": params}

  restore = checkpoint.Checkpoints.restore_model
  monkeypatch.setattr(checkpoint.Checkpoints, "restore_model", spoil)
  with pytest.raises(
    errors.TrainingError, match="13 of 13 test clips.*first those of test_000"
  ):
    evaluate.run(tiny(), one_epoch)
  assert read_results(one_epoch) == before


def test_a_clip_that_is_not_finite_is_named(one_epoch, tiny):
  before = read_results(one_epoch)
  parts = tiny()
  clips = parts.source.load_test()
  frames = clips.frames.copy()
  frames[clips.offsets[4]] = np.nan
  clips = dataclasses.replace(clips, frames=frames)
  with pytest.raises(
    errors.DataError, match="1 of 13 test clips.*those of test_004: its coord"
  ):
    evaluate.finish(
      parts, one_epoch, clips, evaluate.make_evaluator(parts, clips)
    )
  assert read_results(one_epoch) == before
