# SPDX-License-Identifier: Apache-2.0
"""The options after the colon, and the paper's numbers in the configs."""

import numpy as np
import pytest

from configs import (
  agcn_custom,
  agcn_ntu60,
  agcn_ntu120,
  agcn_ucla,
  common,
  ctrgcn_custom,
  ctrgcn_ntu60,
  ctrgcn_ntu120,
  ctrgcn_ucla,
  infogcn_custom,
  infogcn_ntu60,
  infogcn_ntu120,
  infogcn_ucla,
  quickstart,
  small,
)
from sgcl_jax import errors, experiment, modalities
from sgcl_jax.dataset import order
from sgcl_jax.settings import fields

NTU60 = [ctrgcn_ntu60, agcn_ntu60, infogcn_ntu60]
NTU120 = [ctrgcn_ntu120, agcn_ntu120, infogcn_ntu120]
UCLA = [ctrgcn_ucla, agcn_ucla, infogcn_ucla]
EXPERIMENTS = NTU60 + NTU120 + UCLA


def test_options_are_parsed():
  config = ctrgcn_ntu60.get_config("split=xview,modality=bone,gcl=false")
  assert config.data.train_split == "xview_train"
  assert config.data.test_split == "xview_test"
  assert (config.data.modality, config.gcl) == ("bone", False)
  assert ctrgcn_ntu60.get_config().gcl


@pytest.mark.parametrize("arg", ["gcl=maybe", "gcl", "modality=", "speed=1"])
def test_unknown_options_are_refused(arg):
  with pytest.raises(ValueError, match="option"):
    ctrgcn_ucla.get_config(arg)


@pytest.mark.parametrize("config", EXPERIMENTS)
@pytest.mark.parametrize("start", ["auto", "reference"])
def test_the_references_do_not_clip(config, start):
  """Golden E holds their optimizer, see tests/test_optim.py."""
  if start == "auto" and config is infogcn_ucla:
    pytest.skip("InfoGCN was never released for NW-UCLA, and diverges there")
  assert config.get_config(f"start={start}").optim.clip_norm is None


@pytest.mark.parametrize(
  ("config", "arg"),
  [(infogcn_ucla, ""), (ctrgcn_ntu60, "start=stable")]
  + [(config, "preset=short") for config in UCLA]
  + [(config, "") for config in (agcn_custom, ctrgcn_custom, infogcn_custom)],
)
def test_a_stable_start_clips(config, arg):
  assert config.get_config(arg).optim.clip_norm == common.STABLE_CLIP_NORM


@pytest.mark.parametrize("config", EXPERIMENTS)
def test_the_papers_numbers(config):
  """Sec. 4.2 and the released configurations."""
  ucla, info = config in UCLA, "infogcn" in config.__name__
  config = config.get_config()
  contrast = config.contrast
  assert contrast.rows_per_class == (342 if ucla else 684)
  assert contrast.features == 256 and contrast.momentum == 0.85
  assert contrast.num_hard_positives == 128
  assert contrast.num_hard_negatives == contrast.num_random_negatives == 512
  assert config.batch_size == (16 if ucla else 128 if info else 64)
  assert config.data.repeats == (5 if ucla else 1)
  assert config.data.window == (52 if ucla else 64)
  weight_decay = 5e-4 if info else 1e-4 if ucla else 4e-4
  assert config.optim.weight_decay == weight_decay
  smoothing = config.loss.label_smoothing
  terms = config.loss.latent_prior, config.loss.latent_mean
  assert (smoothing, *terms) == ((0.1, 0.1, 1e-4) if info else (0, 0, 0))
  rates = experiment.make(config).schedule.rates()
  assert len(rates) == (110 if info else 65)
  assert rates[0] == pytest.approx(0.02) and rates[4] == pytest.approx(0.1)
  decays = (90, 100) if info else (50,) if ucla else (35, 55)
  for i, epoch in enumerate(decays):
    assert rates[epoch - 1] == pytest.approx(0.1 ** (i + 1))
    assert rates[epoch] == pytest.approx(0.1 ** (i + 2))


# Streams joint, bone, joint motion, bone motion; FACTS 3.1 and Tab. 16.
TEMPERATURES = {
  (ctrgcn_ntu60, "xsub"): (1.0, 0.5, 0.5, 0.5),
  (ctrgcn_ntu60, "xview"): (0.8, 0.5, 1.0, 0.8),
  (ctrgcn_ntu120, "xsub"): (0.8, 0.5, 0.8, 1.0),
  (ctrgcn_ntu120, "xset"): (0.5, 0.5, 0.5, 0.5),
  (agcn_ntu60, "xsub"): (0.5, 1.0, 0.5, 1.0),
  (agcn_ntu60, "xview"): (0.8, 0.8, 1.0, 0.5),
  (agcn_ntu120, "xsub"): (1.0, 1.0, 0.5, 0.5),
  (agcn_ntu120, "xset"): (0.8, 0.5, 1.0, 0.5),
}


@pytest.mark.parametrize("config", [*EXPERIMENTS, quickstart])
def test_temperatures(config):
  splits = ["xsub", "xset" if config in NTU120 else "xview"]
  for split in splits if config not in UCLA else [None]:
    options = [f"split={split}"] if split else []
    expected = TEMPERATURES.get((config, split), (0.8,) * 4)
    for modality, tau in zip(modalities.NAMES, expected, strict=True):
      arg = ",".join([*options, f"modality={modality}"])
      made = config.get_config(arg)
      assert experiment.find_temperature(made) == tau
      made.contrast.temperature = 2.0
      assert experiment.find_temperature(made) == 2.0


