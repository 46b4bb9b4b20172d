# SPDX-License-Identifier: Apache-2.0
"""The contrast of the authors' published code, which differs from the paper.

There is one bank row per (repeat, clip), overwritten at each visit, and no
semantic bank. Hard and random negatives make two separate terms. The projection
is drawn but never trained.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from sgcl_jax.contrast import base, losses, projection, sampling
from sgcl_jax.terminal import wording


@struct.dataclass
class ClipBank:
  """The latest embedding of each clip of an epoch.

  Attributes:
    rows: [Q, D] embeddings, 0 where nothing is written yet.
    labels: [Q] int32 class of the clip, -1 where nothing is written yet.
  """

  rows: jax.Array
  labels: jax.Array


@struct.dataclass
class Memory:
  """The memory of this contrast.

  Attributes:
    projection: Parameters of the projection head, which never change.
    bank: The latest embeddings.
  """

  projection: dict[str, Any]
  bank: ClipBank


class Sample(NamedTuple):
  """Bank rows drawn for N anchors.

  All masks of an anchor are false if the bank holds too few rows for it.

  Attributes:
    positives: [N, K] int32 least similar rows of the own class.
    positive_mask: [N, K] bool, which of them count.
    hard: [N, K'] int32 most similar rows of the other classes.
    hard_mask: [N, K'] bool, which of them count.
    random: [N, K''] int32 rows drawn from all rows of the other classes; a row
      may also be among the hard ones.
    random_mask: [N, K''] bool, which of them count.
  """

  positives: jax.Array
  positive_mask: jax.Array
  hard: jax.Array
  hard_mask: jax.Array
  random: jax.Array
  random_mask: jax.Array


def make(
  *,
  num_classes: int,
  temperature: float,
  features: int = 256,
  draws: sampling.Draws = sampling.PAPER_DRAWS,
  cold_start: str = "skip",
) -> base.Contrast:
  """Builds the contrast; for the arguments see `paper.make`.

  Returns:
    A contrast with one term, `instance`, in which every positive makes two
    pairs. Its `init` needs `num_rows`, and its batches need an `index`.
  """
  assert not draws.num_random_positives, draws
  head = projection.ProjectionHead(num_classes, features)

  def init(key, outputs, num_rows=None):
    params, width = projection.init(head, key, outputs.graph)
    return {}, Memory(params, init_bank(num_rows, width))

  def apply(params, memory, outputs, batch, keys, gather=base.keep):
    del params
    anchors = head.apply({"params": memory.projection}, outputs.graph)
    bank = update_bank(
      memory.bank,
      gather(lax.stop_gradient(anchors)),
      gather(batch["label"]),
      gather(batch["index"]),
    )
    sums = instance_loss(
      anchors, batch["label"], bank, keys, temperature, draws, cold_start
    )
    terms, logged = losses.report({"instance": sums})
    written = jnp.sum(bank.labels >= 0, dtype=float)
    logged["bank_fill"] = written, jnp.asarray(bank.labels.size, float)
    return base.Outcome(terms, memory.replace(bank=bank), logged)

  def check_data(drawn, class_names):
    if cold_start == "partial":
      return
    base.check_rows(
      drawn,
      drawn.rows,
      class_names,
      positives=draws.num_hard_positives,
      negatives=max(draws.num_hard_negatives, draws.num_random_negatives),
      limit=f" and repeated {wording.count(drawn.repeats, 'time')} in an epoch",
      asked=str(draws),
    )

  return base.Contrast(init, apply, check_data)


def init_bank(num_rows: int, features: int) -> ClipBank:
  """Returns an empty bank of Q rows, width D."""
  return ClipBank(
    rows=jnp.zeros((num_rows, features)),
    labels=jnp.full((num_rows,), -1, jnp.int32),
  )


def update_bank(
  bank: ClipBank, embeddings: jax.Array, labels: jax.Array, index: jax.Array
) -> ClipBank:
  """Overwrites the rows of a batch.

  Args:
    bank: State before the step.
    embeddings: [N, D]. No gradient flows into the bank.
    labels: [N] classes.
    index: [N] rows, all different.

  Returns:
    The state after the step.
  """
  values = lax.stop_gradient(embeddings).astype(bank.rows.dtype)
  return ClipBank(
    rows=bank.rows.at[index].set(values, unique_indices=True),
    labels=bank.labels.at[index].set(
      labels.astype(jnp.int32), unique_indices=True
    ),
  )


def instance_loss(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: ClipBank,
  keys: jax.Array,
  temperature: float,
  draws: sampling.Draws,
  cold_start: str = "skip",
) -> losses.Sums:
  """Contrasts each clip with its drawn rows, hard and random ones separately.

  Args:
    embeddings: [N, D] anchors of any length; only they get a gradient.
    labels: [N] classes.
    bank: The bank, the batch already written.
    keys: [N] PRNG keys, one per anchor.
    temperature: tau.
    draws: Number of rows of each kind.
    cold_start: `skip` or `partial`, see `sample`.

  Returns:
    Sums and counts; every positive makes two pairs.
  """
  rows = lax.stop_gradient(bank.rows)
  similarity = projection.normalize(embeddings.astype(rows.dtype)) @ rows.T
  drawn = sample(
    lax.stop_gradient(similarity), labels, bank, keys, draws, cold_start
  )
  positive_mask = drawn.positive_mask
  positive = losses.take_columns(similarity, drawn.positives, positive_mask)
  # Gather the two kinds separately: a row may be in both, and the columns of
  # one `take_columns` have to be distinct.
  masks = drawn.hard_mask, drawn.random_mask
  sides = [
    losses.take_columns(similarity, columns, mask)
    for columns, mask in zip((drawn.hard, drawn.random), masks, strict=True)
  ]
  terms = [
    losses.info_nce(positive, side, positive_mask, mask, temperature)
    for side, mask in zip(sides, masks, strict=True)
  ]
  return losses.Sums(
    sum(total for total, _ in terms),
    sum(count for _, count in terms),
    losses.summarize(
      positive,
      jnp.concatenate(sides, axis=1),
      positive_mask,
      jnp.concatenate(masks, axis=1),
    ),
  )


def sample(
  similarity: jax.Array,
  labels: jax.Array,
  bank: ClipBank,
  keys: jax.Array,
  draws: sampling.Draws,
  cold_start: str = "skip",
) -> Sample:
  """Draws the rows of each anchor.

  Args:
    similarity: [N, Q] of anchors and bank rows, without gradient.
    labels: [N] classes.
    bank: The bank, the batch already written.
    keys: [N] PRNG keys, one per anchor.
    draws: Number of rows of each kind.
    cold_start: `skip` leaves an anchor out until the bank holds K_H+ rows of
      its class and max(K_H-, K_R-) rows of the other classes; `partial` uses
      the rows that the bank holds.

  Raises:
    ValueError: If `cold_start` is unknown.
  """
  own = labels[:, None] == bank.labels
  others = ~own & (bank.labels >= 0)
  min_positives = min_negatives = 1
  if sampling.needs_all(cold_start):
    min_positives = draws.num_hard_positives
    min_negatives = max(draws.num_hard_negatives, draws.num_random_negatives)
  active = (own.sum(1) >= min_positives) & (others.sum(1) >= min_negatives)
  own, others = own & active[:, None], others & active[:, None]
  return Sample(
    *sampling.top_k(-similarity, own, draws.num_hard_positives),
    *sampling.top_k(similarity, others, draws.num_hard_negatives),
    *sampling.draw(keys, others, draws.num_random_negatives),
  )
