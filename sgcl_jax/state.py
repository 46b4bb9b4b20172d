# SPDX-License-Identifier: Apache-2.0
"""Everything that a training step changes, as arrays."""

from typing import Any

import jax
from flax import struct

from sgcl_jax.contrast import objective


@struct.dataclass
class TrainState:
  """A pytree that is carried through the steps and saved as it is.

  Attributes:
    step: [] int32, finished steps.
    params: Of the `backbone`, and of the `projection` with the contrast.
    batch_stats: Running statistics of the backbone.
    constants: Variables of the backbone that are not trained.
    opt_state: Momentum buffers.
    banks: Memory banks, None where nothing uses them.
  """

  step: jax.Array
  params: dict[str, Any]
  batch_stats: dict[str, Any]
  constants: dict[str, Any]
  opt_state: Any
  banks: objective.Banks | None

  def variables(self) -> dict[str, Any]:
    """Returns what the backbone's `apply` takes."""
    return {
      "params": self.params["backbone"],
      "batch_stats": self.batch_stats,
      "constants": self.constants,
    }
