# SPDX-License-Identifier: Apache-2.0
"""What helps where the data of a run cannot be used."""

import dataclasses
import shutil

import pytest

from sgcl_jax import errors, skeletons
from sgcl_jax.dataset import source

PREPARE = "python -m data_prep.nw_ucla --raw DIR"
KEYS = "--config.data.dir or --config.data.train_split"
ANOTHER = "use the config of that data set, or name another --config.data.dir"


@pytest.fixture(scope="module")
def data(make_data):
  return make_data({"train": 4, "test": 4}, num_classes=2)


def explain(data_dir, **changes):
  """Returns why the training clips of a directory are refused."""
  wanted = source.Source(
    data_dir=str(data_dir),
    prepare=PREPARE,
    train_split="train",
    test_split="test",
    repeats=1,
    batch_size=2,
    eval_batch_size=2,
    num_classes=2,
    num_persons=1,
    layout=skeletons.UCLA,
    require_aligned=False,
  )
  with pytest.raises(errors.DataError) as error:
    dataclasses.replace(wanted, **changes).load_train()
  return str(error.value)


def test_what_is_missing_is_prepared_there(tmp_path):
  path = tmp_path / "absent"
  remedy = f"Prepare it with: {PREPARE} --out {path}; or set {KEYS}"
  assert explain(path) == f"no data set in {path}. {remedy}"


def test_other_files_are_not_written_over(tmp_path):
  (tmp_path / "clip.npz").touch()
  for path in (tmp_path, tmp_path / "clip.npz"):
    message = explain(path)
    assert f"If it holds raw data, convert them with: {PREPARE}; " in message
    assert "set --config.data.dir to the directory that this wr" in message
    assert "--out" not in message


@pytest.mark.parametrize(
  ("changes", "remedy"),
  [
    ({"layout": skeletons.NTU}, ANOTHER),
    ({"num_persons": 2}, ANOTHER),
    (
      {"train_split": "xsub_train"},
      f"Use the config of that data set, or set {KEYS}",
    ),
    ({"require_aligned": True}, "--config.data.require_aligned=false"),
  ],
)
def test_a_good_set_for_another_config_is_kept(data, changes, remedy):
  message = explain(data, **changes)
  assert message.endswith(remedy) and "--out" not in message


def test_a_layout_that_is_not_stored(data):
  with pytest.raises(errors.DataError, match="Use the config of") as error:
    source.describe(str(data), PREPARE)
  assert "--out" not in str(error.value)


def test_a_damaged_set_is_prepared_again(data, tmp_path):
  path = tmp_path / "damaged"
  shutil.copytree(data, path)
  (path / "features.json").write_text("{")
  again = f"Prepare it again with: {PREPARE} --out {path} --overwrite; or"
  assert again in explain(path)
