# SPDX-License-Identifier: Apache-2.0
"""The paper's tables: every row is a valid run; one table is trained."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from configs import ctrgcn_ntu60, tables
from sgcl_jax import errors, experiment
from sgcl_jax import main as main_module
from sgcl_jax.launching import series
from sgcl_jax.results import store
from sgcl_jax.runs import digest
from tests import finished
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
  """Returns a runner of the script's `main` and its runs in this process."""

  def launch(run, *_):
    try:
      main_module.main(run.arguments())
    except errors.UserError as error:
      print(error, file=sys.stderr)
      return 1
    return 0

  monkeypatch.setattr(series, "launch", launch)
  return lambda *args: call_main(script.main, *arguments(*args))


def read(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def test_a_table_is_trained_resumed_and_written(ablate, tmp_path):
  out = tmp_path / "out"
  result = ablate("--table", "3")
  assert result.returncode == 0, result.stderr
  names = ["gcl=False", "contrast.memory=batch", "default"]
  runs = {path.parent.name: path for path in out.glob("*/seed1")}
  assert set(runs) == set(names)
  found = read(out / "table3.csv")
  for row, name in zip(found, names, strict=True):
    summary = json.loads((runs[name] / "summary.json").read_text())
    assert float(row["mean"]) == pytest.approx(summary["top1"], abs=1e-4)
    assert (row["std"], row["seeds"]) == ("", "1")
  assert [row["paper"] for row in found] == ["89.8", "90.2", "90.8"]
  text = (out / "table3.md").read_text()
  assert text in result.stdout
  assert "| Inter-batch contrast |" in text and "epoch 1 (the last)" in text

  overrides = [line["overrides"].split() for line in read(out / "runs.csv")]
  assert sum("contrast.memory=batch" in each for each in overrides) == 1

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
  metadata.write_text(json.dumps(digest.seal({**text, "data": "another"})))
  result = ablate("--table", "3")
  assert result.returncode == 1
  assert result.stdout.count("as found in") == 2
  assert "is not the data that this run began with" in result.stderr


def test_refused_rows_do_not_stop_the_others(ablate, tmp_path):
  """The few clips have fewer rows per class than Tab. 18 asks for."""
  result = ablate("--table", "18")
  assert result.returncode == 1
  # Before any is trained.
  assert result.stdout.count("refused: ") == 4
  assert "[1/" not in result.stdout
  first, *missing = result.stderr.splitlines()
  assert first == "error: rows are missing"
  assert [line.split(":")[0] for line in missing] == [
    f"{row}, seed 1" for row in (64, 128, 256, 512)
  ]
  assert all("can never become active" in line for line in missing)
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


@pytest.fixture
def trained(script, call_main, monkeypatch):
  """Returns a runner of the script without trainings, and what it trains."""
  runs = []

  def launch(run, *_):
    runs.append(run.directory)
    right = 12 + ("off" not in run.title) + ("seed 2" in run.title)
    finished.train(run, right)
    return 0

  monkeypatch.setattr(series, "launch", launch)
  monkeypatch.setattr(series, "find_summary", finished.find_summary)
  return lambda *args: call_main(script.main, *args), runs


def test_backbones_contrasts_and_streams(trained, tmp_path):
  """Table 2: fused, tested and beside the paper; a finished run stays."""
  call, runs = trained
  out, csv_path = tmp_path / "out", tmp_path / "docs" / "x.csv"
  line = ("--table", 2, "--out", out, "--backbones", "ctrgcn", "--seeds", 2)
  line += ("--contrasts", "off", "paper", "--preset", "short")
  result = call(*line, "--csv", csv_path)
  assert result.returncode == 0, result.stderr
  assert len(runs) == 2 * 2 * 4
  # Seed by seed, so that the first tables come early.
  assert [path.name for path in runs] == ["seed1"] * 8 + ["seed2"] * 8
  assert runs[0] == out / "ctrgcn_ucla_xview_off" / "joint" / "seed1"
  text = (out / "table2.md").read_text()
  assert text in result.stdout
  off = "| ctrgcn_ucla xview joint, preset=short | off | 1, 2 | 62.50 | 3.54 |"
  assert off in text and "| (94.6) |" in text
  assert "| ctrgcn_ucla xview 4S, preset=short | paper | 1, 2 | " in text
  assert "| paper | 2 and 2 | +5.00 |" in text and "p (McNemar)" in text
  found = read(out / "table2.csv")
  assert len(found) == 2 * 6
  assert found[0]["paper"] == "94.6" and found[0]["mean"] == "62.5"
  tables_of_runs = store.read(out / "runs.csv")
  assert len(tables_of_runs.runs) == 2 * 2 * 6
  assert len(tables_of_runs.pairs) == 2 * 6
  assert {x["overrides"] for x in tables_of_runs.runs} == {""}
  assert store.read(csv_path) == tables_of_runs
  result = call(*line, "--json")
  assert len(runs) == 16 and json.loads(result.stdout)["table"] == 2


def test_every_config_of_the_first_tables_can_run(script):
  """Every plan loads its configs; the settings choose among them."""
  args, settings = script._parse(["--table", "1"])
  _, rows = script._plan_streams(args, settings)
  assert len(rows) == 12 * 3 * 4
  args, _ = script._parse(
    ["--table", "1", "--settings", "ntu120_xset", "--streams", "bone"]
    + ["--contrasts", "released", "--backbones", "agcn"]
  )
  out, rows = script._plan_streams(args, ["--config.batch_size=8"])
  ((run,),) = rows.values()
  assert run.spec == ("agcn_ntu120:split=xset,contrast=released,modality=bone")
  assert run.fields == ("--config.batch_size=8", "--config.seed=1")
  assert str(out) == "runs/ablate_table1_paper"


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--table", 2, "--config", "configs/agcn_ucla.py"], "configs of its own"),
    (["--table", 2, "--config.gcl=false"], "config.gcl is set by the rows"),
    (["--table", 2, "--config.seed=3"], "config.seed is set by the rows"),
    (["--table", 1, "--preset", "short"], "unknown option 'preset'"),
    (["--table", 2, "--preset", "shor"], "option preset='shor' is not one of"),
    (["--table", 2, "--backbones", "gcn"], "invalid choice: 'gcn'"),
    (["--table", 8], "invalid choice: 8"),
    (["--seeds", 3], "--table is missing"),
    (["--table", 5, "--seeds", 0], "--seeds=0 is less than 1"),
    (["--table", 5, "--jobs", 0], "--jobs=0 is less than 1"),
  ],
)
def test_arguments_that_make_no_sense(trained, args, message):
  call, runs = trained
  result = call(*args)
  assert result.returncode == 1 and message in result.stderr
  assert result.stderr.count("\n") == 1 and not runs


@pytest.mark.slow
def test_runs_are_processes(arguments):
  """The script as a user starts it: two trainings side by side."""
  line = [sys.executable, "launch/ablate.py", *arguments("--table", "3")]
  result = subprocess.run(
    [*map(str, line), "--jobs", "2"],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=500,
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout.count("finished: ") == 3
  assert "| Inter-batch contrast |" in result.stdout
