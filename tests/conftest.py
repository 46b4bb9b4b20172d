# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the whole suite."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest

from configs import ctrgcn_ucla
from data_prep import ntu60, records, synthetic, tfrecord
from sgcl_jax import command, evaluate, experiment, train
from sgcl_jax.devices import set_up
from sgcl_jax.runs import checkpoint
from sgcl_jax.runs import workdir as runs_workdir

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# A run of seconds: tests/tiny.py on the clips of `tiny_data`.
TINY = {
  "backbone": "tests.tiny:create",
  "batch_size": 8,
  "eval_batch_size": 8,
  "data.window": 8,
  "data.repeats": 2,
  "optim.num_epochs": 3,
  "optim.base_lr": 0.02,
  "contrast.rows_per_class": 12,
  "contrast.features": 16,
  "contrast.num_hard_positives": 4,
  "contrast.num_hard_negatives": 8,
  "contrast.num_random_negatives": 8,
}

# The cache keeps programs that take at least this long to compile.
MIN_CACHED_SECONDS = 0.3


@pytest.fixture
def golden():
  """Returns a loader of reference outputs; skips where there are none."""

  def load(name):
    path = SHARED / "golden" / name
    if not path.exists():
      pytest.skip(f"reference outputs are not here: {path}")
    return np.load(path)

  return load


