# SPDX-License-Identifier: Apache-2.0
"""The draws, the rows they come from, and when an anchor is active."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.contrast import banks, sampling

FILL = [5, 2, 0, 7, 4]
SIZE = 7
LABELS = np.array([3, 1, 0, 2, 4, 3])
jit_sample = jax.jit(sampling.sample, static_argnames=("draws", "cold_start"))


def make_bank(fill, size):
  return banks.init_instance_bank(len(fill), size, 2).replace(
    num_filled=jnp.asarray(fill, jnp.int32)
  )


def make_similarity(seed=0):
  rng = np.random.default_rng(seed)
  similarity = rng.uniform(-1, 1, (len(LABELS), len(FILL) * SIZE))
  return similarity.astype(np.float32)


def draw(
  *counts,
  num_random_positives=0,
  fill=FILL,
  labels=LABELS,
  similarity=None,
  **options,
):
  if similarity is None:
    similarity = make_similarity()
  return jit_sample(
    jnp.asarray(similarity),
    make_bank(fill, similarity.shape[1] // len(fill)),
    jnp.asarray(labels),
    jax.random.split(jax.random.key(0), len(labels)),
    sampling.Draws(*counts, num_random_positives),
    **options,
  )


def valid_rows(label, fill=FILL, size=SIZE):
  """Returns the filled rows of a class, and of all others, in order."""
  filled = [[c * size + p for p in range(num)] for c, num in enumerate(fill)]
  others = [row for c in range(len(fill)) if c != label for row in filled[c]]
  return np.array(filled[label], int), np.array(others, int)


# Fewer than the filled rows, exactly as many, and more than P or L*P.
@pytest.mark.parametrize(
  ("counts", "num_random"),
  [((2, 4, 5), 0), ((0, 4, 5), 3), ((7, 11, 0), 7), ((9, 40, 50), 9)],
)
def test_draws_are_the_hardest_and_disjoint(counts, num_random):
  similarity = make_similarity()
  sample = draw(*counts, cold_start="partial", num_random_positives=num_random)
  for n, label in enumerate(LABELS):
    own, others = valid_rows(label)
    assert bool(sample.negative_mask[n].any()) == (len(own) > 0)
    positives = np.asarray(sample.positives[n])[sample.positive_mask[n]]
    negatives = np.asarray(sample.negatives[n])[sample.negative_mask[n]]
    if not len(own):
      assert not len(positives) and not len(negatives)
      continue
    hardest = own[np.argsort(similarity[n, own], kind="stable")]
    hard, drawn = positives[: counts[0]], positives[counts[0] :]
    np.testing.assert_array_equal(hard, hardest[: counts[0]])
    left = hardest[counts[0] :]
    assert len(drawn) == min(num_random, len(left))
    assert len(set(drawn)) == len(drawn) and set(drawn) <= set(left)
    hardest = others[np.argsort(-similarity[n, others], kind="stable")]
    hard = hardest[: counts[1]]
    np.testing.assert_array_equal(negatives[: len(hard)], hard)
    drawn = negatives[len(hard) :]
    assert len(drawn) == min(counts[2], len(others) - len(hard))
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(hardest[counts[1] :])


def test_shapes_are_clamped_and_int32():
  sample = draw(9, 3, 50, cold_start="partial")
  assert sample.positives.shape == sample.positive_mask.shape == (6, 7)
  assert sample.negatives.shape == sample.negative_mask.shape == (6, 38)
  assert sample.positives.dtype == sample.negatives.dtype == jnp.int32


@pytest.mark.parametrize("kind", ["positives", "negatives"])
def test_random_draw_is_uniform(kind):
  """All rows, and all pairs of rows, are equally frequent (chi-square)."""
  num_draws, num = 4000, 3
  bank, labels = make_bank(FILL, SIZE), np.full(num_draws, 3)
  allowed = dict(zip(("positives", "negatives"), valid_rows(3), strict=True))
  taken = allowed[kind][::5]
  left = np.setdiff1d(allowed[kind], taken)
  rows, mask = getattr(sampling, f"random_{kind}")(
    jax.random.split(jax.random.key(7), num_draws),
    bank,
    jnp.asarray(labels),
    num,
    taken=jnp.broadcast_to(taken, (num_draws, len(taken))),
  )
  assert np.all(mask)
  chosen = (np.asarray(rows)[:, :, None] == left).any(axis=1)  # [draws, left]
  assert chosen.sum() == num_draws * num, "a double, or a row not allowed"

  m = len(left)
  counts = chosen.sum(axis=0)
  rate = num / m
  # Without replacement the counts vary less: mean m - 1 after this scaling.
  spread = num_draws * rate * (1 - rate) * m / (m - 1)
  statistic = np.sum((counts - num_draws * rate) ** 2) / spread
  assert 0.05 * m < statistic < 3.5 * m, statistic
  pairs = (chosen.T.astype(int) @ chosen)[np.triu_indices(m, 1)]
  expected = num_draws * num * (num - 1) / (m * (m - 1))
  np.testing.assert_allclose(pairs, expected, atol=5 * np.sqrt(expected))


def test_random_draw_depends_on_the_anchors_own_key_alone():
  keys = jax.random.split(jax.random.key(0), 6)
  bank, none = make_bank(FILL, SIZE), np.zeros((6, 0), int)
  rows, _ = sampling.random_negatives(keys, bank, LABELS, 4, none)
  one, _ = sampling.random_negatives(keys[4:5], bank, LABELS[4:5], 4, none[4:5])
  np.testing.assert_array_equal(one[0], rows[4])
  assert not np.array_equal(rows[0], rows[5])  # same class, another key


@pytest.mark.parametrize(
  "fill, counts, active",
  [
    # Exactly K_H+ rows of its own class 0 and K_H- + K_R- of the others.
    ([4, 5, 5], (4, 6, 4), True),
    # One fewer of the own, one fewer of the others.
    ([3, 5, 5], (4, 6, 4), False),
    ([5, 4, 5], (4, 6, 4), False),
    # More than P rows can never be held.
    ([5, 5, 5], (6, 1, 1), False),
  ],
)
def test_cold_start_limits(fill, counts, active):
  similarity = np.linspace(-1, 1, 15, dtype=np.float32)[None]
  arguments = {
    "fill": fill,
    "labels": np.array([0]),
    "similarity": similarity,
  }
  sample = draw(*counts, **arguments)
  assert bool(np.all(sample.positive_mask)) is active
  assert bool(np.all(sample.negative_mask)) is active
  assert active or not np.any(
    sample.positive_mask | sample.negative_mask[:, :1]
  )
  partial = draw(*counts, **arguments, cold_start="partial")
  assert np.any(partial.positive_mask) and np.any(partial.negative_mask)


@pytest.mark.parametrize("fill", [[0, 5, 5], [5, 0, 0], [0, 0, 0]])
def test_partial_needs_a_positive_and_a_negative(fill):
  sample = draw(
    2,
    2,
    2,
    fill=fill,
    labels=np.array([0]),
    similarity=np.zeros((1, 15), np.float32),
    cold_start="partial",
  )
  assert not np.any(sample.positive_mask) and not np.any(sample.negative_mask)


def test_a_label_that_is_no_class_is_never_active():
  sample = draw(
    1,
    1,
    1,
    labels=np.array([-1, 5]),
    similarity=make_similarity()[:2],
    cold_start="partial",
  )
  assert not np.any(sample.positive_mask) and not np.any(sample.negative_mask)


def test_unknown_cold_start_is_refused():
  with pytest.raises(ValueError, match="wait"):
    draw(1, 1, 1, cold_start="wait")


@pytest.mark.parametrize("case", ["a", "b", "paper_size"])
def test_golden_hard_draws(golden, x64, case):
  del x64
  data = golden("D_paper_oracle.npz")
  bank = data[f"nce_{case}/bank"]
  labels = data[f"nce_{case}/labels"]
  num_positives = int(data[f"nce_{case}/K_H_pos"])
  num_negatives = int(data[f"nce_{case}/K_H_neg"])
  sample = draw(
    num_positives,
    num_negatives,
    3,
    fill=data[f"nce_{case}/count"],
    labels=labels,
    similarity=data[f"nce_{case}/sim"],
    cold_start="partial",
  )
  assert sample.positives.shape[1] <= bank.shape[1]
  np.testing.assert_array_equal(
    sample.positives, data[f"nce_{case}/hard_pos_idx"]
  )
  np.testing.assert_array_equal(
    sample.negatives[:, :num_negatives], data[f"nce_{case}/hard_neg_idx"]
  )
