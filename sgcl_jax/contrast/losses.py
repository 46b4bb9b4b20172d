# SPDX-License-Identifier: Apache-2.0
"""The contrastive losses as (sum, count) (paper Sec. 3.3, Eqs. 3, 5, 6)."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sgcl_jax.contrast import banks, base, projection, sampling

# (similarities [N, K] of the positives, [N, K'] of the negatives, their masks)
# -> (sum [] over the pairs or anchors that count, their number []).
PairLoss = Callable[..., tuple[jax.Array, jax.Array]]


class Sums(NamedTuple):
  """Sums over N contrasted anchors.

  Attributes:
    loss_sum: [] sum of the loss over the (anchor, positive) pairs that count;
      for the triplet loss, over the anchors.
    num_pairs: [] their number, a float.
    diagnostics: Sums to log, see `summarize`.
  """

  loss_sum: jax.Array
  num_pairs: jax.Array
  diagnostics: dict[str, jax.Array]


def make_pair_loss(name: str, temperature: float, margin: float) -> PairLoss:
  """Returns the loss of a pair.

  Args:
    name: `infonce` or `triplet`.
    temperature: tau of InfoNCE.
    margin: Margin of the triplet loss.
  """
  if name == "triplet":
    return functools.partial(triplet, margin=margin)
  assert name == "infonce", name
  return functools.partial(info_nce, temperature=temperature)


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
    negative_similarity: [N, K']; each positive is compared with all of them.
    positive_mask: [N, K] bool.
    negative_mask: [N, K'] bool. Pairs of an anchor without negatives do not
      count.
    temperature: tau.

  Returns:
    sum [] over the pairs that count, and their count [] as a float.
  """
  positive = positive_similarity / temperature
  negative = negative_similarity / temperature
  any_negative = jnp.any(negative_mask, axis=1, keepdims=True)
  pairs = positive_mask & any_negative

  # Mask on both sides of exp and log: one side alone gives NaN gradients.
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


def triplet(
  positive_similarity: jax.Array,
  negative_similarity: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  margin: float,
) -> tuple[jax.Array, jax.Array]:
  """Sums one triplet term per anchor, for its hardest pair (Tab. 7).

  `max(0, |v - v+|^2 - |v - v-|^2 + margin)` with unit vectors, whose squared
  distance is 2 - 2 * similarity. The paper does not say which form it uses.

  Args:
    positive_similarity: [N, K].
    negative_similarity: [N, K'].
    positive_mask: [N, K] bool.
    negative_mask: [N, K'] bool. An anchor without both kinds does not count.
    margin: How much farther away the negative has to be, in squared distance.

  Returns:
    sum [] over the anchors that count, and their count [] as a float.
  """
  counts = jnp.any(positive_mask, axis=1) & jnp.any(negative_mask, axis=1)
  positive = jnp.min(
    positive_similarity, axis=1, initial=jnp.inf, where=positive_mask
  )
  negative = jnp.max(
    negative_similarity, axis=1, initial=-jnp.inf, where=negative_mask
  )
  difference = jnp.where(counts, negative, 0) - jnp.where(counts, positive, 0)
  terms = jnp.where(counts, jnp.maximum(2 * difference + margin, 0), 0)
  return jnp.sum(terms), jnp.sum(counts, dtype=terms.dtype)


def instance_loss(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: banks.InstanceBank,
  keys: jax.Array,
  pair_loss: PairLoss,
  draws: sampling.Draws,
  cold_start: str = "skip",
) -> Sums:
  """Contrasts each clip with drawn rows of the instance bank (Eq. 5).

  With InfoNCE, `loss_sum / num_pairs` over the global batch is the mean over
  pairs, as in the released code. A departure from Eq. 5, which sums over the
  positives: the term would weigh K_H+ times more against the others.

  Args:
    embeddings: [N, D] anchors of any length; only they get a gradient.
    labels: [N] classes.
    bank: The instance bank, the batch already written.
    keys: [N] PRNG keys, one per anchor.
    pair_loss: Returned by `make_pair_loss`.
    draws: Number of rows of each kind.
    cold_start: `skip` or `partial`, see `sampling.sample`.
  """
  similarity = bank_similarity(embeddings, bank)
  chosen = sampling.sample(
    jax.lax.stop_gradient(similarity),
    bank,
    labels,
    keys,
    draws,
    cold_start,
  )
  positive = take_columns(similarity, chosen.positives, chosen.positive_mask)
  negative = take_columns(similarity, chosen.negatives, chosen.negative_mask)
  sides = positive, negative, chosen.positive_mask, chosen.negative_mask
  return Sums(*pair_loss(*sides), summarize(*sides))


