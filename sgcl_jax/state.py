# SPDX-License-Identifier: Apache-2.0
"""Everything that a training step changes, as arrays."""

from typing import Any

import jax
from flax import struct

from sgcl_jax.contrast import memory, released


@struct.dataclass
class Banks:
  """The memory of the contrast (paper Sec. 3.2); released, no semantic one."""

  instance: memory.InstanceBank | released.ClipBank
  semantic: memory.SemanticBank | None


@struct.dataclass
class TrainState:
  """A pytree that is carried through the steps and saved as it is.

  Attributes:
    step: [] int32, finished steps.
    params: Trained parameters: `backbone`, and `projection` with the contrast.
    batch_stats: Running statistics of the backbone.
    constants: Variables of the backbone that are not trained.
    opt_state: Momentum buffers.
    banks: Memory banks, None without the contrast.
  """

  step: jax.Array
  params: dict[str, Any]
  batch_stats: dict[str, Any]
  constants: dict[str, Any]
  opt_state: Any
  banks: Banks | None

  def variables(self) -> dict[str, Any]:
    """Returns what the backbone's `apply` takes."""
    return {
      "params": self.params["backbone"],
      "batch_stats": self.batch_stats,
      "constants": self.constants,
    }
