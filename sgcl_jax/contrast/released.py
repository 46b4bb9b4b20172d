# SPDX-License-Identifier: Apache-2.0
"""The contrast of the authors' published code, which is not quite the paper's.

One bank row per (repeat, clip), overwritten at each visit; no semantic bank;
the hard and the random negatives in two terms of their own.
"""

import flax
import jax
import jax.numpy as jnp

from sgcl_jax.contrast import losses, projection, sampling


@flax.struct.dataclass
class ClipBank:
  """The latest embedding of each clip of an epoch.

  Attributes:
    rows: [Q, D] embeddings, 0 where nothing was written.
    labels: [Q] int32 class of the clip, -1 where nothing was written.
  """

  rows: jax.Array
  labels: jax.Array


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
  values = jax.lax.stop_gradient(embeddings).astype(bank.rows.dtype)
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
  *,
  temperature: float,
  num_hard_positives: int,
  num_hard_negatives: int,
  num_random_negatives: int,
  num_random_positives: int = 0,
  cold_start: str = "skip",
) -> losses.Contrast:
  """Contrasts each clip with drawn rows, hard and random ones apart.

  An anchor counts once the bank holds `num_hard_positives` rows of its class
  and of all others as many as either kind of negatives needs. The random
  negatives are drawn from all, so some may be hard ones too.

  Args:
    embeddings: [N, D] anchors of unit length; the gradient flows to them alone.
    labels: [N] classes.
    bank: The bank, the batch already written.
    keys: [N] PRNG keys, one per anchor.
    temperature: T.
    num_hard_positives: Least similar rows of the own class, K.
    num_hard_negatives: Most similar rows of the others.
    num_random_negatives: Rows of the others drawn without replacement.
    num_random_positives: None.
    cold_start: "skip" or "partial", as for `sampling.sample`.

  Returns:
    Sums and counts; every positive makes two pairs.
  """
  assert not num_random_positives, num_random_positives
  rows = jax.lax.stop_gradient(bank.rows)
  similarity = projection.normalize(embeddings.astype(rows.dtype)) @ rows.T
  filled = bank.labels >= 0
  own = labels[:, None] == bank.labels
  others = ~own & filled
  at_least = (
    (num_hard_positives, max(num_hard_negatives, num_random_negatives))
    if sampling.needs_all(cold_start)
    else (1, 1)
  )
  active = (own.sum(1) >= at_least[0]) & (others.sum(1) >= at_least[1])
  own, others = own & active[:, None], others & active[:, None]

  scores = jax.lax.stop_gradient(similarity)
  positives, positive_mask = sampling.top_k(-scores, own, num_hard_positives)
  hard, hard_mask = sampling.top_k(scores, others, num_hard_negatives)
  drawn, drawn_mask = sampling.draw(keys, others, num_random_negatives)
  sample = sampling.Sample(
    positives=positives,
    positive_mask=positive_mask,
    negatives=jnp.concatenate([hard, drawn], axis=1),
    negative_mask=jnp.concatenate([hard_mask, drawn_mask], axis=1),
    active=active,
  )
  positive = losses.gather(similarity, positives, positive_mask)
  # Each kind by itself: a row may be of both, and the columns of one `gather`
  # have to be distinct.
  masks = hard_mask, drawn_mask
  sides = [
    losses.gather(similarity, columns, mask)
    for columns, mask in zip((hard, drawn), masks, strict=True)
  ]
  terms = [
    losses.info_nce(positive, side, positive_mask, mask, temperature)
    for side, mask in zip(sides, masks, strict=True)
  ]
  return losses.Contrast(
    sum(total for total, _ in terms),
    sum(count for _, count in terms),
    losses.summarize(
      positive,
      jnp.concatenate(sides, axis=1),
      sample.positive_mask,
      sample.negative_mask,
    ),
    sample,
  )
