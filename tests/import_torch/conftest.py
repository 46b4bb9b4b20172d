# SPDX-License-Identifier: Apache-2.0
"""Makes state dicts like those that the reference stores."""

import jax
import numpy as np
import pytest

from sgcl_jax import models
from sgcl_jax.import_torch import tables
from tests import reference


@pytest.fixture(scope="session")
def make_state():
  """Returns a function that makes random state dicts for NW-UCLA."""
  made = {}

  def make(name):
    if name not in made:
      made[name] = invert(name)
    return dict(made[name])

  return make


def invert(name):
  """Returns the variables of a backbone in the reference's layout."""
  model = models.create(name, num_classes=10, skeleton="ucla", num_persons=1)
  x = jax.ShapeDtypeStruct((1, 1, 2, 20, 3), np.float32)
  variables = model.lazy_init(jax.random.key(0), x)
  layouts = {
    "_matrix": lambda x: x.T,
    "_temporal": lambda x: x.transpose(3, 2, 0, 1),
    "_scalar": lambda x: x.reshape(1),
    "_position": lambda x: x[None],
  }
  state = {}
  for key, entry in tables.TABLES[name]().items():
    layout = layouts.get(entry.transform.__name__, lambda x: x)
    state[key] = np.ascontiguousarray(layout(reference.pick(variables, entry)))
    if key.endswith("running_var"):
      counter = key.replace("running_var", "num_batches_tracked")
      state[counter] = np.array(7)
  return state
