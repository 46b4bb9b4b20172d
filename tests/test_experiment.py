# SPDX-License-Identifier: Apache-2.0
"""A config becomes its parts once, and a run knows its own config."""

import json

import jax
import numpy as np
import pytest

from sgcl_jax import errors, experiment, randomness
from sgcl_jax.runs import workdir
from sgcl_jax.settings import config_file, ranges


def test_the_config_is_not_changed(tiny_config):
  config = tiny_config()
  before = config.to_json()
  parts = experiment.make(config)
  assert config.to_json() == before
  assert parts.record["batch_size"] == parts.source.batch_size == 8


def test_a_run_is_opened_by_its_directory(tiny_config, tmp_path):
  config = tiny_config("modality=bone", **{"optim.decay_epochs": (1, 2)})
  parts = experiment.make(config)
  workdir.write_config(tmp_path, parts.record)
  opened = experiment.open(tmp_path)
  assert opened.record == json.loads(json.dumps(parts.record))
  for name in ("seed", "source", "schedule", "layout", "identity", "optimizer"):
    assert getattr(opened, name) == getattr(parts, name), name
  assert opened.model == parts.model and opened.clip == parts.clip


def test_a_directory_without_a_run(tmp_path):
  for path, message in (
    (tmp_path, "holds no config.json: name the directory of a run$"),
    (tmp_path / "x", "there is no directory .*: name the directory of a run$"),
  ):
    with pytest.raises(errors.WorkdirError, match=message):
      experiment.open(path)
  (tmp_path / "config.json").write_text('{"seed": 1')
  with pytest.raises(errors.WorkdirError, match="config.json is damaged"):
    experiment.open(tmp_path)


def test_a_checkpoint_of_before_it_kept_the_config(tmp_path):
  (tmp_path / "checkpoints" / "12" / "metadata").mkdir(parents=True)
  message = "holds no config.json: start the training of the run again"
  with pytest.raises(errors.WorkdirError, match=message):
    experiment.open(tmp_path)


def test_the_remedy_for_a_damaged_config(tiny_config, tmp_path):
  record = experiment.make(tiny_config()).record
  path = tmp_path / "config.json"
  path.write_text('{"seed": 1')
  with pytest.raises(errors.WorkdirError, match="remove it and start the tr"):
    workdir.check_evaluation(record, tmp_path)
  path.unlink()
  workdir.check_evaluation(record, tmp_path)


def test_a_stream_without_a_temperature_is_refused():
  config = config_file.load("configs/ctrgcn_ntu60.py")
  config.data.split = "xset"
  config.data.modality = "bone"
  with pytest.raises(errors.ConfigError, match="has no xset_bone .*xsub_bone"):
    experiment.make(config)


def test_the_layout_does_not_depend_on_its_file(tiny_config, tmp_path):
  bones = [[str(j), str(j - 1)] for j in range(1, 20)]
  layout = {"name": "chain", "joints": [str(j) for j in range(20)]}
  path = tmp_path / "chain.json"
  layout |= {"bones": bones, "center": "0", "dimensions": 3}
  path.write_text(json.dumps(layout))
  config = tiny_config(skeleton=str(path), **{"data.transform": "ntu"})
  parts = experiment.make(config)
  path.unlink()
  workdir.write_config(tmp_path, parts.record)
  assert experiment.open(tmp_path).layout == parts.layout


@pytest.mark.parametrize("key", ranges.RANGES)
def test_a_config_of_another_version(tiny_config, tmp_path, key):
  record = experiment.make(tiny_config()).record
  *sections, name = key.split(".")
  section = record
  for each in sections:
    section = section[each]
  before = section.pop(name)
  workdir.write_config(tmp_path, record)
  if before is None:  # A field that the other version did not have yet.
    assert workdir.flatten(experiment.open(tmp_path).record)[key] is None
    return
  if ranges.RANGES[key].is_open:
    return
  with pytest.raises(errors.ConfigError, match=f"config.{key} is missing"):
    experiment.open(tmp_path)


def test_identity_is_what_changes_variables_or_logits(tiny_config):
  def identify(backbone="ctrgcn", **fields):
    config = tiny_config(backbone=backbone)
    with config.unlocked():
      config.model.update(fields)
    return experiment.make(config).identity

  plain = identify()
  assert plain["model.width"] == 64
  for field, value in {
    "graph_block": 6,
    "dropout": 0.5,
    "dtype": "bfloat16",
    "remat": True,
    "width": 64,
  }.items():
    assert identify(**{field: value}) == plain, field
  assert identify(width=32) != plain
  edges = identify("infogcn", edges="parent")
  assert edges == identify("infogcn", edges=None, k=8)
  assert edges != identify("infogcn", edges="released")
  # Tuples are lists in the metadata.
  sizes = identify("tests.tiny:create_blocks", sizes=(1, 2))
  assert sizes == identify("tests.tiny:create_blocks", sizes=None)
  assert sizes["model.sizes"] == [1, 2]


# Another number would change the draws of every resumed run.
NUMBERS = {
  "augment": 0,
  "sampling": 1,
  "backbone": 2,
  "projection": 3,
  "dropout": 4,
  "latent": 5,
}


def test_random_streams_keep_their_numbers():
  assert randomness.PURPOSES == NUMBERS
  key = randomness.make_key(7, "dropout")
  expected = jax.random.fold_in(jax.random.key(7), 4)
  np.testing.assert_array_equal(
    jax.random.key_data(key), jax.random.key_data(expected)
  )
