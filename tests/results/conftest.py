# SPDX-License-Identifier: Apache-2.0
"""Workdirs of finished runs."""

import pytest

from configs import ctrgcn_ucla
from tests import finished


@pytest.fixture
def make_run(tmp_path):
  """Returns a maker of workdirs: name, option=value, seed, right, fields."""

  def make(name, arg=None, seed=1, right=15, *, summary=None, **fields):
    config = ctrgcn_ucla.get_config(arg)
    config.update_from_flattened_dict(
      {"seed": seed, "optim.num_epochs": 2, **fields}
    )
    finished.write(tmp_path / name, config, right, **(summary or {}))
    return tmp_path / name

  return make
