# SPDX-License-Identifier: Apache-2.0
"""Results that would be wrong, or refused without a reason."""

import shutil

import pytest

from sgcl_jax import train


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
