# SPDX-License-Identifier: Apache-2.0
"""Every field of every config: a value that no run can use is one sentence."""

import pathlib
import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from sgcl_jax import errors, experiment, state, train
from sgcl_jax.dataset import source
from sgcl_jax.runs import workdir
from sgcl_jax.settings import config_file, fields, ranges

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = {
  path.stem: config_file.load(str(path))
  for path in sorted((ROOT / "configs").glob("[!_]*_*.py"))
}
# Each field once, with a config that has it; the custom configs leave most
# fields open.
KEYS = {
  key: name
  for name in sorted(CONFIGS, key=lambda name: "custom" not in name)
  for key in workdir.flatten(CONFIGS[name].to_dict())
}
NAN, INF = float("nan"), float("inf")
TABLE = np.zeros((3, 3))  # Its repr has several lines.
# Fields that take any text: the data set or the other run shows if it fits.
TEXTS = {
  "data.dir",
  "data.prepare",
  "data.test_split",
  "data.train_split",
  "init_from",
  "preset",
}


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
  found = {"num_classes": 60, "num_persons": 2, "skeleton": "ntu"}
  monkeypatch.setattr(source, "describe", lambda *_: found)


def load(name="ctrgcn_ntu60"):
  return config_file.load(f"{ROOT}/configs/{name}.py")


def put(config, key, value):
  *path, name = key.split(".")
  for part in path:
    config = config[part]
  with config.unlocked(), config.ignore_type():
    config[name] = value


def refuse(config, key):
  """Expects one line that names the key."""
  with pytest.raises(errors.ConfigError) as refusal:
    experiment.make(config)
  message = str(refusal.value)
  assert f"config.{key}" in message and "\n" not in message
  return message


def is_a_number(key):
  value = workdir.flatten(CONFIGS[KEYS[key]].to_dict())[key]
  return isinstance(value, int | float) and not isinstance(value, bool)


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_a_wrong_type(key):
  for value in ([["a"]], {"a": 1}, object(), b"x", 2.5j, (1, "a"), TABLE):
    config = load(KEYS[key])
    put(config, key, value)
    refuse(config, key)


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_word(key):
  for word in ("no_such_word", "", "(1,"):
    config = load(KEYS[key])
    put(config, key, word)
    if word and key in TEXTS:
      continue
    refuse(config, key)
    if key in ("preset", "start"):  # No fields of the command line.
      continue
    config = load(KEYS[key])
    try:
      fields.override(config, [f"--config.{key}={word}"])
    except errors.ConfigError as error:
      assert re.fullmatch(f"config.{key}='.*' must be [^\n]*", str(error))
    else:
      refuse(config, key)


@pytest.mark.parametrize("key", [key for key in KEYS if is_a_number(key)])
def test_an_impossible_number(key):
  for value in (NAN, INF, -1, 10**30):
    config = load(KEYS[key])
    put(config, key, value)
    message = refuse(config, key)
    assert "must be" in message
    config = load(KEYS[key])
    try:
      fields.override(config, [f"--config.{key}={value}"])
    except errors.ConfigError as error:  # Not a whole number.
      assert f"config.{key}='{value}' must be" in str(error)
    else:
      refuse(config, key)


def test_every_field_has_a_range():
  assert set(KEYS) - set(ranges.KNOWN) == {"model.edges", "model.k"}
  assert set(ranges.RANGES) <= set(KEYS)
  for config in CONFIGS.values():
    assert set(ranges.RANGES) <= set(workdir.flatten(config.to_dict()))