@pytest.fixture
def x64():
  """Double precision for one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
  """Each precision once, the products at their most exact."""
  exact = request.param == "float64"
  with jax.enable_x64(exact), jax.default_matmul_precision("highest"):
    yield request.param


def pytest_addoption(parser):
  parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_configure(config):
  """Makes a compilation cache for all processes of this session.

  Signals that the shell ignores, as after `nohup` and `&`, have their effect.
  """
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGHUP, signal.SIG_DFL)
  if hasattr(config, "workerinput"):  # pytest-xdist's; inherits the variables.
    return
  cache = tempfile.TemporaryDirectory(
    prefix="sgcl_jax_tests_", ignore_cleanup_errors=True
  )
  config.add_cleanup(cache.cleanup)
  for name, value in {
    "jax_compilation_cache_dir": cache.name,
    "jax_persistent_cache_min_compile_time_secs": MIN_CACHED_SECONDS,
  }.items():
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)


def pytest_collection_modifyitems(config, items):
  items.sort(key=lambda item: "first" not in item.keywords)
  if not config.getoption("--slow"):
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
      if "slow" in item.keywords:
        item.add_marker(skip)


@pytest.fixture(scope="session")
def make_data(tmp_path_factory):
  """Returns a writer of data sets in the layout of NW-UCLA: cell -> clips."""

  def make(cells, num_classes=10, **metadata):
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(10, 20, 3))

    def clip(name, label):
      num_frames = int(rng.integers(1, 12))
      sway = np.sin(np.arange(num_frames) * (1 + label))[:, None, None]
      skeleton = directions[label] * (1 + sway) + rng.normal(size=(20, 3)) / 4
      return tfrecord.Clip(name, label, skeleton[:, None].astype(np.float32))

    out = tmp_path_factory.mktemp("made") / "data"
    records.write_dataset(
      out,
      (
        (cell, clip(f"{cell}_{i:03}", i % num_classes))
        for cell, count in sorted(cells.items())
        for i in range(count)
      ),
      records.Description(
        name="tiny",
        class_names=[f"class {i}" for i in range(num_classes)],
        num_persons=1,
        num_joints=20,
        metadata={"aligned": False, **metadata},
      ),
    )
    return out

  return make


@pytest.fixture(scope="session")
def make_ntu_data(tmp_path_factory):
  """Returns a maker of converted synthetic clips of NTU RGB+D 60."""

  def make(clips_per_class, out=None):
    root = tmp_path_factory.mktemp("ntu")
    synthetic.write(root / "raw", seed=0, clips_per_class=clips_per_class)
    out = out or root / "data"
    ntu60.main(["--raw", str(root / "raw"), "--out", str(out)])
    return out

  return make


@pytest.fixture(scope="session")
def tiny_data(make_data):
  """48 training and 13 test clips of 10 classes."""
  return make_data({"train": 48, "test": 13})


@pytest.fixture(scope="session")
def tiny_config(tiny_data):
  """Returns a maker of configs for runs of seconds: option=value, ..."""

  def make(arg=None, **overrides):
    config = ctrgcn_ucla.get_config(arg)
    fields = {**TINY, "data.dir": str(tiny_data), **overrides}
    config.update_from_flattened_dict(fields)
    return config

  return make


@pytest.fixture(scope="session")
def tiny(tiny_config):
  """Returns a maker of experiments for runs of seconds, as `tiny_config`."""
  return lambda *args, **fields: experiment.make(tiny_config(*args, **fields))


@pytest.fixture(scope="session")
def save_run(tmp_path_factory):
  """Returns a maker of runs: an experiment's initial state, evaluated.

  The kernel of the classifier is multiplied by `head`.
  """

  def save(parts, head=1.0):
    workdir = tmp_path_factory.mktemp("saved") / "run"
    clips = parts.source.load_test()
    start = train.init_state(parts, parts.optimizer.make(0.1), len(clips))
    if head != 1.0:
      start.params["backbone"]["head"]["kernel"] *= head
    metadata = {
      "model": parts.identity,
      "seed": parts.seed,
      "epoch": 0,
      "classes": list(clips.class_names),
      "prepared": clips.metadata,
    }
    with (
      runs_workdir.claim(parts.record, workdir),
      contextlib.closing(
        checkpoint.Checkpoints(workdir, writable=True)
      ) as checkpoints,
    ):
      checkpoints.save(start, metadata)
    evaluate.run(parts, workdir)
    return workdir

  return save


@pytest.fixture(scope="session")
def tiny_run(tiny, save_run):
  """The workdir of an evaluated run of tests/tiny.py, not trained."""
  return save_run(tiny("gcl=false"))


@pytest.fixture(scope="session")
def list_fields(tiny_data):
  """Returns a maker of `--config` and its fields for runs of seconds."""

  def make(config, **overrides):
    fields = {**TINY, "data.dir": tiny_data, **overrides}
    return [
      f"--config=configs/{config}.py",
      *(f"--config.{key}={value}" for key, value in fields.items()),
    ]

  return make


@pytest.fixture
def run_main(list_fields):
  """Returns a runner of `python -m sgcl_jax.<module>` for runs of seconds."""

  def run(
    *args,
    module="main",
    config="ctrgcn_ucla",
    devices=1,
    popen=False,
    **overrides,
  ):
    line = [sys.executable, "-m", f"sgcl_jax.{module}"]
    line += [*list_fields(config, **overrides), *map(str, args)]
    flags = f"--xla_force_host_platform_device_count={devices}"
    options = {
      "cwd": ROOT,
      "env": {
        **os.environ,
        "XLA_FLAGS": flags if devices else "",
        "JAX_PLATFORMS": "cpu",
      },
      "stdout": subprocess.PIPE,
      "stderr": subprocess.PIPE,
      "text": True,
    }
    if popen:
      return subprocess.Popen(line, **options)
    return subprocess.run(line, timeout=300, **options)

  return run


@pytest.fixture
def call_main(monkeypatch, capfd):
  """Returns a function that calls a command's `main` in this process.

  (main, *args) -> what `subprocess.run` returns. It saves the seconds that a
  new process needs to start. The devices stay those of this process.
  """
  monkeypatch.setattr(set_up, "configure", lambda *_, **__: None)
  monkeypatch.chdir(ROOT)
  cached = jax.config.jax_enable_compilation_cache

  def call(main, *args):
    args = [str(arg) for arg in args]
    capfd.readouterr()
    code = 0
    try:
      command.run(lambda: main(args))
    except SystemExit as end:
      code = end.code
    return subprocess.CompletedProcess(args, code, *capfd.readouterr())

  yield call
  jax.config.update("jax_enable_compilation_cache", cached)
