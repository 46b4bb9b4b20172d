# SPDX-License-Identifier: Apache-2.0
"""Whether the contrast can ever become active, before a run starts."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import errors


def check(
  histogram: np.ndarray,
  class_names: Sequence[str],
  num_epochs: int,
  repeats: int,
  config: ConfigDict,
) -> None:
  """Refuses a data set whose classes are too small for the contrast.

  Args:
    histogram: [L] training clips per class; classes without any are left out.
    class_names: Names for the message.
    num_epochs: Of the run.
    repeats: How often an epoch holds each clip.
    config: `variant`, `rows_per_class`, `num_*` and `cold_start` of the
      contrast.

  Raises:
    ContrastError: If an anchor of some class never finds as many rows as it
      needs (see `sampling.sample`), unless `cold_start` is "partial".
  """
  if config.cold_start == "partial":
    return
  positives = config.num_hard_positives
  if config.variant == "released":
    rows = histogram * repeats
    negatives = max(config.num_hard_negatives, config.num_random_negatives)
    why = f"repeated {repeats} times in an epoch"
    needed = "the larger of num_hard_negatives and num_random_negatives"
  else:
    visits = num_epochs * repeats
    rows = np.minimum(histogram * visits, config.rows_per_class)
    negatives = config.num_hard_negatives + config.num_random_negatives
    why = (
      f"seen {visits} times and config.contrast.rows_per_class="
      f"{config.rows_per_class}"
    )
    needed = "num_hard_negatives + num_random_negatives"
  for label in np.flatnonzero(histogram):
    others = rows.sum() - rows[label]
    if rows[label] >= positives and others >= negatives:
      continue
    raise errors.ContrastError(
      f"the contrast can never become active for class {label}"
      f" ({class_names[label]}): with {histogram[label]} training clips {why},"
      f" the bank will hold {rows[label]} rows of it and {others} of other"
      f" classes, but num_hard_positives={positives} and {needed}={negatives}"
      " are needed. Lower these numbers, train longer, or set"
      " --config.contrast.cold_start=partial"
    )
