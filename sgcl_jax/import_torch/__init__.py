# SPDX-License-Identifier: Apache-2.0
"""Converts checkpoints of the reference's PyTorch models."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def convert(
  name: str, state_dict: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
  """Converts a reference's state dict.

  Drops the prefix `module.`, the counters `num_batches_tracked`, and 2s-AGCN's
  stored adjacency `gcn1.A` if it is the adjacency of a known layout.

  Args:
    name: `ctrgcn`, `agcn` or `infogcn`.
    state_dict: Arrays under the reference's names.

  Returns:
    {"params": ..., "batch_stats": ...}, in the dtype of the state dict.

  Raises:
    CheckpointError: If the backbone is unknown, or if keys are missing, unknown
      or of the wrong shape; the message lists all of them.
  """
  # Imported late: the command's --help should not wait for JAX.
  from sgcl_jax.import_torch import translation

  return translation.translate(name, state_dict).variables
