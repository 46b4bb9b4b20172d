# SPDX-License-Identifier: Apache-2.0
"""The two memory banks as explicit state: pure init and update functions.

The instance bank and the semantic bank of paper Sec. 3.2 (Eq. 4).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class InstanceBank:
  """The latest P embeddings of each class, one ring per class.

  Class c owns the rows `c*P ... c*P + P - 1`. A ring is written from its first
  row on, so the first `num_filled[c]` of these rows are filled.

  Attributes:
    rows: [L*P, D] embeddings, 0 where nothing is written yet.
    cursor: [L] int32, the next slot to write of each class.
    num_filled: [L] int32, number of written rows of each class.
  """

  rows: jax.Array
  cursor: jax.Array
  num_filled: jax.Array


@struct.dataclass
class SemanticBank:
  """One running mean per class.

  Attributes:
    rows: [L, D], 0 for classes without a clip so far.
    seen: [L] bool, whether the class had a clip.
  """

  rows: jax.Array
  seen: jax.Array


def rows_per_class(bank: InstanceBank) -> int:
  """Returns P, the rows of each class."""
  num_rows, num_classes = bank.rows.shape[0], bank.num_filled.shape[0]
  assert num_rows % num_classes == 0, (num_rows, num_classes)
  return num_rows // num_classes


def init_instance_bank(
  num_classes: int,
  rows_per_class: int,
  features: int,
  dtype: Any = jnp.float32,
) -> InstanceBank:
  """Returns an empty bank of L classes, P rows a class, width D."""
  return InstanceBank(
    rows=jnp.zeros((num_classes * rows_per_class, features), dtype),
    cursor=jnp.zeros((num_classes,), jnp.int32),
    num_filled=jnp.zeros((num_classes,), jnp.int32),
  )


def init_semantic_bank(
  num_classes: int, features: int, dtype: Any = jnp.float32
) -> SemanticBank:
  """Returns an empty bank of L classes, width D."""
  return SemanticBank(
    rows=jnp.zeros((num_classes, features), dtype),
    seen=jnp.zeros((num_classes,), bool),
  )


def update_instance_bank(
  bank: InstanceBank, embeddings: jax.Array, labels: jax.Array
) -> InstanceBank:
  """Writes a batch over the oldest rows of each class, in batch order.

  A class that appears more than P times keeps its last P. The write is one
  scatter to distinct rows: deterministic, and in place if the bank is donated.

  Args:
    bank: State before the step.
    embeddings: [N, D]. No gradient flows into the bank.
    labels: [N] classes; clips with a label outside [0, L) are dropped.

  Returns:
    The state after the step.
  """
  num_rows = bank.rows.shape[0]
  num_classes = bank.num_filled.shape[0]
  size = rows_per_class(bank)
  labels, valid = _check(bank.rows, num_classes, embeddings, labels)
  counts = _count_per_class(labels, num_classes)  # [L]
  earlier, _ = _count_same(labels)

  own = jnp.clip(labels, 0, num_classes - 1)
  keep = valid & (earlier >= counts[own] - size)
  slots = own * size + (bank.cursor[own] + earlier) % size
  # Clips to drop get distinct rows beyond the end, so that all indices are
  # unique, as promised below.
  dropped = num_rows + jnp.arange(labels.shape[0], dtype=jnp.int32)
  values = jax.lax.stop_gradient(embeddings).astype(bank.rows.dtype)
  return InstanceBank(
    rows=bank.rows.at[jnp.where(keep, slots, dropped)].set(
      values, mode="drop", unique_indices=True
    ),
    cursor=(bank.cursor + counts) % size,
    num_filled=jnp.minimum(bank.num_filled + counts, size),
  )


def update_semantic_bank(
  bank: SemanticBank,
  embeddings: jax.Array,
  labels: jax.Array,
  momentum: float,
) -> SemanticBank:
  """Applies Eq. 4, `m = alpha m + (1 - alpha) v`, once per clip in batch order.

  The first clip of a class sets its row; Eq. 4 alone would start from the zero
  vector. Each clip has the weight alpha^(number of later clips of its class),
  so one matrix product replaces the loop.

  Args:
    bank: State before the step.
    embeddings: [N, D]. No gradient flows into the bank.
    labels: [N] classes; clips with a label outside [0, L) are ignored.
    momentum: alpha of Eq. 4.

  Returns:
    The state after the step.
  """
  num_classes, _ = bank.rows.shape
  dtype = bank.rows.dtype
  labels, valid = _check(bank.rows, num_classes, embeddings, labels)
  counts = _count_per_class(labels, num_classes)  # [L]
  earlier, later = _count_same(labels)
  alpha = jnp.asarray(momentum, dtype)

  own = jnp.clip(labels, 0, num_classes - 1)
  first = (earlier == 0) & ~bank.seen[own]
  weights = alpha ** later.astype(dtype) * jnp.where(first, 1, 1 - alpha)
  one_hot = labels[:, None] == jnp.arange(num_classes)  # [N, L]
  values = jax.lax.stop_gradient(embeddings).astype(dtype)
  added = jnp.einsum(
    "nl,nd->ld",
    jnp.where(one_hot, weights[:, None], 0),
    jnp.where(valid[:, None], values, 0),
    precision=jax.lax.Precision.HIGHEST,
  )
  kept = alpha ** counts.astype(dtype)[:, None] * bank.rows
  return SemanticBank(
    rows=jnp.where(bank.seen[:, None], kept, 0) + added,
    seen=bank.seen | (counts > 0),
  )


def _check(rows, num_classes, embeddings, labels):
  """Checks the shapes; returns int32 labels and a mask of the valid ones."""
  assert embeddings.ndim == 2, embeddings.shape
  assert embeddings.shape[1] == rows.shape[1], (embeddings.shape, rows.shape)
  assert labels.shape == embeddings.shape[:1], (labels.shape, embeddings.shape)
  return labels.astype(jnp.int32), (labels >= 0) & (labels < num_classes)


def _count_per_class(labels, num_classes):
  """Returns counts [L] int32, as sums of one-hots: scatter-add has no order."""
  one_hot = labels[:, None] == jnp.arange(num_classes)
  return jnp.sum(one_hot, axis=0, dtype=jnp.int32)


def _count_same(labels):
  """Returns the numbers [N] and [N] of earlier and later clips of the label."""
  same = labels[:, None] == labels[None, :]
  earlier = jnp.sum(jnp.tril(same, -1), axis=1, dtype=jnp.int32)
  later = jnp.sum(jnp.triu(same, 1), axis=1, dtype=jnp.int32)
  return earlier, later
