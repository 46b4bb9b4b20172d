# SPDX-License-Identifier: Apache-2.0
"""What the contrast costs at the paper's sizes and what the benchmark tells.

No time is asserted.
"""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ctrgcn_ntu60, ctrgcn_ntu120, ctrgcn_ucla
from sgcl_jax import experiment, models, randomness, train
from sgcl_jax.benchmark import __main__ as benchmark
from sgcl_jax.benchmark import flops, measure, workload
from sgcl_jax.contrast import paper
from sgcl_jax.devices import cores

# Clips, embedding width and bank rows of NTU RGB+D 60.
N, D, Q = 64, 256, 60 * 684
NUM_DRAWN = 128 + 512 + 512


@pytest.fixture(scope="module")
def parts():
  """Of NTU RGB+D 60, with a backbone that compiles in a second."""
  config = ctrgcn_ntu60.get_config()
  config.backbone = "tests.tiny:create"
  config.data.window = 4
  return experiment.make(config)


@pytest.fixture(scope="module")
def problem(parts):
  """A state with full banks, and a batch."""
  state = workload.init_state(parts, follow(parts))
  assert state.memory.instance.rows.shape == (Q, D)
  return state, workload.random_batch(parts)


def follow(parts):
  return parts.optimizer.follow(parts.schedule, 1_000)


@pytest.fixture(scope="module")
def compiled(parts, problem):
  """The contrast part of a training step, alone."""
  carry, batch = workload.contrast_problem(parts, *problem)
  step = workload.make_contrast_step(parts)
  return step.lower(carry, batch).compile()


def apply(contrast, params, problem, graph):
  state, batch = problem
  return contrast.apply(
    params,
    state.memory,
    models.Outputs(None, graph),
    batch,
    randomness.clip_keys(0, "sampling", 0, batch["position"]),
  )


def test_every_anchor_of_the_problem_is_active(parts, problem):
  params = problem[0].params["contrast"]
  outcome = apply(parts.contrast, params, problem, jnp.ones((N, 1, 25, 25)))
  assert outcome.logged["active_anchors"] == (N, N)
  assert outcome.logged["negative_similarity"][1] == N * 1024
  assert outcome.terms["semantic"][1] == N


def test_the_backward_pass_keeps_no_rows(problem):
  """At most similarities and indices of what was drawn, and [N, D]."""
  # Without a projection: its input is the anchors.
  contrast = paper.make(num_classes=60, temperature=1.0, projection_layers=0)

  def loss(graph):
    outcome = apply(contrast, {}, problem, graph)
    return sum(total for total, _ in outcome.terms.values())

  pullback = jax.eval_shape(
    lambda v: jax.vjp(loss, v)[1], jnp.zeros((N, 1, 1, D), jnp.float32)
  )
  kept = [leaf.shape for leaf in jax.tree.leaves(pullback)]
  assert (Q, D) in kept  # The bank itself, of which there is one.
  kept.remove((Q, D))
  assert kept and max(map(np.prod, kept)) <= 2 * N * NUM_DRAWN, kept
  assert sum(map(np.prod, kept)) <= 12 * N * NUM_DRAWN, kept


def test_temporary_memory(compiled):
  assert compiled.memory_analysis().temp_size_in_bytes <= 128e6


def assert_not_copied(hlo):
  bank = re.escape(f"f32[{Q},{D}]")
  assert re.search(rf"= {bank}\S* (scatter|fusion|while|custom-call)\(", hlo)
  assert not re.search(rf"= {bank}\S* copy\(", hlo)
  turned = re.escape(f"f32[{D},{Q}]")
  assert not re.search(rf"= {turned}\S* (copy|transpose)\(", hlo)


def test_the_bank_is_written_in_place(parts, problem, compiled):
  assert_not_copied(compiled.as_text())
  state, batch = problem
  step = train.make_train_step(parts, follow(parts))
  assert_not_copied(step.lower(state, batch).compile().as_text())
  # The first step brings its arguments to where the devices want them.
  state, _ = step(state, batch)
  before = state.memory.instance.rows.unsafe_buffer_pointer()
  for _ in range(3):
    state, _ = step(state, batch)
    assert state.memory.instance.rows.unsafe_buffer_pointer() == before


FIGURES = {
  "train_ms_per_clip",
  "train_clips_per_second",
  "compile_seconds",
  "inference_ms_per_clip",
  "inference_clips_per_second",
  "inference_compile_seconds",
  "augment_ms",
  "contrast_ms",
  "contrast_overhead",
  "contrast_temp_mb",
  "input_clips_per_second",
  "matmul_gflops",
  "gflop_per_clip",
  "matmul_share",
  "num_params",
  "peak_memory_gib",
}
SETTING = {
  "backbone",
  "skeleton",
  "num_persons",
  "num_classes",
  "gcl",
  "bank_rows",
  "batch_size",
  "frames",
  "width",
  "remat",
  "dtype",
  "matmul_precision",
  "devices",
  "cores",
  "jax",
}


@pytest.fixture
def quick(monkeypatch):
  """Leaves out pauses and large products; no time is asserted."""
  monkeypatch.setattr(measure, "PAUSE_SECONDS", 0)
  monkeypatch.setattr(measure, "MATMUL_SIZE", 64)


