# SPDX-License-Identifier: Apache-2.0
"""Fields that are set on the command line."""

import functools
import json

import pytest
from ml_collections import ConfigDict

from sgcl_jax import errors, experiment, optim
from sgcl_jax.settings import config_file, fields

CONFIG = "configs/ctrgcn_ntu60.py"


def override(*arguments, config=None):
  config = config or config_file.load(CONFIG)
  fields.override(config, [f"--config.{argument}" for argument in arguments])
  return config


def test_the_last_value_of_a_field_counts():
  config = override(
    "optim.decay_epochs=1", "seed=2", "optim.decay_epochs=50", "seed=3"
  )
  assert config.optim.decay_epochs == (50,) and config.seed == 3
  schedule = experiment.make(config).schedule
  assert schedule == optim.Schedule(65, 0.1, 5, (50,), 0.1)


@pytest.mark.parametrize(
  ("text", "epochs"),
  [("50", (50,)), ("(1, 2)", (1, 2)), ("1,", (1,)), ("[3]", (3,))]
  + [("()", ()), ("[]", ())],
)
def test_epochs_are_read(text, epochs):
  assert override(f"optim.decay_epochs={text}").optim.decay_epochs == epochs


def test_none_opens_a_field():
  config = override("model.width=32", "contrast.temperature=0.3")
  assert experiment.make(config).model.width == 32
  config = override(
    "model.width=None", "contrast.temperature=None", config=config
  )
  assert experiment.make(config).model.width == 64
  assert experiment.find_temperature(config) == 1.0
  with pytest.raises(errors.ConfigError, match="config.seed=None must be"):
    experiment.make(override("seed=None"))


def test_a_field_follows_the_split_unless_it_is_set():
  assert override("data.split=xview").data.test_split == "xview_test"
  config = override("data.test_split=test", "data.split=xview")
  assert (config.data.train_split, config.data.test_split) == (
    "xview_train",
    "test",
  )


def test_a_split_that_would_be_a_name_alone():
  """The clips of these configs do not follow the field, as NTU's do."""
  for name in ("ctrgcn_custom", "ctrgcn_ucla"):
    load = functools.partial(config_file.load, f"configs/{name}.py")
    with pytest.raises(
      errors.ConfigError, match="changes no clips.*'train': u"
    ):
      override("data.split=xsub", config=load())
    override(f"data.split={load().data.split}", config=load())
    parts = "data.train_split=xsub_train", "data.test_split=xsub_test"
    config = override("data.split=xsub", *parts, config=load())
    assert config.data.train_split == "xsub_train"
  config = config_file.load("configs/ctrgcn_custom.py:split=xsub")
  assert config.data.test_split == "xsub_test"


def test_true_and_false():
  assert override("gcl=False", "gcl").gcl is True
  assert override("model.remat=true").model.remat is True
  assert override("optim.nesterov=0").optim.nesterov is False


def test_fields_of_a_run():
  """A config.json has lists for tuples, and no types of open fields."""
  record = json.loads(json.dumps(config_file.load(CONFIG).to_dict()))
  config = override(
    "optim.decay_epochs=(3, 4)",
    "model.width=32",
    "model.dtype=bfloat16",
    "contrast.temperature=1",
    config=ConfigDict(record),
  )
  parts = experiment.make(config)
  assert parts.schedule.decay_epochs == (3, 4)
  assert (parts.model.width, parts.model.dtype) == (32, "bfloat16")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config.optim=3"], "config.optim is not one field, it has base_lr, c"),
    (["--config.seed"], "--config.seed needs a value: --config.seed=..."),
    (["--config.seed", "--config.gcl"], "--config.seed needs a value"),
    (["--config.gcl", "false"], "unexpected arguments: false"),
    (["--config.optim.decay_epochs=.."], "decay_epochs='..' must be whole ep"),
    (["--config.batch_size=8.5"], "config.batch_size='8.5' must be a whole"),
    (["--config.gcl=maybe"], "config.gcl='maybe' must be true or false"),
    (["--config.optim.base_lr="], "config.optim.base_lr='' must be a number"),
  ],
)
def test_arguments_that_set_nothing(arguments, message):
  config = config_file.load(CONFIG)
  with pytest.raises(errors.ConfigError) as refusal:
    fields.override(config, arguments)
  assert message in str(refusal.value) and "\n" not in str(refusal.value)
