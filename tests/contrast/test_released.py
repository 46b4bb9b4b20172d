# SPDX-License-Identifier: Apache-2.0
"""The contrast of the released code against its stored outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax.contrast import projection, released, sampling
from tests import reference

CASES = [
  "full_exact",
  "partial_skip",
  "partial_boundary",
  "all_skipped",
  "rand_idx",
  "large",
]


def project(f, weight, bias):
  return projection.normalize(f @ weight.T + bias)


def make_bank(rows, flags, label_all):
  labels = np.where(flags > 0, label_all, -1).astype(np.int32)
  return released.ClipBank(rows=jnp.asarray(rows), labels=jnp.asarray(labels))


def place(rand_idx, bank, labels):
  """Turns draws, stored as positions among valid negatives, into bank rows."""
  columns = np.zeros_like(rand_idx)
  for i, label in enumerate(labels):
    valid = np.flatnonzero((bank.labels >= 0) & (bank.labels != label))
    if rand_idx[i, 0] >= 0:
      columns[i] = valid[rand_idx[i]]
  return jnp.asarray(columns, jnp.int32)


def run(monkeypatch, inputs, bank, rand_idx, num_positives, num_negatives, tau):
  """Returns the loss, its gradients, the written bank and who is active."""
  f, weight, bias, labels, index = inputs
  written = released.update_bank(bank, project(f, weight, bias), labels, index)
  draws = sampling.Draws(num_positives, num_negatives, num_negatives)
  columns = place(rand_idx, jax.device_get(written), labels)
  monkeypatch.setattr(
    sampling, "draw", lambda *_: (columns, jnp.ones(columns.shape, bool))
  )

  def loss_fn(f, weight, bias):
    result = released.instance_loss(
      project(f, weight, bias),
      jnp.asarray(labels),
      written,
      jax.random.split(jax.random.key(0), len(labels)),
      tau,
      draws,
    )
    return result.loss_sum / jnp.maximum(result.num_pairs, 1)

  loss, grads = jax.jit(jax.value_and_grad(loss_fn, (0, 1, 2)))(f, weight, bias)
  drawn = released.sample(
    project(f, weight, bias) @ written.rows.T,
    jnp.asarray(labels),
    written,
    jax.random.split(jax.random.key(0), len(labels)),
    draws,
  )
  masks = drawn.positive_mask, drawn.hard_mask, drawn.random_mask
  active = masks[0].any(1) & (masks[1] | masks[2]).any(1)
  return loss, grads, written, active


@pytest.mark.parametrize("case", CASES)
def test_equals_the_released_code(case, golden, dtype, monkeypatch):
  stored = golden("C_released_loss.npz")
  data = {
    key.split("/")[1]: stored[key]
    for key in stored.files
    if key.startswith(f"{case}/")
  }
  exact = dtype == "float64"
  inputs = [
    data[key].astype(dtype) for key in ("f", "trans_weight", "trans_bias")
  ]
  inputs += [data["labels"], data["index"]]
  bank = make_bank(
    data["bank_before"].astype(dtype), data["flag_before"], data["label_all"]
  )
  counts = int(data["positive_num"]), int(data["negative_num"])
  loss, grads, written, active = run(
    monkeypatch, inputs, bank, data["rand_idx"], *counts, float(data["T"])
  )
  np.testing.assert_array_equal(active, data["anchor_active"])
  suffix = "_f64" if exact else ""
  expected = float(data["loss" + suffix])
  assert float(loss) == pytest.approx(expected, rel=1e-10 if exact else 1e-5)
  reference.assert_close(
    grads[0], data["grad_f" + suffix], 1e-8 if exact else 1e-4
  )
  if "grad_trans_weight_f64" in data:
    tolerance = 1e-8 if exact else 1e-4
    reference.assert_close(grads[1], data["grad_trans_weight_f64"], tolerance)
    reference.assert_close(grads[2], data["grad_trans_bias_f64"], tolerance)
  np.testing.assert_allclose(
    written.rows, data["bank_after"], rtol=0, atol=1e-6
  )
  np.testing.assert_array_equal(written.labels >= 0, data["flag_after"] > 0)


def test_a_sequence_of_batches(golden, dtype, monkeypatch):
  stored = golden("C_released_loss.npz")
  data = {
    key.split("/")[1]: stored[key]
    for key in stored.files
    if key.startswith("sequence/")
  }
  exact = dtype == "float64"
  width = data["trans_bias"].shape[0]
  bank = make_bank(
    np.zeros((len(data["label_all"]), width), dtype),
    np.zeros(len(data["label_all"])),
    data["label_all"],
  )
  weight, bias = (
    data[key].astype(dtype) for key in ("trans_weight", "trans_bias")
  )
  counts = int(data["positive_num"]), int(data["negative_num"])
  for i in range(6):
    inputs = (
      data["f"][i].astype(dtype),
      weight,
      bias,
      data["labels"][i],
      data["index"][i],
    )
    loss, grads, bank, active = run(
      monkeypatch, inputs, bank, data["rand_idx"][i], *counts, float(data["T"])
    )
    np.testing.assert_array_equal(active, data["anchor_active"][i])
    expected = data["loss_f64" if exact else "loss"][i]
    assert float(loss) == pytest.approx(expected, rel=1e-10 if exact else 1e-5)
    tolerance = 1e-8 if exact else 1e-4
    reference.assert_close(grads[0], data["grad_f_f64"][i], tolerance)
    np.testing.assert_allclose(
      bank.rows, data["bank_after"][i], rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(bank.labels >= 0, data["flag_after"][i] > 0)
  assert data["anchor_active"].any()
