# SPDX-License-Identifier: Apache-2.0
"""Six training steps of the released code, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ctrgcn_ucla
from sgcl_jax import experiment, randomness, state, steps
from sgcl_jax.contrast import released, sampling
from sgcl_jax.devices import parallel
from sgcl_jax.import_torch import tables
from tests import fast, reference

GOLDEN = "F_trajectory_ctrgcn_ucla.npz"
# Rounding errors grow from step to step (golden README, note 2).
MILD_FLOAT32 = (1e-4, 1e-3, 2e-3, 4e-3, 1e-2, 3e-2)


@pytest.fixture
def run(golden, monkeypatch):
  """Returns a runner: (gcl, dtype) -> (rates -> (metrics, final state))."""

  def make(gcl, dtype):
    data = golden(GOLDEN)
    arg = "contrast=released" if gcl else "gcl=false"
    config = ctrgcn_ucla.get_config(arg)
    config.contrast.temperature = float(data["T"])
    config.contrast.num_hard_positives = int(data["positive_num"])
    config.contrast.num_hard_negatives = int(data["negative_num"])
    config.contrast.num_random_negatives = int(data["negative_num"])
    config.optim.weight_decay = float(data["weight_decay"])

    # Use the stored draws: the "key" of an anchor is the number of the step.
    draws = jnp.asarray(data["rand_bank_idx"], jnp.int32)
    monkeypatch.setattr(
      randomness,
      "clip_keys",
      lambda seed, purpose, step, position: step + 0 * position,
    )
    monkeypatch.setattr(
      sampling,
      "draw",
      lambda keys, valid, num: (
        jnp.maximum(draws[keys[0]], 0),
        draws[keys[0]] >= 0,
      ),
    )

    parts = experiment.make(config)

    # In double precision the optimised program saves more time than it costs.
    @(jax.jit if dtype == "float64" else fast.jit)
    def step(train_state, batch, rate):
      train_step = steps.make_train_step(
        seed=parts.seed,
        model=parts.model,
        transform=lambda skeleton, num_frames, keys: skeleton,
        weights=parts.weights,
        contrast=parts.contrast,
        optimizer=parts.optimizer.make(rate),
      )
      mapped = jax.vmap(train_step, axis_name=parallel.AXIS, in_axes=(None, 0))
      result = mapped(train_state, jax.tree.map(lambda x: x[None], batch))
      return jax.tree.map(lambda x: x[0], result)

    def follow(rates):
      current = init_state(parts, data, dtype)
      logged = []
      for i, rate in enumerate(rates):
        batch = {
          "skeleton": data["x"][i].astype(dtype).transpose(0, 4, 2, 3, 1),
          "num_frames": np.full(8, 52),
          "label": data["labels"][i].astype(np.int32),
          "index": data["index"][i].astype(np.int32),
          "position": np.arange(8),
        }
        current, metrics = step(current, batch, jnp.asarray(rate, dtype))
        logged.append(jax.device_get(metrics.flatten()))
      return logged, jax.device_get(current)

    return follow

  return make


def init_state(parts, data, dtype):
  variables = reference.read_variables("ctrgcn", data, dtype)
  params, memory = {"backbone": variables["params"], "contrast": {}}, None
  if parts.contrast:
    dense = {
      "kernel": data["trans_weight"].T.astype(dtype),
      "bias": data["trans_bias"].astype(dtype),
    }
    flags = data["flag_before"] > 0
    labels = np.where(flags, data["label_all"], -1).astype(np.int32)
    rows = data["bank_before"].astype(dtype)
    memory = released.Memory({"dense": dense}, released.ClipBank(rows, labels))
  return state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables["batch_stats"],
    constants={},
    opt_state=parts.optimizer.make(0.0).init(params),
    memory=memory,
  )


@pytest.mark.parametrize("gcl", [True, False])
def test_equals_the_released_training(run, golden, gcl, dtype):
  data = golden(GOLDEN)
  exact = dtype == "float64"
  follow = run(gcl, dtype)
  for kind in ("mild", "hot") if exact else ("mild",):
    name = f"{'gcl' if gcl else 'ce_only'}_{kind}"
    logged, final = follow(data[f"{name}/lr"])
    compare(data, name, logged, final, exact)


def compare(data, name, logged, final, exact):
  suffix = "_f64" if exact else ""
  tolerances = (1e-7,) * 6 if exact else MILD_FLOAT32
  terms = {"total": "loss", "ce": "ce", "contrast": "instance"}
  for i, (metrics, tolerance) in enumerate(
    zip(logged, tolerances, strict=True)
  ):
    for theirs, ours in terms.items():
      if f"{name}/{theirs}" in data:
        expected = float(data[f"{name}/{theirs}{suffix}"][i])
        assert float(metrics[ours]) == pytest.approx(expected, abs=tolerance), (
          name,
          i,
          theirs,
        )
    assert float(metrics["accuracy"]) == data[f"{name}/acc{suffix}"][i]
  assert_final(data, name, final, exact)
  if final.memory is not None:
    bank = final.memory.bank
    flags = data[f"{name}/flag_after"] > 0
    np.testing.assert_array_equal(bank.labels >= 0, flags)
    kernel = final.memory.projection["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, data["trans_weight"].T)
    active = [float(metrics["active_anchors"]) for metrics in logged]
    assert active == data["anchor_active"].mean(1).tolist()


def assert_final(data, name, final, exact):
  table = tables.TABLES["ctrgcn"]()
  tolerance = (1e-6 if "hot" in name else 1e-7) if exact else 5e-3
  suffix = "_f64" if exact else ""
  groups = f"{name}/final{suffix}", f"{name}/final_bn{suffix}"
  checked = 0
  for key in data.files:
    group, _, tensor = key.rpartition("/")
    if group in groups:
      entry = table[tensor]
      ours = reference.pick(final.variables(), entry)
      reference.assert_close(ours, entry.transform(data[key]), tolerance)
      checked += 1
  assert checked == 9
