# SPDX-License-Identifier: Apache-2.0
"""The paper's tables: every row is a valid run; one table is trained."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import jax
import pytest

from configs import ctrgcn_ntu60, tables
from sgcl_jax import experiment
from tests.conftest import ROOT

ROWS = [(number, row) for number, t in tables.TABLES.items() for row in t.rows]


@pytest.mark.parametrize(
  ("number", "row"), ROWS, ids=[f"{number}-{row.name}" for number, row in ROWS]
)
def test_every_row_is_a_config_that_can_run(number, row):
  config = ctrgcn_ntu60.get_config()
  config.update_from_flattened_dict(row.fields)
  experiment.make(config)


def test_all_tables_have_the_papers_method_and_its_number():
  for number, table in tables.TABLES.items():
    assert len({row.name for row in table.rows}) == len(table.rows)
    default = ctrgcn_ntu60.get_config()
    ours = []
    for row in table.rows:
      config = ctrgcn_ntu60.get_config()
      config.update_from_flattened_dict(row.fields)
      config.contrast.temperature = experiment.find_temperature(config)
      config.model.graph_block = config.model.graph_block or 9
      default.contrast.temperature = 1.0
      default.model.graph_block = 9
      if config.to_json() == default.to_json():
        ours.append(row.top1)
    assert ours == [90.8], (number, ours)


@pytest.fixture(scope="module")
def quickstart_data(make_ntu_data):
  return make_ntu_data(13)


@pytest.fixture(scope="module")
def script():
  """The script as a module."""
  spec = importlib.util.spec_from_file_location(
    "ablate", ROOT / "launch" / "ablate.py"
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def arguments(quickstart_data, tmp_path):
  """Returns a maker of the script's arguments, for runs of seconds."""
  fields = {
    "backbone": "tests.tiny:create",
    "data.dir": quickstart_data,
    "optim.num_epochs": 1,
    "num_classes": 10,
    "batch_size": 16,
    "data.window": 16,
    "contrast.num_hard_positives": 2,
    "contrast.num_hard_negatives": 4,
    "contrast.num_random_negatives": 4,
  }

  def make(*args):
    if args[1] == "18":  # Its rows set it.
      del fields["contrast.num_hard_positives"]
    return [
      *("--out", tmp_path / "out", "--config", "configs/ctrgcn_ntu60.py"),
      *(f"--config.{key}={value}" for key, value in fields.items()),
      *args,
    ]

  return make


@pytest.fixture
def ablate(script, arguments, call_main, monkeypatch):
  """Returns a runner of the script's `main` in this process."""
  # Other tests use what this process has compiled.
  monkeypatch.setattr(jax, "clear_caches", lambda: None)
  return lambda *args: call_main(script.main, *arguments(*args))


@pytest.fixture
def ablate_in_a_process(arguments):
  """Returns a runner of the script."""

  def run(*args):
    return subprocess.run(
      [sys.executable, "launch/ablate.py", *arguments(*args)],
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      capture_output=True,
      text=True,
      timeout=300,
    )

  return run


def read(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def test_a_table_is_trained_resumed_and_written(
  ablate, ablate_in_a_process, tmp_path
):
  out = tmp_path / "out"
  result = ablate_in_a_process("--table", "3")
  assert result.returncode == 0, result.stderr
  names = ["gcl=False", "contrast.memory=batch", "default"]
  runs = {path.parent.name: path for path in out.glob("*/seed1")}
  assert set(runs) == set(names)
  found = read(out / "table3.csv")
  for row, name in zip(found, names, strict=True):
    summary = json.loads((runs[name] / "summary.json").read_text())
    assert row["mean"] == f"{summary['top1']:.2f}"
    assert (row["std"], row["seeds"]) == ("", "1")
  assert [row["paper"] for row in found] == ["89.8", "90.2", "90.8"]
  text = (out / "table3.md").read_text()
  assert text in result.stdout
  assert "| Inter-batch contrast |" in text and "epoch 1 (the last)" in text

  # With a second seed of another table, shared rows are not trained again.
  written = (runs["default"] / "metrics.jsonl").stat().st_mtime_ns
  result = ablate("--table", "11", "--seeds", "2")
  assert result.returncode == 0, result.stderr
  assert result.stdout.count("as found in") == 2
  assert (runs["default"] / "metrics.jsonl").stat().st_mtime_ns == written
  found = read(out / "table11.csv")
  assert [row["seeds"] for row in found] == ["2", "2", "2"]
  assert all(float(row["std"]) >= 0 for row in found)

  # A run on other data does not count.
  (metadata,) = runs["default"].glob("checkpoints/*/metadata/metadata")
  text = json.loads(metadata.read_text())
  metadata.write_text(json.dumps({**text, "data": "another"}))
  result = ablate("--table", "3")
  assert result.returncode == 1
  assert result.stdout.count("as found in") == 2
  assert "is not the data that this run began with" in result.stderr


def test_refused_rows_do_not_stop_the_others(ablate, tmp_path):
  """The few clips have fewer rows per class than Tab. 18 asks for."""
  result = ablate("--table", "18")
  assert result.returncode == 1
  lines = result.stderr.splitlines()
  assert lines[0] == "error: rows are missing"
  assert [line.split(",")[0] for line in lines[1:]] == [
    "64",
    "128",
    "256",
    "512",
  ]
  assert "can never become active" in lines[1]
  found = read(tmp_path / "out" / "table18.csv")
  assert [row["seeds"] for row in found] == ["0"] * 4


@pytest.mark.parametrize(
  ("table", "option", "message"),
  [
    ("5", "contrast.memory=instance", "is set by the rows of the table"),
    ("14", "gcl=false", "gcl=false: the rows of a table change the contrast"),
    ("14", "contrast.variant=released", "change the paper's method"),
  ],
)
def test_a_config_that_hides_the_rows_is_refused(
  ablate, table, option, message
):
  result = ablate("--table", table, f"--config.{option}")
  assert result.returncode == 1
  assert message in result.stderr
