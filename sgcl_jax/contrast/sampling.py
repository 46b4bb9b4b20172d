# SPDX-License-Identifier: Apache-2.0
"""Draws the bank rows for each anchor (paper Sec. 3.3, Tab. 6).

Every draw is a `top_k` over masked scores, so that shapes are fixed; a mask
marks the valid entries.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sgcl_jax.contrast import banks


class Draws(NamedTuple):
  """Number of rows that an anchor draws (paper Sec. 4.2, Tab. 6, 18 to 20).

  Attributes:
    num_hard_positives: K_H+, least similar rows of its own class.
    num_hard_negatives: K_H-, most similar rows of the other classes.
    num_random_negatives: K_R-, further rows of the other classes.
    num_random_positives: K_R+, further rows of its own class; 0 in the paper,
      except in Tab. 6.
  """

  num_hard_positives: int
  num_hard_negatives: int
  num_random_negatives: int
  num_random_positives: int = 0

  @property
  def num_positives(self) -> int:
    return self.num_hard_positives + self.num_random_positives

  @property
  def num_negatives(self) -> int:
    return self.num_hard_negatives + self.num_random_negatives

  def __str__(self) -> str:
    """Returns the numbers above 0, for messages."""
    pairs = self._asdict().items()
    return ", ".join(f"{name}={num}" for name, num in pairs if num)


# Sec. 4.2.
PAPER_DRAWS = Draws(128, 512, 512)


class Sample(NamedTuple):
  """Rows of the instance bank drawn for N anchors, K positives, K' negatives.

  The rows under a true mask are distinct for each anchor, positives and
  negatives together.

  Attributes:
    positives: [N, K] int32 row numbers, the hard ones first.
    positive_mask: [N, K] bool, which of them count.
    negatives: [N, K'] int32 row numbers, the hard ones first.
    negative_mask: [N, K'] bool, which of them count. For an anchor that does
      not take part, both masks are false.
  """

  positives: jax.Array
  positive_mask: jax.Array
  negatives: jax.Array
  negative_mask: jax.Array


def hard_positives(
  similarity: jax.Array,
  bank: banks.InstanceBank,
  labels: jax.Array,
  num: int,
) -> tuple[jax.Array, jax.Array]:
  """Draws the least similar filled rows of the anchor's own class.

  Args:
    similarity: [N, L*P] of anchors and bank rows, without gradient.
    bank: The instance bank.
    labels: [N] classes.
    num: Rows to draw, at most P.

  Returns:
    rows [N, K] int32, hardest first, and mask [N, K].
  """
  n, size = labels.shape[0], banks.rows_per_class(bank)
  # The class's own P columns first: top_k then runs over P, not L*P.
  own = jnp.take_along_axis(
    similarity.reshape(n, -1, size), labels[:, None, None], axis=1
  )[:, 0]  # [N, P]
  first, valid = _own_slots(bank, labels)
  slots, mask = top_k(-own, valid, num)
  return first + slots, mask


def random_positives(
  keys: jax.Array,
  bank: banks.InstanceBank,
  labels: jax.Array,
  num: int,
  taken: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Draws filled rows of the own class, uniformly without replacement.

  Args:
    keys: [N] PRNG keys, one per anchor.
    bank: The instance bank.
    labels: [N] classes.
    num: Rows to draw, at most P.
    taken: [N, K] rows of the own class to leave out, distinct for each anchor.

  Returns:
    rows [N, K] int32 in random order, and mask [N, K].
  """
  first, valid = _own_slots(bank, labels)
  slots, mask = draw(keys, _without(valid, taken - first), num)
  return first + slots, mask


def hard_negatives(
  similarity: jax.Array,
  bank: banks.InstanceBank,
  labels: jax.Array,
  num: int,
) -> tuple[jax.Array, jax.Array]:
  """Draws the most similar filled rows of the other classes.

  Args:
    similarity: [N, L*P] of anchors and bank rows, without gradient.
    bank: The instance bank.
    labels: [N] classes.
    num: Rows to draw, at most L*P.

  Returns:
    rows [N, K] int32, hardest first, and mask [N, K].
  """
  return top_k(similarity, _negative_rows(bank, labels), num)


def random_negatives(
  keys: jax.Array,
  bank: banks.InstanceBank,
  labels: jax.Array,
  num: int,
  taken: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Draws filled rows of the other classes, uniformly without replacement.

  Args:
    keys: [N] PRNG keys, one per anchor.
    bank: The instance bank.
    labels: [N] classes.
    num: Rows to draw, at most L*P.
    taken: [N, K] rows to leave out, distinct for each anchor.

  Returns:
    rows [N, K] int32 in random order, and mask [N, K].
  """
  return draw(keys, _without(_negative_rows(bank, labels), taken), num)


def sample(
  similarity: jax.Array,
  bank: banks.InstanceBank,
  labels: jax.Array,
  keys: jax.Array,
  draws: Draws,
  cold_start: str = "skip",
) -> Sample:
  """Draws hard and random positives and negatives for each anchor.

  The bank is the one after the write (paper Fig. 2). Random rows exclude the
  hard ones, so that none counts twice; the released code draws from all rows.

  Args:
    similarity: [N, L*P] of anchors and bank rows, without gradient.
    bank: The instance bank, the batch already written.
    labels: [N] classes.
    keys: [N] PRNG keys, one per anchor.
    draws: Number of rows of each kind.
    cold_start: `skip` leaves an anchor out until the bank holds K_H+ + K_R+
      rows of its class and K_H- + K_R- rows of the other classes; `partial`
      uses the rows that the bank holds.

  Returns:
    The sample. Draws of more rows than the bank has room for are cut short.

  Raises:
    ValueError: If `cold_start` is unknown.
  """
  min_positives = min_negatives = 1
  if needs_all(cold_start):
    min_positives = draws.num_positives
    min_negatives = draws.num_negatives
  n, num_rows = similarity.shape
  assert num_rows == bank.rows.shape[0], (num_rows, bank.rows.shape)
  assert labels.shape == keys.shape == (n,), (labels.shape, keys.shape, n)

  own, others = _count_filled(bank, labels)
  active = (own >= min_positives) & (others >= min_negatives)
  hard = hard_positives(similarity, bank, labels, draws.num_hard_positives)
  # Separate keys: the draw of the negatives does not depend on this one.
  own_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
  drawn = random_positives(
    own_keys, bank, labels, draws.num_random_positives, taken=hard[0]
  )
  positives, positive_mask = _join(hard, drawn)
  hard = hard_negatives(similarity, bank, labels, draws.num_hard_negatives)
  drawn = random_negatives(
    keys, bank, labels, draws.num_random_negatives, taken=hard[0]
  )
  negatives, negative_mask = _join(hard, drawn)
  return Sample(
    positives=positives,
    positive_mask=positive_mask & active[:, None],
    negatives=negatives,
    negative_mask=negative_mask & active[:, None],
  )


def needs_all(cold_start: str) -> bool:
  """Tells whether an anchor waits until the bank holds all rows to draw.

  Raises:
    ValueError: If `cold_start` is neither `skip` nor `partial`.
  """
  if cold_start not in ("skip", "partial"):
    raise ValueError(f"cold_start is skip or partial, not {cold_start!r}")
  return cold_start == "skip"


def draw(
  keys: jax.Array, valid: jax.Array, num: int
) -> tuple[jax.Array, jax.Array]:
  """Draws columns uniformly without replacement.

  Args:
    keys: [N] PRNG keys.
    valid: [N, Q] bool, which columns may be drawn.
    num: Columns to draw, at most Q.

  Returns:
    columns [N, K] int32 in random order, and mask [N, K].
  """
  # The columns of the largest uniform scores are a uniform subset. The scores
  # are float32 in every run, so that a double precision run draws the same.
  shape = valid.shape[1:]
  scores = jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))
  return top_k(scores(keys), valid, num)


def top_k(
  scores: jax.Array, valid: jax.Array, num: int
) -> tuple[jax.Array, jax.Array]:
  """Returns columns [N, K] int32 of the best valid scores, and their mask.

  Args:
    scores: [N, Q].
    valid: [N, Q] bool.
    num: Columns to return, at most Q.
  """
  num = min(num, scores.shape[1])
  _, columns = jax.lax.top_k(jnp.where(valid, scores, -jnp.inf), num)
  # With fewer valid entries than `num`, top_k also returns masked ones.
  return columns, jnp.take_along_axis(valid, columns, axis=1)


def _join(*draws):
  """Joins (rows, mask) pairs along the second axis."""
  rows, masks = zip(*draws, strict=True)
  return jnp.concatenate(rows, axis=1), jnp.concatenate(masks, axis=1)


def _without(valid, taken):
  """Returns the mask `valid` [N, Q] without the columns `taken` [N, K]."""
  anchors = jnp.arange(len(valid))[:, None]
  return valid.at[anchors, taken].set(False, unique_indices=True)


def _count_filled(bank, labels):
  """Returns [N] and [N]: filled rows of the own class and of all others."""
  own = labels[:, None] == jnp.arange(bank.num_filled.shape[0])
  num_own = jnp.sum(jnp.where(own, bank.num_filled, 0), axis=1, dtype=jnp.int32)
  return num_own, jnp.sum(bank.num_filled, dtype=jnp.int32) - num_own


def _own_slots(bank, labels):
  """Returns the own class's first row [N, 1], and its filled slots [N, P]."""
  size = banks.rows_per_class(bank)
  num_filled, _ = _count_filled(bank, labels)
  first = labels[:, None].astype(jnp.int32) * size
  return first, jnp.arange(size) < num_filled[:, None]


def _negative_rows(bank, labels):
  """Returns [N, L*P] bool: the filled rows of the other classes."""
  num_classes, size = bank.num_filled.shape[0], banks.rows_per_class(bank)
  filled = jnp.arange(size) < bank.num_filled[:, None]  # [L, P]
  other = labels[:, None] != jnp.arange(num_classes)  # [N, L]
  return (other[:, :, None] & filled).reshape(labels.shape[0], -1)
