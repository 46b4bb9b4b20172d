# SPDX-License-Identifier: Apache-2.0
"""The switches of the paper's tables, and those that contradict each other."""

import jax
import numpy as np
import pytest

from sgcl_jax import errors, experiment, train
from sgcl_jax.contrast import switches
from sgcl_jax.contrast.projection import ProjectionHead

# Key -> a value that no run can use.
REFUSED = {
  "contrast.memory": "three",
  "contrast.loss": "hinge",
  "contrast.projection": "conv",
}


def init_state(config):
  parts = experiment.make(config)
  optimizer = parts.optimizer.follow(parts.schedule, 1)
  return train.init_state(parts, optimizer, num_rows=96)


def refuse(config, *patterns):
  with pytest.raises(errors.ConfigError) as error:
    experiment.make(config)
  for pattern in patterns:
    assert pattern in str(error.value)


@pytest.mark.parametrize(("key", "value"), REFUSED.items())
def test_unknown_choices_are_refused(tiny_config, key, value):
  refuse(
    tiny_config(**{key: value}), f"config.{key}='{value}'", "must be one of"
  )


@pytest.mark.parametrize(
  ("overrides", "key", "cause"),
  [
    ({"variant": "released", "memory": "instance"}, "memory", "released"),
    ({"variant": "released", "source": "feature"}, "source", "released"),
    ({"variant": "released", "loss": "triplet"}, "loss", "released"),
    ({"loss": "classifier", "memory": "batch"}, "memory", "classifier"),
    ({"loss": "classifier", "projection": "mlp"}, "projection", "classifier"),
    ({"memory": "batch", "positives": "random"}, "positives", "batch"),
    ({"memory": "semantic", "negatives": "hard"}, "negatives", "semantic"),
  ],
)
def test_switches_without_effect_are_refused(
  tiny_config, overrides, key, cause
):
  config = tiny_config(**{f"contrast.{k}": v for k, v in overrides.items()})
  refuse(config, f"config.contrast.{key}=", "has no effect", cause)


@pytest.mark.parametrize("name", sorted(set(switches.CHOICES) - {"cold_start"}))
def test_switches_without_a_contrast_are_refused(tiny_config, name):
  config = tiny_config("gcl=false")
  config.contrast[name] = switches.CHOICES[name][1]
  refuse(config, f"config.contrast.{name}=", "gcl=false")


def test_a_block_without_its_graph_is_refused(tiny_config):
  config = tiny_config(**{"contrast.source": "feature", "model.graph_block": 3})
  refuse(config, "graph_block=3", "source=feature")


def test_random_negatives_need_one_number(tiny_config):
  config = tiny_config(
    **{"contrast.negatives": "random", "contrast.num_random_negatives": 5}
  )
  refuse(config, "--config.contrast.num_random_negatives=8 (it is 5)")


def test_a_contrast_without_negatives_is_refused(tiny_config):
  fields = {"contrast.negatives": "hard", "contrast.num_hard_negatives": 0}
  refuse(tiny_config(**fields), "negatives=hard draws none")
  fields = {"contrast.memory": "batch", "batch_size": 2}
  refuse(tiny_config(**fields), "batch_size=2", "at least 3")


def test_a_backbone_without_a_feature_is_refused(tiny_config):
  config = tiny_config(
    **{
      "contrast.source": "feature",
      "backbone": "tests.tiny:create_featureless",
    }
  )
  with pytest.raises(errors.ConfigError, match="does not sow its feature"):
    init_state(config)


# (K_H+, K_R+, K_H-, K_R-) for the rows of Tab. 6.
@pytest.mark.parametrize(
  ("positives", "negatives", "expected"),
  [
    ("random", "random", (0, 128, 0, 512)),
    ("random", "hard", (0, 128, 512, 0)),
    ("random", "both", (0, 128, 512, 512)),
    ("hard", "random", (128, 0, 0, 512)),
    ("hard", "hard", (128, 0, 512, 0)),
    ("hard", "both", (128, 0, 512, 512)),
    ("both", "both", (128, 128, 512, 512)),
  ],
)
def test_draws_of_table_6(tiny_config, positives, negatives, expected):
  config = tiny_config().contrast
  config.num_hard_positives = 128
  config.num_hard_negatives = config.num_random_negatives = 512
  config.positives, config.negatives = positives, negatives
  names = "hard_positives", "random_positives"
  names += "hard_negatives", "random_negatives"
  found = switches.draws(config)
  assert tuple(getattr(found, f"num_{name}") for name in names) == expected


@pytest.mark.parametrize(
  ("overrides", "instance", "semantic"),
  [
    ({}, True, True),
    ({"memory": "instance"}, True, False),
    ({"memory": "semantic"}, False, True),
    ({"memory": "batch"}, False, False),
    ({"loss": "classifier"}, False, False),
    ({"variant": "released"}, False, False),
  ],
)
def test_only_the_banks_in_use_exist(
  tiny_config, overrides, instance, semantic
):
  config = tiny_config(**{f"contrast.{k}": v for k, v in overrides.items()})
  memory = init_state(config).memory
  assert (getattr(memory, "instance", None) is not None) == instance
  assert (getattr(memory, "semantic", None) is not None) == semantic
  assert hasattr(memory, "bank") == (overrides == {"variant": "released"})


@pytest.mark.parametrize(
  ("projection", "kernels", "width"),
  [
    ("none", [], 400),
    ("dense", [(400, 16)], 16),
    ("mlp", [(400, 16), (16, 16)], 16),
  ],
)
def test_projections_of_table_12(tiny_config, projection, kernels, width):
  config = tiny_config(**{"contrast.projection": projection})
  start = init_state(config)
  head = start.params["contrast"]
  assert [layer["kernel"].shape for layer in head.values()] == kernels
  assert start.memory.instance.rows.shape[1] == width
  graph = jax.random.normal(jax.random.key(0), (3, 1, 20, 20))
  module = ProjectionHead(10, 16, len(kernels))
  found = module.apply({"params": head}, graph)
  v = np.asarray(graph).reshape(3, -1)
  for i, layer in enumerate(head.values()):
    v = (np.maximum(v, 0) if i else v) @ layer["kernel"] + layer["bias"]
  v = v / np.linalg.norm(v, axis=1, keepdims=True)
  np.testing.assert_allclose(found, v, atol=1e-5)
