# SPDX-License-Identifier: Apache-2.0
"""Whether the contrast can ever become active, before a run starts."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import errors


def check(
  histogram: np.ndarray,
  class_names: Sequence[str],
  visits: int,
  config: ConfigDict,
) -> None:
  """Refuses a data set whose classes are too small for the contrast.

  Args:
    histogram: [L] training clips per class; classes without any are left out.
    class_names: Names for the message.
    visits: How often a run sees each clip: epochs * repeats.
    config: `rows_per_class`, `num_*` and `cold_start` of the contrast.

  Raises:
    ContrastError: If an anchor of some class never finds as many rows as it
      needs (see `sampling.sample`), unless `cold_start` is "partial".
  """
  if config.cold_start == "partial":
    return
  rows = np.minimum(histogram * visits, config.rows_per_class)
  positives = config.num_hard_positives
  negatives = config.num_hard_negatives + config.num_random_negatives
  for label in np.flatnonzero(histogram):
    others = rows.sum() - rows[label]
    if rows[label] >= positives and others >= negatives:
      continue
    raise errors.ContrastError(
      f"the contrast can never become active for class {label}"
      f" ({class_names[label]}): with {histogram[label]} training clips seen"
      f" {visits} times and config.contrast.rows_per_class="
      f"{config.rows_per_class}, the bank will hold {rows[label]} rows of it"
      f" and {others} of other classes, but num_hard_positives={positives}"
      f" and num_hard_negatives + num_random_negatives={negatives} are"
      " needed. Lower these numbers, train longer, or set"
      " --config.contrast.cold_start=partial"
    )
