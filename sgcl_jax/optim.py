# SPDX-License-Identifier: Apache-2.0
"""torch's SGD and its step-wise schedule, as the references train."""

import numpy as np
import optax
from ml_collections import ConfigDict


def learning_rates(config: ConfigDict) -> np.ndarray:
  """Returns the rate of each epoch, [num_epochs] float64.

  Args:
    config: `num_epochs`, `base_lr`, `warmup_epochs` (linear, the first epoch
      already has 1/warmup_epochs of the rate), `decay_epochs` (0-based epochs
      from which the rate is multiplied by `decay_rate`).
  """
  epochs = np.arange(config.num_epochs)
  num_decays = sum(epochs >= epoch for epoch in config.decay_epochs)
  rates = config.base_lr * config.decay_rate ** np.asarray(num_decays, float)
  warmup = config.base_lr * (epochs + 1) / max(config.warmup_epochs, 1)
  return np.where(epochs < config.warmup_epochs, warmup, rates)


def sgd(
  learning_rate: optax.ScalarOrSchedule, config: ConfigDict
) -> optax.GradientTransformation:
  """SGD with weight decay added to the gradient, before the momentum.

  Args:
    learning_rate: Rate, or a function of the step; it multiplies the update,
      not the momentum buffer.
    config: `momentum`, `nesterov`, `weight_decay`.
  """
  return optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.sgd(learning_rate, config.momentum, config.nesterov),
  )
