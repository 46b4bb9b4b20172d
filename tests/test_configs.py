# SPDX-License-Identifier: Apache-2.0
"""Options after the colon, and the paper's numbers in the configs."""

import pytest

from configs import common, ctrgcn_ntu60, ctrgcn_ucla, quickstart
from sgcl_jax import augment, build, optim


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


def test_modalities_are_those_of_the_transform():
  assert common.MODALITIES == augment.MODALITIES


@pytest.mark.parametrize("config", [ctrgcn_ntu60, ctrgcn_ucla])
def test_the_papers_numbers(config):
  """Sec. 4.2 and the released configurations."""
  config = config.get_config()
  ucla = config.skeleton == "ucla"
  contrast = config.contrast
  assert contrast.rows_per_class == (342 if ucla else 684)
  assert contrast.features == 256 and contrast.momentum == 0.85
  assert contrast.num_hard_positives == 128
  assert contrast.num_hard_negatives == contrast.num_random_negatives == 512
  assert build.temperature(config) == (0.8 if ucla else 1.0)
  assert config.batch_size == (16 if ucla else 64)
  assert config.data.repeats == (5 if ucla else 1)
  assert config.data.window == (52 if ucla else 64)
  assert config.optim.weight_decay == (1e-4 if ucla else 4e-4)
  rates = optim.learning_rates(config.optim)
  assert len(rates) == 65 and rates[0] == pytest.approx(0.02)
  assert rates[49] == pytest.approx(0.1 if ucla else 0.01)
  assert rates[64] == pytest.approx(0.01 if ucla else 0.001)


@pytest.mark.parametrize("config", [ctrgcn_ntu60, ctrgcn_ucla, quickstart])
@pytest.mark.parametrize("modality", common.MODALITIES)
def test_every_stream_has_a_temperature(config, modality):
  config = config.get_config(f"modality={modality}")
  assert 0.5 <= build.temperature(config) <= 1.5
  config.contrast.temperature = 2.0
  assert build.temperature(config) == 2.0


def test_a_field_of_the_split_is_followed():
  config = ctrgcn_ntu60.get_config()
  config.data.split, config.data.modality = "xview", "joint_motion"
  assert config.data.train_split == "xview_train"
  assert build.temperature(config) == 1.0
