# SPDX-License-Identifier: Apache-2.0
"""The contrastive losses as (sum, count) (paper Sec. 3.3, Eqs. 3, 5 and 6)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sgcl_jax.contrast import memory, projection, sampling


class InstanceLoss(NamedTuple):
  """What the instance level contrast of N anchors gives.

  Attributes:
    loss_sum: [] summed over (anchor, positive) pairs.
    num_pairs: [] how many pairs, a float.
    sample: The bank rows that were drawn.
    diagnostics: Sums to log, each [], without gradient: `num_active`,
      `positive_similarity_sum`, `num_positives`, `negative_similarity_sum`,
      `num_negatives`; similarities are cosines, before the temperature.
  """

  loss_sum: jax.Array
  num_pairs: jax.Array
  sample: sampling.Sample
  diagnostics: dict[str, jax.Array]


def info_nce(
  positive_similarity: jax.Array,
  negative_similarity: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  temperature: float,
) -> tuple[jax.Array, jax.Array]:
  """Sums one InfoNCE term per (anchor, positive) pair.

  `-log(e+ / (e+ + sum of e-))` with `e = exp(similarity / temperature)`. The
  paper's Eqs. 3, 5 and 6 print no exponential; the released code has it.

  Args:
    positive_similarity: [N, K].
    negative_similarity: [N, K']; all of them are set against each positive.
    positive_mask: [N, K] bool.
    negative_mask: [N, K'] bool. Without any, the anchor's pairs do not count.
    temperature: tau.

  Returns:
    sum [] over the pairs that count, and their count [] as a float.
  """
  positive = positive_similarity / temperature
  negative = negative_similarity / temperature
  any_negative = jnp.any(negative_mask, axis=1, keepdims=True)
  pairs = positive_mask & any_negative

  # Masked on both sides of exp and log: one side alone gives NaN gradients.
  peak = jnp.max(
    negative, axis=1, keepdims=True, initial=-jnp.inf, where=negative_mask
  )
  peak = jax.lax.stop_gradient(jnp.where(any_negative, peak, 0))
  shifted = jnp.where(negative_mask, negative - peak, 0)
  total = jnp.sum(
    jnp.where(negative_mask, jnp.exp(shifted), 0), axis=1, keepdims=True
  )
  log_negatives = peak + jnp.log(jnp.where(any_negative, total, 1))  # [N, 1]
  # -log(e+ / (e+ + e-)) = log(1 + e- / e+), without cancellation.
  margin = jnp.where(pairs, log_negatives - positive, 0)
  terms = jnp.where(pairs, jnp.logaddexp(margin, 0), 0)
  return jnp.sum(terms), jnp.sum(pairs, dtype=terms.dtype)


def instance_loss(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: memory.InstanceBank,
  keys: jax.Array,
  *,
  temperature: float,
  num_hard_positives: int,
  num_hard_negatives: int,
  num_random_negatives: int,
  cold_start: str = "skip",
) -> InstanceLoss:
  """Contrasts each clip with drawn rows of the instance bank (Eq. 5).

  Divided by `num_pairs` over the global batch this is the mean over pairs, as
  released; Eq. 5 sums over the positives, which would weigh the term K_H+
  times heavier against the others.

  Args:
    embeddings: [N, D] anchors of any length; the gradient flows to them alone.
    labels: [N] classes.
    bank: The instance bank, the batch already written.
    keys: [N] PRNG keys, one per anchor.
    temperature: tau.
    num_hard_positives: K_H+.
    num_hard_negatives: K_H-.
    num_random_negatives: K_R-.
    cold_start: "skip" or "partial", see `sampling.sample`.

  Returns:
    Sums and counts, see `InstanceLoss`.
  """
  similarity = bank_similarity(embeddings, bank)
  chosen = sampling.sample(
    jax.lax.stop_gradient(similarity),
    bank,
    labels,
    keys,
    num_hard_positives=num_hard_positives,
    num_hard_negatives=num_hard_negatives,
    num_random_negatives=num_random_negatives,
    cold_start=cold_start,
  )
  positive = gather(similarity, chosen.positives, chosen.positive_mask)
  negative = gather(similarity, chosen.negatives, chosen.negative_mask)
  loss_sum, num_pairs = info_nce(
    positive,
    negative,
    chosen.positive_mask,
    chosen.negative_mask,
    temperature,
  )
  return InstanceLoss(
    loss_sum, num_pairs, chosen, summarize(chosen, positive, negative)
  )


def summarize(
  sample: sampling.Sample, positive: jax.Array, negative: jax.Array
) -> dict[str, jax.Array]:
  """Returns the diagnostics of `InstanceLoss`.

  Args:
    sample: The rows that were drawn.
    positive: [N, K] their similarities, 0 where masked.
    negative: [N, K'].
  """
  dtype = positive.dtype
  sums = {
    "num_active": jnp.sum(sample.active, dtype=dtype),
    "positive_similarity_sum": jnp.sum(positive),
    "num_positives": jnp.sum(sample.positive_mask, dtype=dtype),
    "negative_similarity_sum": jnp.sum(negative),
    "num_negatives": jnp.sum(sample.negative_mask, dtype=dtype),
  }
  return jax.lax.stop_gradient(sums)


def semantic_loss(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: memory.SemanticBank,
  *,
  temperature: float,
) -> tuple[jax.Array, jax.Array]:
  """Contrasts each clip with the class means of the semantic bank (Eq. 6).

  The positive is the row of the own class, the negatives are all other seen
  rows. An anchor without the one or the other does not count.

  Args:
    embeddings: [N, D] anchors of any length; the gradient flows to them alone.
    labels: [N] classes.
    bank: The semantic bank, the batch already written.
    temperature: tau.

  Returns:
    sum [] over the anchors that count, and their count [] as a float.
  """
  rows = jax.lax.stop_gradient(bank.rows)
  anchors = _normalize_anchors(embeddings, rows)
  similarity = anchors @ projection.normalize(rows).T  # [N, L]
  own = labels[:, None] == jnp.arange(rows.shape[0])  # [N, L]
  positive = jnp.sum(jnp.where(own, similarity, 0), axis=1, keepdims=True)
  has_positive = jnp.any(own & bank.seen, axis=1, keepdims=True)
  return info_nce(
    positive, similarity, has_positive, ~own & bank.seen, temperature
  )


def bank_similarity(
  embeddings: jax.Array, bank: memory.InstanceBank
) -> jax.Array:
  """Returns the cosines [N, L*P] of anchors [N, D] and rows, 0 where unfilled.

  The rows are normalised through the columns of the result: a normalised bank
  would be a copy of tens of megabytes in each step.
  """
  rows = jax.lax.stop_gradient(bank.rows)
  size = memory.rows_per_class(bank)
  filled = (jnp.arange(size) < bank.fill[:, None]).reshape(-1)  # [L*P]
  scale = jnp.where(filled, projection.inverse_norm(rows), 0)
  return (_normalize_anchors(embeddings, rows) @ rows.T) * scale


def _normalize_anchors(embeddings, rows):
  # bfloat16 anchors are cast up to the bank's type before anything is summed.
  dtype = jnp.promote_types(embeddings.dtype, rows.dtype)
  return projection.normalize(embeddings.astype(dtype))


def gather(
  similarity: jax.Array, columns: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns similarity[n, columns[n]], [N, K], where `mask`, else 0.

  The masked entries get distinct columns beyond the end, so all are distinct
  and the gradient is a scatter without conflicts: same bits in every run.
  """
  n, num = columns.shape
  beyond = similarity.shape[1] + jnp.arange(num, dtype=columns.dtype)
  columns = jnp.where(mask, columns, beyond)
  return similarity.at[jnp.arange(n)[:, None], columns].get(
    mode="fill", fill_value=0, unique_indices=True
  )