@pytest.mark.parametrize(
  ("modality", "k"),
  [("joint", 8), ("bone", 1), ("joint_motion", 8), ("bone_motion", 1)],
)
def test_infogcn_makes_the_bones_itself(modality, k):
  config = infogcn_ucla.get_config(f"modality={modality}")
  parts = experiment.make(config)
  assert parts.model.k == k
  x = np.random.default_rng(0).normal(size=(2, 9, 1, 20, 3)).astype(np.float32)
  ours = parts.transform(x, np.array([9, 9]), None)
  plain = ctrgcn_ucla.get_config(
    f"modality={modality.replace('bone', 'joint')}"
  )
  expected = experiment.make(plain).transform(x, np.array([9, 9]), None)
  np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(("modality", "k"), [("bone", 2), ("joint", 1)])
def test_a_stream_and_a_k_that_contradict(modality, k):
  config = infogcn_ucla.get_config(f"modality={modality}")
  config.model.k = k
  with pytest.raises(errors.ConfigError, match=f"config.model.k={k} with data"):
    experiment.make(config)
  config.model.k = 2
  config.data.modality = "joint_motion"
  experiment.make(config)


@pytest.mark.parametrize("config", [infogcn_ntu60, infogcn_ntu120])
def test_infogcn_wants_aligned_bodies(config, make_data):
  config = config.get_config()
  config.update(skeleton="ucla", num_persons=1)
  cells = {"xsub_train_xview_train": 3}
  config.data.dir = str(make_data(cells, num_classes=config.num_classes))
  with pytest.raises(errors.DataError, match="are not aligned.*--align; "):
    experiment.make(config).source.load_train()
  config.data.require_aligned = False
  assert len(experiment.make(config).source.load_train()) == 3


def test_a_field_of_the_split_is_followed():
  config = ctrgcn_ntu60.get_config()
  config.data.split, config.data.modality = "xview", "joint_motion"
  assert config.data.train_split == "xview_train"
  assert experiment.find_temperature(config) == 1.0


@pytest.mark.parametrize(
  ("clips", "option", "keys"),
  [
    ([10] * 10, ":preset=small", ""),
    ([9, 2, 30, 1], ":preset=small", ""),
    ([3, 3], ":preset=small", "data.repeats contrast.cold_start"),
    ([1, 2, 0, 4], ":preset=small", "contrast.cold_start"),
    ([5000, 5000], "", "contrast.cold_start"),
    ([1000] * 10, "", ""),
  ],
)
def test_the_recipe_for_own_data_follows_from_their_number(clips, option, keys):
  """No tenth of an epoch is lost, and the contrast becomes active."""
  found, arguments = small.suggest(clips)
  assert found == option
  assert [f.partition("=")[0] for f in arguments] == [
    f"--config.{key}" for key in keys.split()
  ]
  config = ctrgcn_custom.get_config(option[1:])
  config, _ = fields.override(config, arguments)
  assert config.batch_size == (16 if option else 64)
  total = config.data.repeats * sum(clips)
  assert total % config.batch_size <= total / 10
  config.num_classes, config.num_persons = len(clips), 1
  config.skeleton = "ucla"
  parts = experiment.make(config)
  labels = np.repeat(np.arange(len(clips)), clips)
  fixed = {"seed": 1, "num_epochs": config.optim.num_epochs}
  fixed |= {"repeats": config.data.repeats, "batch_size": config.batch_size}
  drawn = order.count_drawn(labels, len(clips), **fixed)
  parts.contrast.check_data(drawn, [str(i) for i in range(len(clips))])


@pytest.mark.parametrize(
  ("module", "clips", "keys"),
  [
    (ctrgcn_ntu60, [11] * 60, ""),
    (ctrgcn_ntu120, [0, 9, 8] + [0] * 117, "batch_size contrast.cold_start"),
    (ctrgcn_ntu60, [700, 700] + [0] * 58, "contrast.cold_start"),
    (ctrgcn_ucla, [102] * 10, ""),
    (ctrgcn_ucla, [1, 1] + [0] * 8, "batch_size contrast.cold_start"),
    (quickstart, [100] * 10, ""),
  ],
)
def test_a_part_of_a_public_set_trains(module, clips, keys):
  """Its recipe stays, but for what would be refused."""
  config = module.get_config()
  arguments = small.fit(config, clips)
  assert [f.partition("=")[0] for f in arguments] == [
    f"--config.{key}" for key in keys.split()
  ]
  config, _ = fields.override(config, arguments)
  parts = experiment.make(config)
  assert parts.source.num_steps(sum(clips)) > 0
  labels = np.repeat(np.arange(len(clips)), clips)
  fixed = {"seed": 1, "num_epochs": config.optim.num_epochs}
  fixed |= {"repeats": config.data.repeats, "batch_size": config.batch_size}
  drawn = order.count_drawn(labels, len(clips), **fixed)
  parts.contrast.check_data(drawn, [str(i) for i in range(len(clips))])


@pytest.mark.parametrize("module", [ctrgcn_custom, agcn_custom, infogcn_custom])
def test_the_small_preset(module):
  config = module.get_config("preset=small,modality=bone")
  assert (config.batch_size, config.data.repeats) == (16, 5)
  assert config.optim.num_epochs == 40 > max(config.optim.decay_epochs)
