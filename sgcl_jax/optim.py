# SPDX-License-Identifier: Apache-2.0
"""torch's SGD and its step-wise schedule, as the references train."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The epochs of a training and their learning rates.

  Attributes:
    num_epochs: Epochs of the training.
    base_lr: Rate after the warm-up.
    warmup_epochs: Epochs of the linear warm-up; the first epoch trains at
      `base_lr / warmup_epochs`.
    decay_epochs: 0-based epochs from which the rate is multiplied by
      `decay_rate`.
    decay_rate: Factor of each decay.
    eval_every_epochs: How often the test split is evaluated.
  """

  num_epochs: int
  base_lr: float
  warmup_epochs: int
  decay_epochs: tuple[int, ...]
  decay_rate: float = 0.1
  eval_every_epochs: int = 1

  def rates(self) -> np.ndarray:
    """Returns the rate of each epoch, [num_epochs] float64."""
    epochs = np.arange(self.num_epochs)
    num_decays = sum(epochs >= epoch for epoch in self.decay_epochs)
    decay = self.decay_rate ** np.asarray(num_decays, float)
    warmup = self.base_lr * (epochs + 1) / max(self.warmup_epochs, 1)
    return np.where(epochs < self.warmup_epochs, warmup, self.base_lr * decay)

  def notices(self) -> list[str]:
    """Returns a line for each setting that the training does not reach."""
    found = []
    late = [epoch for epoch in self.decay_epochs if epoch >= self.num_epochs]
    if late:
      found.append(
        f"config.optim.decay_epochs={self.decay_epochs}: the rate does not"
        f" decay at {', '.join(map(str, late))}, since"
        f" config.optim.num_epochs={self.num_epochs} ends before"
      )
    if self.warmup_epochs > self.num_epochs:
      found.append(
        f"config.optim.warmup_epochs={self.warmup_epochs}: the rate does not"
        f" reach config.optim.base_lr in config.optim.num_epochs="
        f"{self.num_epochs}"
      )
    return found

  def is_evaluated(self, epoch: int) -> bool:
    """Tells whether the test split is evaluated after this 0-based epoch."""
    is_last = epoch + 1 == self.num_epochs
    return is_last or (epoch + 1) % self.eval_every_epochs == 0


@dataclasses.dataclass(frozen=True)
class Sgd:
  """SGD with weight decay added to the gradient, before the momentum.

  Attributes:
    momentum: Decay of the momentum buffer.
    nesterov: Whether to use Nesterov's momentum.
    weight_decay: Multiple of the parameters that is added to the gradient.
    clip_norm: Largest global norm of the gradient, before the weight decay is
      added; a larger gradient is scaled down to it. None: no limit, as in the
      references.
    frozen: A tree of bools like the parameters, true for those that stay as
      they are, without a momentum buffer; None if all are trained.
  """

  momentum: float
  nesterov: bool
  weight_decay: float
  clip_norm: float | None = None
  frozen: Any = None

  def make(
    self, learning_rate: optax.ScalarOrSchedule
  ) -> optax.GradientTransformation:
    """Builds the optimizer.

    Args:
      learning_rate: Rate, or a function of the step; it multiplies the update,
        not the momentum buffer.
    """
    clip = optax.identity()
    if self.clip_norm is not None:
      clip = optax.clip_by_global_norm(self.clip_norm)
    sgd = optax.chain(
      clip,
      optax.add_decayed_weights(self.weight_decay),
      optax.sgd(learning_rate, self.momentum, self.nesterov),
    )
    if self.frozen is None:
      return sgd
    return optax.partition({True: optax.set_to_zero(), False: sgd}, self.frozen)

  def remedy(self) -> str:
    """Returns what may help a training that diverges, as a subject."""
    clip = "The option start=stable, which clips the gradient,"
    if self.clip_norm is not None:
      clip = f"A --config.optim.clip_norm below {self.clip_norm:g},"
    return (
      f"{clip} a lower --config.optim.base_lr or a"
      " longer --config.optim.warmup_epochs"
    )

  def follow(
    self, schedule: Schedule, steps_per_epoch: int
  ) -> optax.GradientTransformation:
    """Builds the optimizer whose rate is constant within an epoch."""
    rates = jnp.asarray(schedule.rates())
    return self.make(lambda step: rates[step // steps_per_epoch])
