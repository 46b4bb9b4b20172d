# SPDX-License-Identifier: Apache-2.0
"""The losses against plain loops, finite differences and golden D."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.contrast import banks, losses, sampling
from tests import reference

DRAWS = sampling.Draws(3, 4, 5)
INFO_NCE = functools.partial(losses.info_nce, temperature=0.5)
TRIPLET = functools.partial(losses.triplet, margin=0.2)
instance_loss = jax.jit(
  losses.instance_loss, static_argnames=("pair_loss", "cold_start", "draws")
)


def unit(v):
  return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-6)


def loop_info_nce(positive, negative, positive_mask, negative_mask, tau):
  total, count = 0.0, 0
  for n in range(len(positive)):
    against = sum(
      math.exp(s / tau) for s in negative[n][np.asarray(negative_mask[n])]
    )
    if not np.any(negative_mask[n]):
      continue
    for s in positive[n][np.asarray(positive_mask[n])]:
      total -= math.log(math.exp(s / tau) / (math.exp(s / tau) + against))
      count += 1
  return total, count


def make_problem(fill=(6, 6, 6, 6), n=7, seed=0, dtype=np.float32, size=6):
  """Returns anchors, labels, a bank of rows of any length, and keys."""
  rng = np.random.default_rng(seed)
  rows = rng.normal(size=(len(fill), size, 5))
  rows[np.arange(size) >= np.array(fill)[:, None]] = 0
  bank = banks.InstanceBank(
    rows=jnp.asarray(rows.reshape(-1, 5), dtype),
    cursor=jnp.asarray(np.array(fill) % size, jnp.int32),
    num_filled=jnp.asarray(fill, jnp.int32),
  )
  embeddings = jnp.asarray(rng.normal(size=(n, 5)), dtype)
  labels = jnp.asarray(rng.integers(0, len(fill), n), jnp.int32)
  return embeddings, labels, bank, jax.random.split(jax.random.key(seed), n)


def mean_instance_loss(embeddings, labels, bank, keys, **options):
  options = {"pair_loss": INFO_NCE, "draws": DRAWS, **options}
  result = instance_loss(embeddings, labels, bank, keys, **options)
  return result.loss_sum / jnp.maximum(result.num_pairs, 1), result


grad_instance_loss = jax.jit(
  jax.grad(mean_instance_loss, has_aux=True),
  static_argnames=("pair_loss", "cold_start", "draws"),
)


def check_gradient(function, x, rtol):
  """Compares the gradient with central differences in every entry."""
  gradient = np.asarray(jax.jit(jax.grad(function))(x))
  function, step = jax.jit(function), 1e-5
  expected = np.zeros(x.shape)
  for index in np.ndindex(*x.shape):
    up, down = x.at[index].add(step), x.at[index].add(-step)
    expected[index] = (function(up) - function(down)) / (2 * step)
  scale = np.abs(expected).max()
  assert scale > 0
  np.testing.assert_allclose(gradient, expected, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_info_nce_equals_a_loop(density, x64):
  del x64
  rng = np.random.default_rng(3)
  positive, negative = rng.normal(size=(8, 4)), rng.normal(size=(8, 6))
  positive_mask = rng.uniform(size=(8, 4)) < density
  negative_mask = rng.uniform(size=(8, 6)) < density
  negative_mask[:2] = False
  found = losses.info_nce(positive, negative, positive_mask, negative_mask, 0.7)
  expected = loop_info_nce(
    positive, negative, positive_mask, negative_mask, 0.7
  )
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_info_nce_ignores_masked_values_and_stays_stable():
  """Extreme similarities, garbage under the masks, rows without entries."""
  positive = jnp.array([[1.0, jnp.inf], [-1.0, 0.0], [jnp.nan, 0.0], [1, 1]])
  negative = jnp.array([[-1.0, jnp.nan], [1.0, 1.0], [0.0, 0.0], [1, 1]])
  positive_mask = jnp.array([[1, 0], [1, 0], [0, 0], [1, 1]], bool)
  negative_mask = jnp.array([[1, 0], [1, 1], [1, 1], [0, 0]], bool)

  def total(positive, negative):
    return losses.info_nce(
      positive, negative, positive_mask, negative_mask, 1e-3
    )

  value, count = total(positive, negative)
  # The first term is exp(-2000), the second 2000 + log 2.
  np.testing.assert_allclose(value, 2000 + math.log(2), rtol=1e-6)
  assert count == 2
  gradients = jax.jit(jax.grad(lambda *args: total(*args)[0], (0, 1)))(
    positive, negative
  )
  np.testing.assert_allclose(
    gradients[0], [[0, 0], [-1000, 0], [0, 0], [0, 0]], atol=1e-3
  )
  np.testing.assert_allclose(
    gradients[1], [[0, 0], [500, 500], [0, 0], [0, 0]], atol=1e-3
  )


@pytest.mark.parametrize(
  "fill, cold_start",
  [((6, 6, 6, 6), "skip"), ((6, 6, 3, 0), "skip"), ((6, 2, 0, 1), "partial")],
)
def test_instance_loss_equals_a_loop(fill, cold_start, x64):
  del x64
  problem = make_problem(fill, n=9, dtype=np.float64)
  embeddings, labels, bank, keys = problem
  _, result = mean_instance_loss(*problem, cold_start=cold_start)
  similarity = unit(np.asarray(embeddings)) @ unit(np.asarray(bank.rows)).T
  sample = sampling.sample(
    jnp.asarray(similarity), bank, labels, keys, DRAWS, cold_start
  )
  positive = np.take_along_axis(similarity, np.asarray(sample.positives), 1)
  negative = np.take_along_axis(similarity, np.asarray(sample.negatives), 1)
  masks = np.asarray(sample.positive_mask), np.asarray(sample.negative_mask)
  expected = loop_info_nce(positive, negative, *masks, 0.5)
  assert expected[1] > 0
  np.testing.assert_allclose(
    (result.loss_sum, result.num_pairs), expected, rtol=1e-12
  )
  fill, labels = np.array(fill), np.asarray(labels)
  need = (3, 9) if cold_start == "skip" else (1, 1)
  own, others = fill[labels], fill.sum() - fill[labels]
  found = {key: float(value) for key, value in result.diagnostics.items()}
  assert found == pytest.approx(
    {
      "num_anchors": 9,
      "num_active": np.sum((own >= need[0]) & (others >= need[1])),
      "positive_similarity_sum": positive[masks[0]].sum(),
      "num_positives": masks[0].sum(),
      "negative_similarity_sum": negative[masks[1]].sum(),
      "num_negatives": masks[1].sum(),
    }
  )


@pytest.mark.parametrize("pair_loss", [INFO_NCE, TRIPLET])
@pytest.mark.parametrize("cold_start", ["skip", "partial"])
@pytest.mark.parametrize("fill", [(0, 0, 0, 0), (6, 0, 0, 0), (6, 1, 2, 0)])
def test_fewer_rows_than_drawn_give_no_nan(fill, cold_start, pair_loss):
  problem = make_problem(fill)
  gradient, result = grad_instance_loss(
    *problem,
    pair_loss=pair_loss,
    cold_start=cold_start,
    draws=sampling.Draws(50, 4, 50),
  )
  assert np.isfinite(gradient).all() and np.isfinite(result.loss_sum)
  trains = cold_start == "partial" and fill[1] > 0
  assert (result.num_pairs > 0) == trains
  assert np.any(gradient != 0) == trains


def test_zero_anchors_give_no_nan():
  embeddings, *rest = make_problem()
  gradient, _ = grad_instance_loss(embeddings * 0, *rest)
  assert np.isfinite(gradient).all()


def test_gradient_flows_to_the_anchors_alone(x64):
  del x64
  embeddings, labels, bank, keys = make_problem(dtype=np.float64)

  def loss(embeddings, rows):
    return mean_instance_loss(
      embeddings, labels, bank.replace(rows=rows), keys
    )[0]

  assert not np.any(jax.grad(loss, 1)(embeddings, bank.rows))
  check_gradient(lambda v: loss(v, bank.rows), embeddings, 1e-7)


def test_loss_does_not_depend_on_lengths():
  embeddings, labels, bank, keys = make_problem()
  loss, _ = mean_instance_loss(embeddings, labels, bank, keys)
  scale = jnp.linspace(0.1, 9, bank.rows.shape[0])[:, None]
  scaled, _ = mean_instance_loss(
    embeddings * 3, labels, bank.replace(rows=bank.rows * scale), keys
  )
  np.testing.assert_allclose(loss, scaled, rtol=1e-5)


def test_bfloat16_anchors_are_cast_up():
  embeddings, *rest = make_problem()
  rounded = embeddings.astype(jnp.bfloat16)
  loss, _ = mean_instance_loss(rounded, *rest)
  expected, _ = mean_instance_loss(rounded.astype(jnp.float32), *rest)
  assert loss.dtype == jnp.float32 and loss == expected


def test_a_batch_equals_the_sum_of_its_parts():
  """With this property, R replicas of N/R clips equal one replica of N."""
  embeddings, labels, bank, keys = make_problem((6, 2, 3, 5), n=8)
  _, whole = mean_instance_loss(embeddings, labels, bank, keys)
  parts = [
    mean_instance_loss(embeddings[part], labels[part], bank, keys[part])[1]
    for part in (slice(0, 4), slice(4, 8))
  ]
  assert whole.num_pairs == sum(part.num_pairs for part in parts)
  np.testing.assert_allclose(
    whole.loss_sum, sum(part.loss_sum for part in parts), rtol=1e-5
  )


def test_backward_keeps_no_drawn_rows():
  """Gathered rows [N, K, D] would take 19 MB at these sizes, not 2."""
  _, labels, _, keys = make_problem(n=8)
  bank = banks.init_instance_bank(4, 512, 512)
  lowered = grad_instance_loss.lower(
    jnp.ones((8, 512)),
    labels,
    bank,
    keys,
    draws=sampling.PAPER_DRAWS,
  )
  used = lowered.compile().memory_analysis()
  assert used.temp_size_in_bytes < 2e6, used


@pytest.mark.parametrize("num_seen", [0, 1, 3, 5])
def test_semantic_loss_equals_a_loop(num_seen, x64):
  del x64
  rng = np.random.default_rng(5)
  rows, embeddings = rng.normal(size=(5, 4)), rng.normal(size=(9, 4))
  seen, labels = np.arange(5) < num_seen, rng.integers(0, 5, 9)
  rows[~seen] = 0
  bank = banks.SemanticBank(jnp.asarray(rows), jnp.asarray(seen))
  similarity = unit(embeddings) @ unit(rows).T
  own = labels[:, None] == np.arange(5)
  expected = loop_info_nce(similarity, similarity, own & seen, ~own & seen, 0.8)
  assert (expected[1] > 0) == (num_seen > 1)
  loss = jax.jit(
    functools.partial(
      losses.semantic_loss,
      labels=labels,
      bank=bank,
      pair_loss=functools.partial(losses.info_nce, temperature=0.8),
    )
  )
  np.testing.assert_allclose(loss(embeddings)[:2], expected, rtol=1e-12)
  if num_seen > 1:
    check_gradient(lambda v: loss(v)[0], jnp.asarray(embeddings), 1e-7)
  else:
    assert not np.any(jax.grad(lambda v: loss(v)[0])(jnp.asarray(embeddings)))


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 1, 2], [3, 3, 3], [0, 1, 2]])
def test_batch_loss_equals_a_loop(labels, x64):
  """Class 2 has no positive; a batch of one class no negatives."""
  del x64
  labels = np.array(labels)
  embeddings = np.random.default_rng(2).normal(size=(len(labels), 4))
  similarity = unit(embeddings) @ unit(embeddings).T
  same = labels[:, None] == labels
  others = same & ~np.eye(len(labels), dtype=bool)
  expected = loop_info_nce(similarity, similarity, others, ~same, 0.5)
  loss = jax.jit(lambda v: losses.batch_loss(v, jnp.asarray(labels), INFO_NCE))
  result = loss(embeddings)
  np.testing.assert_allclose(result[:2], expected, rtol=1e-12)
  active = sum(p.any() and n.any() for p, n in zip(others, ~same, strict=True))
  assert (result.diagnostics["num_active"] > 0) == (expected[1] > 0)
  assert result.diagnostics["num_active"] == active
  if active:  # The gradient flows to every clip: as an anchor and as a row.
    check_gradient(lambda v: loss(v)[0], jnp.asarray(embeddings), 1e-7)


def test_semantic_rows_carry_no_gradient():
  def loss(rows):
    bank = banks.SemanticBank(rows, jnp.ones(3, bool))
    return losses.semantic_loss(jnp.eye(3), jnp.arange(3), bank, INFO_NCE)[0]

  assert not np.any(jax.grad(loss)(jnp.ones((3, 3))))


# Tolerances of the golden README for D: losses and similarities, gradients.
@pytest.mark.parametrize(
  "dtype, loss_rel, grad_rel",
  [("float32", 1e-5, 1e-4), ("float64", 1e-10, 1e-9)],
)
@pytest.mark.parametrize("case", ["a", "b", "paper_size"])
def test_golden_losses(golden, x64, case, dtype, loss_rel, grad_rel):
  del x64
  data = golden("D_paper_oracle.npz")
  d = functools.partial(_entry, data, f"nce_{case}")
  v = jnp.asarray(d("v"), dtype)
  tau = float(d("tau"))
  instance = banks.InstanceBank(
    rows=jnp.asarray(d("bank").reshape(-1, v.shape[1]), dtype),
    cursor=jnp.zeros(d("count").shape, jnp.int32),
    num_filled=jnp.asarray(d("count"), jnp.int32),
  )
  reference.assert_close(
    losses.bank_similarity(v, instance), d("sim"), loss_rel
  )

  semantic = banks.SemanticBank(
    rows=jnp.asarray(d("sem"), dtype), seen=jnp.asarray(d("seen"))
  )

  def concat(v, positives, negatives):
    # The golden lists overlap, unlike our own draws, so plain gathers are used.
    similarity = losses.bank_similarity(v, instance)
    total, count = losses.info_nce(
      jnp.take_along_axis(similarity, positives, axis=1),
      jnp.take_along_axis(similarity, negatives, axis=1),
      jnp.ones(positives.shape, bool),
      jnp.ones(negatives.shape, bool),
      tau,
    )
    return total / count

  def class_means(v, labels):
    pair_loss = functools.partial(losses.info_nce, temperature=tau)
    total, count, *_ = losses.semantic_loss(v, labels, semantic, pair_loss)
    return total / count

  negatives = np.concatenate([d("hard_neg_idx"), d("rand_neg_idx")], axis=1)
  batch_mean = 0
  for function, arguments, loss, grad in (
    (
      concat,
      (d("hard_pos_idx"), negatives),
      "ins_concat_mean",
      "grad_v_ins_concat_mean",
    ),
    (class_means, (d("labels"),), "sem_loss", "grad_v_sem"),
  ):
    found, gradient = jax.jit(jax.value_and_grad(function))(v, *arguments)
    assert found.dtype == gradient.dtype == dtype
    reference.assert_close(gradient, d(grad), grad_rel)
    batch_mean += found
    # One anchor at a time, each a batch of its own.
    alone = [x[:, None] for x in (v, *arguments)]
    reference.assert_close(
      jax.jit(jax.vmap(function))(*alone), d(loss), loss_rel
    )
  reference.assert_close(
    batch_mean + d("ce").mean(), d("total_concat_mean"), loss_rel
  )


@pytest.mark.parametrize("case", ["a", "b", "paper_size"])
def test_golden_triplets(golden, case, x64):
  """Compares one anchor at a time: its hardest pair of rows, and of classes."""
  del x64
  d = functools.partial(_entry, golden("D_paper_oracle.npz"), f"nce_{case}")
  triplet = functools.partial(losses.triplet, margin=float(d("margin")))
  similarity = jnp.asarray(d("sim"))
  semantic = banks.SemanticBank(jnp.asarray(d("sem")), jnp.asarray(d("seen")))
  for n in range(len(similarity)):
    columns = [d(f"hard_{kind}_idx")[n] for kind in ("pos", "neg")]
    sides = [similarity[n : n + 1, kind] for kind in columns]
    masks = [jnp.ones(side.shape, bool) for side in sides]
    assert triplet(*sides, *masks)[1] == 1
    reference.assert_close(
      triplet(*sides, *masks)[0], d("triplet_sq")[n], 1e-10
    )
    found = losses.semantic_loss(
      jnp.asarray(d("v"))[n : n + 1], d("labels")[n : n + 1], semantic, triplet
    )
    assert found.num_pairs == 1
    assert float(found.loss_sum) == pytest.approx(
      d("triplet_sem_sq")[n], rel=1e-10, abs=1e-14
    )


def _entry(data, case, key):
  return data[f"{case}/{key}"]
