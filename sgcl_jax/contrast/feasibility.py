# SPDX-License-Identifier: Apache-2.0
"""Whether the contrast can ever become active, before a run starts."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import errors
from sgcl_jax.contrast import objective


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
    config: `contrast` of a config.

  Raises:
    ContrastError: If an anchor of some class never finds as many rows as it
      needs (see `sampling.sample`), unless `cold_start` is "partial".
  """
  if config.cold_start == "partial" or not objective.uses_instances(config):
    return
  numbers = objective.draws(config)
  hard, random = numbers["num_hard_negatives"], numbers["num_random_negatives"]
  positives = numbers["num_hard_positives"] + numbers["num_random_positives"]
  if config.variant == "released":
    rows = histogram * repeats
    negatives = max(hard, random)
    why = f"repeated {repeats} times in an epoch"
  else:
    visits = num_epochs * repeats
    rows = np.minimum(histogram * visits, config.rows_per_class)
    negatives = hard + random
    why = (
      f"seen {visits} times and config.contrast.rows_per_class="
      f"{config.rows_per_class}"
    )
  asked = ", ".join(f"{name}={num}" for name, num in numbers.items() if num)
  for label in np.flatnonzero(histogram):
    others = rows.sum() - rows[label]
    if rows[label] >= positives and others >= negatives:
      continue
    raise errors.ContrastError(
      f"the contrast can never become active for class {label}"
      f" ({class_names[label]}): with {histogram[label]} training clips {why},"
      f" the bank will hold {rows[label]} rows of it and {others} of other"
      f" classes, but {positives} and {negatives} are needed ({asked}). Lower"
      " these numbers of config.contrast, train longer, or set"
      " --config.contrast.cold_start=partial"
    )
