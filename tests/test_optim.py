# SPDX-License-Identifier: Apache-2.0
"""SGD and its schedule against torch's."""

import json
import pathlib

import jax
import numpy as np
import optax
import pytest

from sgcl_jax import optim
from sgcl_jax.settings import config_file

# Golden schedule -> (base rate, steps, epochs).
SCHEDULES = {
  "ntu_35_55": (0.1, (35, 55), 65),
  "ucla_50": (0.1, (50,), 65),
  "infogcn_90_100": (0.1, (90, 100), 110),
}


def schedule(base_lr, decay_epochs, num_epochs, warmup_epochs=5, rate=0.1):
  return optim.Schedule(num_epochs, base_lr, warmup_epochs, decay_epochs, rate)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_equals_reference(golden, name):
  expected = golden("E_optim.npz")[f"schedule/{name}"]
  rates = schedule(*SCHEDULES[name]).rates()
  np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-12)


def test_other_schedule_equals_reference(golden):
  data = golden("E_optim.npz")
  args = json.loads(str(data["schedule/other_args"]))
  expected = data["schedule/other"]
  config = schedule(
    args["base_lr"],
    tuple(args["steps"]),
    len(expected),
    args["warm_up"],
    args["decay"],
  )
  rates = config.rates()
  np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-12)


def test_schedule_by_hand():
  rates = schedule(1.0, (3, 4), 6, warmup_epochs=2).rates()
  np.testing.assert_allclose(rates, [0.5, 1.0, 1.0, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("case", ["sgd_wd4e-4", "sgd_wd_other"])
@pytest.mark.parametrize("suffix", ["", "_f64"])
def test_sgd_equals_reference(golden, case, suffix):
  data = golden("E_optim.npz")
  exact = bool(suffix)
  dtype = np.float64 if exact else np.float32
  tolerance = 1e-12 if exact else 2e-6
  with jax.enable_x64(exact):
    names = ("w1", "b1", "w2", "s")
    params = {name: data[f"params0/{name}"].astype(dtype) for name in names}
    sgd = optim.Sgd(0.9, True, float(data[f"{case}/weight_decay"]))
    rates = jax.numpy.asarray(data["lr"].astype(dtype))
    optimizer = sgd.make(lambda step: rates[step])
    state = optimizer.init(params)
    for step in range(6):
      grads = {
        name: data[f"grads/{name}"][step].astype(dtype) for name in names
      }
      updates, state = optimizer.update(grads, state, params)
      params = optax.apply_updates(params, updates)
      for name in names:
        expected = data[f"{case}/after{suffix}/{name}"][step]
        np.testing.assert_allclose(params[name], expected, 0, tolerance)
    for name in names:
      expected = data[f"{case}/momentum_buffer{suffix}/{name}"]
      buffer = optax.tree.get(state, "trace")[name]
      np.testing.assert_allclose(buffer, expected, 0, tolerance)


def test_a_schedule_that_the_training_does_not_reach_is_noticed(tiny):
  def notices(num_epochs, warmup_epochs, *decay_epochs):
    fields = {
      "optim.num_epochs": num_epochs,
      "optim.warmup_epochs": warmup_epochs,
      "optim.decay_epochs": decay_epochs,
    }
    return tiny(**fields).schedule.notices()

  assert notices(6, 6, 3, 5) == []
  (late,) = notices(6, 1, 5, 6)
  assert "decay_epochs=(5, 6)" in late and "num_epochs=6" in late
  (long,) = notices(6, 7, 3)
  assert "warmup_epochs=7" in long and "num_epochs=6" in long
  for path in pathlib.Path("configs").glob("[!_]*_*.py"):
    fields = config_file.load(str(path)).optim
    epochs = fields.num_epochs, fields.warmup_epochs, *fields.decay_epochs
    assert notices(*epochs) == [], path


def test_the_gradient_is_clipped_before_the_weight_decay():
  params = {"w": np.array([3, 4], np.float32)}
  grads = {"w": np.array([6, 8], np.float32)}
  for clip_norm, scale in ((1.0, 0.1), (20.0, 1.0), (None, 1.0)):
    sgd = optim.Sgd(0.0, False, 0.5, clip_norm).make(1.0)
    updates, _ = sgd.update(grads, sgd.init(params), params)
    expected = -(scale * grads["w"] + 0.5 * params["w"])
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-6)


def train_large_classifier(clip_norm):
  """Returns loss and accuracy of a deep network after 60 steps at rate 0.1.

  Its classifier is drawn as wide as for few classes: the first gradients are
  large.
  """
  rng = np.random.default_rng(0)
  labels = np.tile(np.arange(4), 16)
  x = rng.normal(size=(4, 8))[labels] + 0.3 * rng.normal(size=(64, 8))
  layers = [
    rng.normal(size=(width, 32)) * (2 / width) ** 0.5
    for width in (8, 32, 32, 32)
  ]
  params = [*layers, 2 * rng.normal(size=(32, 4))]

  def loss_fn(params):
    h = x
    for kernel in params[:-1]:
      h = jax.nn.relu(h @ kernel)
    logits = h @ params[-1]
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return entropy.mean(), (logits.argmax(-1) == labels).mean()

  optimizer = optim.Sgd(0.9, True, 1e-4, clip_norm).make(0.1)

  @jax.jit
  def step(params, state):
    (loss, accuracy), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss, accuracy

  params = jax.tree.map(lambda x: x.astype(np.float32), params)
  state = optimizer.init(params)
  for _ in range(60):
    params, state, loss, accuracy = step(params, state)
  return float(loss), float(accuracy)


def test_clipping_saves_a_start_that_collapses():
  loss, accuracy = train_large_classifier(None)
  assert loss > 1.3 and accuracy == 0.25  # At chance, ln 4 = 1.386.
  loss, accuracy = train_large_classifier(1.0)
  assert loss < 0.01 and accuracy == 1.0
