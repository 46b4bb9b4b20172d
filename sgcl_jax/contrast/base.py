# SPDX-License-Identifier: Apache-2.0
"""What a contrast is: two pure functions and a check, like an optax transform.

Each kind has a file with `make(...) -> Contrast`: `paper`, `released`,
`within_batch` and `classifier`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sgcl_jax import errors, models

# A sum and the count that it is divided by, summed over the replicas first.
Mean = tuple[jax.Array, jax.Array]


class Outcome(NamedTuple):
  """What a contrast gives for the clips of one replica.

  Attributes:
    terms: Parts of the loss.
    memory: The memory after the write, equal on all replicas.
    logged: Further values to log.
  """

  terms: dict[str, Mean]
  memory: Any
  logged: dict[str, Mean]


class Contrast(NamedTuple):
  """A contrast as a value.

  Attributes:
    init: (key, outputs, num_rows=None) -> (params, memory). `outputs` are the
      shapes of one clip's `Outputs`, `num_rows` the clips of an epoch, repeats
      included, which only `released` needs.
    apply: (params, memory, outputs, batch, keys, gather=keep) -> Outcome.
      `outputs` and `batch` (`label` [N], and `index` [N] for `released`) are
      those of one replica's N clips, `keys` [N] PRNG keys, and `gather` joins
      [N, ...] of all replicas along the first axis.
    check_data: (histogram, class_names, num_epochs, repeats) raises
      ContrastError where some class could never be active in a training.
  """

  init: Callable[..., tuple[Any, Any]]
  apply: Callable[..., Outcome]
  check_data: Callable[..., None]


def keep(x: jax.Array) -> jax.Array:
  """Gathers over one replica: returns x."""
  return x


def accept(*_: Any) -> None:
  """Accepts any data: for a contrast that needs no rows of a class."""


# No contrast.
NONE = Contrast(
  init=lambda *_: ({}, None),
  apply=lambda params, memory, *_: Outcome({}, memory, {}),
  check_data=accept,
)


def select(
  outputs: models.Outputs, source: str
) -> jax.Array | jax.ShapeDtypeStruct:
  """Returns what is contrasted, the `graph` or the `feature` (Tab. 4).

  Raises:
    ConfigError: If the backbone does not sow its feature.
  """
  selected = getattr(outputs, source)
  if selected is None:
    raise errors.ConfigError(
      f"config.contrast.source={source}: the backbone does not sow its {source}"
      f" [N, F] as '{source}' in 'intermediates'"
    )
  return selected


def check_rows(
  histogram: np.ndarray,
  rows: np.ndarray,
  class_names: Sequence[str],
  *,
  positives: int,
  negatives: int,
  seen: str,
  asked: str,
) -> None:
  """Refuses classes of which the bank never holds enough rows.

  Args:
    histogram: [L] training clips per class; classes without any are left out.
    rows: [L] most rows of each class that the bank will ever hold.
    class_names: [L] for the message.
    positives: Rows of its own class that an anchor needs.
    negatives: Rows of other classes that an anchor needs.
    seen: How often the clips of a class are seen, for the message.
    asked: The settings that ask for so many rows, for the message.

  Raises:
    ContrastError: Names the first such class, the numbers and the remedies.
  """
  for label in np.flatnonzero(histogram):
    others = rows.sum() - rows[label]
    if rows[label] >= positives and others >= negatives:
      continue
    raise errors.ContrastError(
      f"the contrast can never become active for class {label}"
      f" ({class_names[label]}): with {histogram[label]} training clips {seen},"
      f" the bank will hold {rows[label]} rows of it and {others} of other"
      f" classes, but {positives} and {negatives} are needed ({asked}). Lower"
      " these numbers of config.contrast, train longer, or set"
      " --config.contrast.cold_start=partial"
    )