def summarize(
  positive: jax.Array,
  negative: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
) -> dict[str, jax.Array]:
  """Returns sums to log, each [], without gradient.

  Args:
    positive: [N, K] similarities, cosines before the temperature.
    negative: [N, K'].
    positive_mask: [N, K] bool.
    negative_mask: [N, K'] bool.

  Returns:
    `num_anchors`; `num_active`, the anchors with a positive and a negative;
    `positive_similarity_sum` and `num_positives`; `negative_similarity_sum` and
    `num_negatives`.
  """
  dtype = positive.dtype
  active = jnp.any(positive_mask, axis=1) & jnp.any(negative_mask, axis=1)
  sums = {
    "num_anchors": jnp.array(len(positive), dtype),
    "num_active": jnp.sum(active, dtype=dtype),
    "positive_similarity_sum": jnp.sum(jnp.where(positive_mask, positive, 0)),
    "num_positives": jnp.sum(positive_mask, dtype=dtype),
    "negative_similarity_sum": jnp.sum(jnp.where(negative_mask, negative, 0)),
    "num_negatives": jnp.sum(negative_mask, dtype=dtype),
  }
  return jax.lax.stop_gradient(sums)


def report(
  sums: Mapping[str, Sums],
) -> tuple[dict[str, base.Mean], dict[str, base.Mean]]:
  """Returns the terms of the loss and the values to log, as (sum, count).

  Args:
    sums: Sums by the term's name. Only the diagnostics of the first term are
      logged. `paper` puts the instance term first, because it shows more than
      the semantic one.
  """
  terms = {name: (each.loss_sum, each.num_pairs) for name, each in sums.items()}
  found = next(iter(sums.values())).diagnostics
  logged = {"active_anchors": (found["num_active"], found["num_anchors"])}
  for kind in ("positive", "negative"):
    total = found[f"{kind}_similarity_sum"]
    logged[f"{kind}_similarity"] = total, found[f"num_{kind}s"]
  return terms, logged


def semantic_loss(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: banks.SemanticBank,
  pair_loss: PairLoss,
) -> Sums:
  """Contrasts each clip with the class means of the semantic bank (Eq. 6).

  The positive is the row of the anchor's class, the negatives are all other
  seen rows. An anchor without a positive or a negative does not count.

  Args:
    embeddings: [N, D] anchors of any length; only they get a gradient.
    labels: [N] classes.
    bank: The semantic bank, the batch already written.
    pair_loss: Returned by `make_pair_loss`.
  """
  rows = jax.lax.stop_gradient(bank.rows)
  anchors = _normalize_anchors(embeddings, rows)
  similarity = anchors @ projection.normalize(rows).T  # [N, L]
  own = labels[:, None] == jnp.arange(rows.shape[0])  # [N, L]
  positive = jnp.sum(jnp.where(own, similarity, 0), axis=1, keepdims=True)
  has_positive = jnp.any(own & bank.seen, axis=1, keepdims=True)
  sides = positive, similarity, has_positive, ~own & bank.seen
  return Sums(*pair_loss(*sides), summarize(*sides))


def batch_loss(
  embeddings: jax.Array, labels: jax.Array, pair_loss: PairLoss
) -> Sums:
  """Contrasts each clip with all others of the batch, without banks (Tab. 3).

  An anchor without a positive or a negative does not count.

  Args:
    embeddings: [N, D] of the global batch, of any length; the gradient flows to
      both sides.
    labels: [N] classes.
    pair_loss: Returned by `make_pair_loss`.
  """
  v = projection.normalize(embeddings)
  similarity = v @ v.T
  same = labels[:, None] == labels
  others = same & ~jnp.eye(len(labels), dtype=bool)
  sides = similarity, similarity, others, ~same
  return Sums(*pair_loss(*sides), summarize(*sides))


def bank_similarity(
  embeddings: jax.Array, bank: banks.InstanceBank
) -> jax.Array:
  """Returns the cosines [N, L*P] of anchors and rows, 0 for unfilled rows.

  The columns of the product are scaled, not the rows of the bank: a normalised
  bank would be a copy of tens of megabytes in each step.

  Args:
    embeddings: [N, D] anchors of any length; only they get a gradient.
    bank: The instance bank.
  """
  rows = jax.lax.stop_gradient(bank.rows)
  size = banks.rows_per_class(bank)
  filled = (jnp.arange(size) < bank.num_filled[:, None]).reshape(-1)  # [L*P]
  scale = jnp.where(filled, projection.inverse_norm(rows), 0)
  anchors = _normalize_anchors(embeddings, rows)
  return jnp.einsum("nd,qd->nq", anchors, rows) * scale


def _normalize_anchors(embeddings, rows):
  # Cast bfloat16 anchors up to the bank's type before the first sum.
  dtype = jnp.promote_types(embeddings.dtype, rows.dtype)
  return projection.normalize(embeddings.astype(dtype))


def take_columns(
  similarity: jax.Array, columns: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns the chosen similarities [N, K], 0 where the mask is false.

  Masked entries get distinct columns beyond the end. So all columns are
  distinct, and the gradient is a scatter without conflicts: it has the same
  bits in every run.

  Args:
    similarity: [N, Q].
    columns: [N, K] int32, distinct for each anchor where the mask is true.
    mask: [N, K] bool.
  """
  n, num = columns.shape
  beyond = similarity.shape[1] + jnp.arange(num, dtype=columns.dtype)
  columns = jnp.where(mask, columns, beyond)
  return similarity.at[jnp.arange(n)[:, None], columns].get(
    mode="fill", fill_value=0, unique_indices=True
  )
