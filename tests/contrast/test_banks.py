# SPDX-License-Identifier: Apache-2.0
"""Both banks against plain loops and against golden D."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.contrast import banks

update_instance_bank = jax.jit(banks.update_instance_bank)
update_semantic_bank = jax.jit(banks.update_semantic_bank)


class LoopBank:
  """Writes one clip after the other: first in, first out per class."""

  def __init__(self, num_classes, size):
    self.queues = [collections.deque(maxlen=size) for _ in range(num_classes)]

  def write(self, embeddings, labels):
    for v, label in zip(embeddings, labels, strict=True):
      if 0 <= label < len(self.queues):
        self.queues[label].append(v)


def order(bank):
  """Returns the filled rows of each class, oldest first."""
  size = banks.rows_per_class(bank)
  rows = np.asarray(bank.rows).reshape(-1, size, bank.rows.shape[1])
  contents = []
  for ring, cursor, fill in zip(
    rows, bank.cursor, bank.num_filled, strict=True
  ):
    slots = (int(cursor) - int(fill) + np.arange(int(fill))) % size
    contents.append(ring[slots])
  return contents


def loop_semantic(rows, seen, embeddings, labels, momentum):
  rows, seen = np.array(rows, np.float64), np.array(seen)
  for v, label in zip(embeddings, labels, strict=True):
    if seen[label]:
      rows[label] = momentum * rows[label] + (1 - momentum) * v
    else:
      rows[label] = v
    seen[label] = True
  return rows, seen


# Sizes [L, P, N]: wrap-around, more clips of a class than P, P = 1, N = 1.
@pytest.mark.parametrize(
  "num_classes, size, n",
  [(4, 5, 9), (3, 4, 11), (2, 3, 16), (5, 1, 7), (6, 8, 1)],
)
def test_instance_bank_equals_a_loop(num_classes, size, n):
  rng = np.random.default_rng(num_classes * 100 + n)
  bank = banks.init_instance_bank(num_classes, size, 3)
  loop = LoopBank(num_classes, size)
  for _ in range(12):
    embeddings = rng.normal(size=(n, 3)).astype(np.float32)
    # -1 and L are no classes: such clips must not be written.
    labels = rng.integers(-1, num_classes + 1, n)
    bank = update_instance_bank(bank, embeddings, labels)
    loop.write(embeddings, labels)
    for found, queue in zip(order(bank), loop.queues, strict=True):
      np.testing.assert_array_equal(found, np.reshape(queue, (-1, 3)))
    # The filled rows are the first of each class, the others still 0.
    rows = np.asarray(bank.rows).reshape(num_classes, size, 3)
    filled = np.arange(size) < np.asarray(bank.num_filled)[:, None]
    np.testing.assert_array_equal(np.any(rows != 0, axis=2), filled)


def test_instance_bank_keeps_the_last_rows_of_a_class():
  bank = banks.init_instance_bank(2, 3, 1)
  values = jnp.arange(1.0, 9.0)[:, None]
  bank = update_instance_bank(bank, values, jnp.zeros(8, jnp.int32))
  np.testing.assert_array_equal(order(bank)[0][:, 0], [6, 7, 8])
  np.testing.assert_array_equal(bank.num_filled, [3, 0])
  np.testing.assert_array_equal(bank.cursor, [2, 0])


def test_instance_bank_stays_in_place_when_donated():
  bank = banks.init_instance_bank(60, 684, 256)
  update = jax.jit(banks.update_instance_bank, donate_argnums=0)
  arguments = bank, jnp.ones((8, 256)), jnp.arange(8)
  memory_used = update.lower(*arguments).compile().memory_analysis()
  assert memory_used.alias_size_in_bytes >= bank.rows.nbytes
  assert memory_used.temp_size_in_bytes < bank.rows.nbytes / 10


def test_banks_carry_no_gradient():
  labels = jnp.array([0, 1, 0])

  def total(embeddings):
    instance = banks.init_instance_bank(2, 2, 4)
    semantic = banks.init_semantic_bank(2, 4)
    instance = banks.update_instance_bank(instance, embeddings, labels)
    semantic = banks.update_semantic_bank(semantic, embeddings, labels, 0.85)
    return instance.rows.sum() + semantic.rows.sum()

  assert not np.any(jax.grad(total)(jnp.ones((3, 4))))


@pytest.mark.parametrize(
  "shape, num_labels", [((3, 5), 3), ((3, 4), 2), ((3,), 3)]
)
def test_a_wrong_shape_is_refused(shape, num_labels):
  embeddings, labels = jnp.ones(shape), jnp.zeros(num_labels, jnp.int32)
  with pytest.raises(AssertionError):
    banks.update_instance_bank(
      banks.init_instance_bank(2, 2, 4), embeddings, labels
    )
  with pytest.raises(AssertionError):
    banks.update_semantic_bank(
      banks.init_semantic_bank(2, 4), embeddings, labels, 0.85
    )


@pytest.mark.parametrize("momentum", [0.0, 0.85, 1.0])
def test_semantic_bank_equals_a_loop(momentum, x64):
  del x64
  rng = np.random.default_rng(1)
  bank = banks.init_semantic_bank(5, 6, jnp.float64)
  rows, seen = np.zeros((5, 6)), np.zeros(5, bool)
  for n in (1, 9, 20):
    embeddings, labels = rng.normal(size=(n, 6)), rng.integers(0, 4, n)
    bank = update_semantic_bank(bank, embeddings, labels, momentum)
    rows, seen = loop_semantic(rows, seen, embeddings, labels, momentum)
    np.testing.assert_allclose(bank.rows, rows, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(bank.seen, seen)
  assert not seen[4]


def test_semantic_bank_ignores_what_is_no_class():
  bank = banks.init_semantic_bank(2, 3)
  embeddings = jnp.full((2, 3), jnp.nan).at[0].set(1.0)
  for label in (-1, 2):
    after = banks.update_semantic_bank(
      bank, embeddings, jnp.array([1, label]), 0.85
    )
    np.testing.assert_array_equal(after.rows, [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(after.seen, [False, True])


@pytest.mark.parametrize("case", ["empty", "wrap", "overflow", "partial"])
def test_golden_fifo(golden, x64, case):
  del x64
  data = golden("D_paper_oracle.npz")
  d = {
    key.split("/")[1]: data[key]
    for key in data
    if key.startswith(f"fifo_{case}/")
  }
  bank = banks.InstanceBank(
    rows=jnp.asarray(d["ring_before"].reshape(-1, d["v"].shape[-1])),
    cursor=jnp.asarray(d["ptr_before"], jnp.int32),
    num_filled=jnp.asarray(d["count_before"], jnp.int32),
  )
  bank = update_instance_bank(bank, d["v"], d["labels"])
  after = d["ring_after"]
  np.testing.assert_array_equal(bank.rows.reshape(after.shape), after)
  np.testing.assert_array_equal(bank.cursor, d["ptr_after"])
  check_order(bank, d["ordered_after"], d["count_after"])


@pytest.mark.parametrize("dtype, atol", [("float64", 0), ("float32", 1e-6)])
def test_golden_fifo_sequence(golden, x64, dtype, atol):
  del x64
  data = golden("D_paper_oracle.npz")
  contents = data["fifo_sequence/ordered_after"]
  counts = data["fifo_sequence/count_after"]
  bank = banks.init_instance_bank(*contents.shape[1:], jnp.dtype(dtype))
  for step in range(len(contents)):
    bank = update_instance_bank(
      bank, data["fifo_sequence/v"][step], data["fifo_sequence/labels"][step]
    )
    assert bank.rows.dtype == dtype
    check_order(bank, contents[step], counts[step], atol)


def check_order(bank, contents, counts, atol=0):
  np.testing.assert_array_equal(bank.num_filled, counts)
  for found, expected in zip(order(bank), contents, strict=True):
    np.testing.assert_allclose(found, expected[: len(found)], 0, atol)


@pytest.mark.parametrize("dtype, atol", [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("case", ["first", "some", "all"])
def test_golden_semantic(golden, x64, case, dtype, atol):
  del x64
  data = golden("D_paper_oracle.npz")
  seen = data[f"sem_{case}/seen_before"]
  bank = banks.SemanticBank(
    rows=jnp.asarray(data[f"sem_{case}/sem_before"], dtype),
    seen=jnp.asarray(seen),
  )
  bank = update_semantic_bank(
    bank,
    jnp.asarray(data[f"sem_{case}/v"], dtype),
    data[f"sem_{case}/labels"],
    float(data[f"sem_{case}/alpha"]),
  )
  assert bank.rows.dtype == dtype
  copied = data[f"sem_{case}/sem_after_copy_first"]
  np.testing.assert_allclose(bank.rows, copied, rtol=0, atol=atol)
  plain = data[f"sem_{case}/sem_after_plain"]
  np.testing.assert_allclose(bank.rows[seen], plain[seen], rtol=0, atol=atol)
  np.testing.assert_array_equal(bank.seen, data[f"sem_{case}/seen_after"])