@pytest.mark.parametrize("key", sorted(TEXTS - {"preset", "data.prepare"}))
def test_a_text_that_names_nothing(key, tiny_config, tmp_path):
  config = tiny_config(**{key: f"{tmp_path}/none"})
  with pytest.raises(errors.UserError) as refusal:
    train.run(experiment.make(config), tmp_path / "run")
  assert f"config.{key}" in str(refusal.value)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("seed", 2**32),
    ("matmul_precision", "hihgest"),
    ("matmul_precision", "DEFAULT "),
    ("num_classes", 1),
    ("num_persons", 0),
    ("model.dropout", 1.0),
    ("model.dtype", "float64"),
    ("model.dtype", "int32"),
    ("model.dtype", "bf16"),
    ("data.split", "xsubb"),
    ("data.split", 5),  # The other splits follow it.
    ("data.split", None),
    ("data.modality", "bnoe"),
    ("data.window", 1),
    ("data.repeats", 0),
    ("data.max_angle", 361.0),
    ("loss.label_smoothing", 1.0),
    ("optim.num_epochs", 0),
    ("optim.decay_epochs", (5, 5)),
    ("optim.decay_epochs", (7, 6)),
    ("optim.decay_epochs", (-1, 6)),
    ("optim.decay_epochs", (NAN,)),
    ("optim.decay_rate", 0.0),
    ("optim.decay_rate", 1.1),
    ("optim.momentum", 1.0),
    ("optim.nesterov", 1),
    ("contrast.momentum", 1.1),
    ("contrast.temperature", 0.0),
    ("contrast.temperatures.xsub_joint", 0.0),
    ("contrast.temperatures.xsub_joint", None),
    ("contrast.released_temperatures.xsub_joint", NAN),
    ("contrast.num_hard_positives", 0),
    ("gcl", None),
  ],
)
def test_values_that_no_run_can_use(key, value):
  config = load()
  put(config, key, value)
  assert f"config.{key}={value!r} must be " in refuse(config, key)


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("seed", 2**32 - 1),
    ("matmul_precision", "BF16_BF16_F32_X3"),
    ("model.dropout", 0.0),
    ("model.dtype", "float16"),
    ("optim.base_lr", 0.0),
    ("optim.base_lr", 1),
    ("optim.decay_epochs", ()),
    ("optim.decay_epochs", [0, 1]),  # As in a config.json.
    ("optim.decay_rate", 1.0),
    ("optim.warmup_epochs", 0),
    ("contrast.momentum", 0.0),
    ("contrast.momentum", 1.0),
    ("contrast.temperatures.all_bone", 0.8),
    ("contrast.temperatures.xset_bone_motion", 0.8),
  ],
)
def test_the_ends_of_the_ranges_are_usable(key, value):
  config = load()
  put(config, key, value)
  experiment.make(config)


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("sede", "unknown key config.sede; did you mean config.seed?"),
    ("optim.base_rl", "did you mean config.optim.base_lr?"),
    ("contrast.temperatures.xsub_jiont", "temperatures.xsub_joint?"),
    ("model.widht", "'ctrgcn' has no field config.model.widht; did you mean"),
    ("model.spatial", "has no field config.model.spatial"),
    ("zzz", "unknown key config.zzz"),
    ("zzz.dir", "unknown key config.zzz.dir"),
  ],
)
def test_a_misspelt_key_in_a_config_file(key, message):
  config = load()
  with config.unlocked():
    if key.startswith("zzz."):
      config.zzz = ConfigDict()
  put(config, key, 1)
  assert message in refuse(config, key)


def test_a_misspelt_key_instead_of_a_field():
  config = load()
  with config.unlocked():
    del config.optim.base_lr
    config.optim.base_rl = 0.1
  assert "did you mean config.optim.base_lr?" in refuse(config, "optim.base_rl")


def test_a_value_instead_of_a_section():
  config = load()
  put(config, "optim", 3)
  assert "config.optim=3 must be a ConfigDict" in refuse(config, "optim")


@pytest.mark.parametrize(
  ("backbone", "width", "smallest"),
  [("ctrgcn", 6, 4), ("agcn", 3, 4), ("infogcn", 4, 8), ("infogcn", 10, 8)],
)
def test_a_width_that_the_blocks_cannot_have(tiny, backbone, width, smallest):
  with pytest.raises(errors.ConfigError, match=f"model.width={width} must be"):
    tiny(backbone=backbone, **{"model.width": width})
  parts = tiny(backbone=backbone, **{"model.width": smallest})
  state.variable_shapes(parts.model, parts.clip)