@pytest.mark.usefixtures("quick")
def test_what_is_measured(tiny):
  found = measure.run(tiny(), repeats=1)
  assert set(found) == FIGURES
  # Nothing is known of the operations of this backbone.
  unknown = {name for name, value in found.items() if value is None}
  assert unknown == {"gflop_per_clip", "matmul_share"}
  # Of so small a backbone the rest of the step may be less than its noise.
  rest = tiny().source.batch_size * found["train_ms_per_clip"]
  rest -= found["contrast_ms"]
  overhead = found.pop("contrast_overhead")
  np.testing.assert_allclose(overhead, found["contrast_ms"] / rest)
  assert all(found[name] > 0 for name in set(found) - unknown)
  without = measure.run(tiny("gcl=false"), repeats=1)
  assert FIGURES - set(without) == {"contrast_temp_mb"}
  assert without["contrast_ms"] == without["contrast_overhead"] == 0


@pytest.mark.usefixtures("quick")
def test_the_share_of_a_square_product(tiny, monkeypatch):
  monkeypatch.setattr(flops, "forward", lambda *_, **__: 4_000_000_000)
  found = measure.run(tiny("gcl=false"), repeats=1)
  assert found["gflop_per_clip"] == 4
  gflops = 3 * 4 / (1e-3 * found["train_ms_per_clip"])
  share = gflops / found["matmul_gflops"]
  np.testing.assert_allclose(found["matmul_share"], share)


@pytest.fixture
def run_benchmark(call_main, list_fields, quick):
  """Returns a runner of the command in this process."""

  def run(*args, config="ctrgcn_ucla", **overrides):
    fields = list_fields(config, **overrides)
    return call_main(benchmark.main, *fields, "--repeats=1", *args)

  return run


def test_the_table_and_what_it_is_compared_with(
  run_main, run_benchmark, tmp_path
):
  command = {"module": "benchmark", "devices": None}
  result = run_main("--repeats=1", "--json", **command)
  run = run_benchmark
  earlier = tmp_path / "earlier.json"
  earlier.write_text(result.stdout)
  found = json.loads(earlier.read_text())
  assert set(found) == FIGURES | SETTING
  assert found["batch_size"] == 8
  num = max(n for n in (1, 2, 4, 8) if n <= cores.count_cores())
  assert found["devices"] == f"{num} x cpu"
  found["num_params"] *= 2
  earlier.write_text(json.dumps(found))
  table = run(f"--compare={earlier}").stdout.splitlines()
  rows = {line.split()[0]: line.split()[1:] for line in table}
  assert rows["num_params"][-1] == "0.50x"
  assert rows["gflop_per_clip"] == ["-"]
  assert FIGURES | SETTING | {"now"} == set(rows)
  found["batch_size"] = 16
  earlier.write_text(json.dumps(found))
  refused = run(f"--compare={earlier}")
  assert refused.returncode == 1
  assert "its batch_size is 16, and here 8" in refused.stderr
  refused = run(f"--compare={earlier}", "--json")
  assert refused.returncode == 1
  assert "--json has no room for a comparison" in refused.stderr
  earlier.write_text("[]")
  refused = run(f"--compare={earlier}")
  assert refused.returncode == 1
  assert f"--compare={earlier}: is no output of --json" in refused.stderr


def test_data_of_ones_own(run_benchmark, make_data, tmp_path):
  """Classes, persons and layout are read from the data set."""

  def run(data_dir):
    fields = {"data.dir": data_dir}
    return run_benchmark("--json", config="ctrgcn_custom", **fields)

  result = run(make_data({"train": 8, "test": 8}, layout="ucla"))
  found = json.loads(result.stdout)
  assert found["skeleton"] == "ucla"
  assert (found["num_classes"], found["num_persons"]) == (10, 1)
  refused = run(tmp_path / "none")
  assert refused.returncode == 1
  assert "data_prep.custom" in refused.stderr
  assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
  ("module", "options", "rows"),
  [
    (ctrgcn_ucla, "contrast=released", 5 * 1_020),
    (ctrgcn_ucla, "", 10 * 342),
    (ctrgcn_ntu60, "contrast=released", 40_091),
    (ctrgcn_ntu60, "contrast=released,split=xview", 37_646),
    (ctrgcn_ntu120, "contrast=released,split=xset", 54_468),
  ],
)
def test_the_banks_have_the_rows_of_the_data_set(module, options, rows):
  config = module.get_config(options)
  config.backbone = "tests.tiny:create"
  parts = experiment.make(config)
  assert workload.bank_rows(parts) == rows
  memory = workload.init_state(parts, follow(parts)).memory
  bank = memory.bank if "released" in options else memory.instance
  assert len(bank.rows) == rows


def test_clips_are_padded_with_zeros(parts):
  batch = workload.random_batch(parts)
  frames = np.arange(workload.NUM_FRAMES)
  inside = frames < batch["num_frames"][:, None]
  assert np.array_equal(batch["skeleton"].any((2, 3, 4)), inside)
