# SPDX-License-Identifier: Apache-2.0
"""The type of a contrast: two pure functions and a check, much as in optax.

Each kind has a file with `make(...) -> Contrast`: `paper`, `released`,
`within_batch` and `classifier`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sgcl_jax import errors, models
from sgcl_jax.dataset import order
from sgcl_jax.terminal import wording

# (sum, count); both are summed over the replicas before the division.
Mean = tuple[jax.Array, jax.Array]


class Outcome(NamedTuple):
  """The result of a contrast for the clips of one replica.

  Attributes:
    terms: Terms of the loss, by name.
    memory: The memory after the write, equal on all replicas.
    logged: Further values to log, by name.
  """

  terms: dict[str, Mean]
  memory: Any
  logged: dict[str, Mean]


class Contrast(NamedTuple):
  """A contrast as a value.

  Attributes:
    init: (key, outputs, num_rows=None) -> (params, memory). `outputs` holds the
      shapes of the `Outputs` for one clip. `num_rows` is the number of clips of
      an epoch, repeats included; only `released` needs it.
    apply: (params, memory, outputs, batch, keys, gather=keep) -> Outcome.
      `outputs` and `batch` are those of one replica's N clips; `batch` holds
      `label` [N] and, for `released`, `index` [N]. `keys` are [N] PRNG keys.
      `gather` joins [N, ...] of all replicas along the first axis.
    check_data: (drawn, class_names) -> None. `drawn` is what the training draws
      of each class, an `order.Drawn`. Raises ContrastError if the
      anchors of some class can never become active.
  """

  init: Callable[..., tuple[Any, Any]]
  apply: Callable[..., Outcome]
  check_data: Callable[..., None]


def keep(x: jax.Array) -> jax.Array:
  """Returns x: the `gather` of a single replica."""
  return x


def accept(*_: Any) -> None:
  """Accepts any data: the `check_data` of a contrast without a bank."""


# Does nothing: for a training without a contrast.
NONE = Contrast(
  init=lambda *_: ({}, None),
  apply=lambda params, memory, *_: Outcome({}, memory, {}),
  check_data=accept,
)


def select(
  outputs: models.Outputs, source: str
) -> jax.Array | jax.ShapeDtypeStruct:
  """Returns the output that is contrasted (Tab. 4).

  Args:
    outputs: Outputs of the backbone, or their shapes.
    source: `graph` or `feature`.

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
  drawn: order.Drawn,
  rows: np.ndarray,
  class_names: Sequence[str],
  *,
  positives: int,
  negatives: int,
  limit: str,
  asked: str,
) -> None:
  """Refuses a training in which the bank never holds enough rows of a class.

  Args:
    drawn: What the training draws; classes without clips are ignored.
    rows: [L] largest number of rows that the bank can hold of each class.
    class_names: [L] names of the classes, for the message.
    positives: Rows of its own class that an anchor needs.
    negatives: Rows of other classes that an anchor needs.
    limit: What else limits the rows, for the message.
    asked: The settings that demand these rows, for the message.

  Raises:
    ContrastError: If a class is short of rows; names the first such class, the
      numbers and the remedies.
  """
  for label in np.flatnonzero(drawn.clips):
    others = rows.sum() - rows[label]
    if rows[label] >= positives and others >= negatives:
      continue
    raise errors.ContrastError(
      f"the contrast can never become active for class {label}"
      f" ({class_names[label]}): with"
      f" {wording.count(drawn.clips[label], 'training clip')}, drawn"
      f" {wording.count(drawn.visits[label], 'time')} in the whole"
      f" training{limit}, the bank will hold"
      f" {wording.count(rows[label], 'row')} of it and {others} of other"
      f" classes, but {positives} and {negatives} are needed ({asked}). Lower"
      " these numbers (--config.contrast.num_hard_positives and others), train"
      " longer, or set"
      " --config.contrast.cold_start=partial"
    )
