# SPDX-License-Identifier: Apache-2.0
"""Several runs as processes; a script stands for the program that trains."""

import argparse
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from configs import ctrgcn_ucla
from sgcl_jax import errors
from sgcl_jax.launching import series
from sgcl_jax.runs import workdir
from tests import finished
from tests.conftest import ROOT

# Says what it was given; fails, or waits for a signal, if its title says so.
PROGRAM = """#!/bin/bash
case "$*" in *silent*) exit 3;; esac
echo "args: $*"
echo "env: $CUDA_VISIBLE_DEVICES $XLA_PYTHON_CLIENT_MEM_FRACTION"
echo "cores: $(nproc)"
case "$*" in
  *fails*) echo "error: it cannot be" >&2; exit 1;;
  *breaks*) echo "Traceback" >&2; exit 1;;
  *waits*) sleep 60 & trap 'kill $!; echo stopped' TERM; wait; sleep 2;;
esac
"""

SERIES = """
import pathlib
from sgcl_jax import command
from sgcl_jax.launching import series

series.sys.executable = "{program}"
series.find_summary = lambda run: None
place = pathlib.Path("{place}")
runs = [series.Run(f"waits{{i}}", place / f"waits{{i}}", "x") for i in range(4)]
command.run(lambda: series.train(runs, jobs=2))
"""
PYTHON = sys.executable


@pytest.fixture
def make(tmp_path, monkeypatch):
  """Returns a maker of runs: title, fields; none of them is finished."""
  program = tmp_path / "program"
  program.write_text(PROGRAM)
  program.chmod(0o755)
  monkeypatch.setattr(series.sys, "executable", str(program))
  monkeypatch.setattr(series, "find_summary", lambda run: None)

  def run(title, *fields):
    return series.Run(title, tmp_path / title, "x.py:a=b", fields)

  return run


def read_log(run):
  return (run.directory / series.LOG).read_text()


def test_one_after_another(make, capfd):
  good, bad = make("good", "--config.seed=2"), make("fails")
  assert series.train([bad, good]) == {bad: "its message is above"}
  out, err = capfd.readouterr()
  assert "args: -m sgcl_jax.main --config x.py:a=b --config.seed=2" in out
  assert f"--workdir {good.directory}" in out
  assert "[1/2] fails" in out and "failed: fails" in out
  assert "[2/2] good" in out and "error: it cannot be" in err


def test_side_by_side(make, capfd):
  runs = [make(title) for title in ("a", "fails", "b", "breaks", "c")]
  told = []
  found = series.train(runs, jobs=2, after=told.extend)
  assert {run.title for run in told} == {"a", "b", "c"}
  assert {run.title: reason for run, reason in found.items()} == {
    "fails": "it cannot be",
    "breaks": f"see the end of {runs[3].directory / series.LOG}",
  }
  out, _ = capfd.readouterr()
  assert out.count("begun: ") == 5 and "args:" not in out
  assert out.count("finished: ") == 3 and "[5/5]" in out
  assert f"--workdir {runs[0].directory}" in read_log(runs[0])


@pytest.mark.parametrize(
  ("title", "reason"),
  [
    ("silent", "it ended without a message (exit code 3)"),
    ("breaks", "see the end of {log}"),
    ("fails", "it cannot be"),
  ],
)
def test_the_error_of_an_earlier_attempt_is_not_told(make, title, reason):
  """The log is appended to; a process may be killed before it prints."""
  run = make(title)
  run.directory.mkdir()
  log = run.directory / series.LOG
  log.write_text("error: the disk of yesterday is full\n")
  found = series.train([run], jobs=2)
  assert found == {run: reason.format(log=log)}
  assert "yesterday" in log.read_text()


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"seed": 1}'])
def test_a_damaged_summary_is_of_no_finished_run(tmp_path, text):
  config = ctrgcn_ucla.get_config()
  finished.write(tmp_path, config)
  (tmp_path / workdir.SUMMARY).write_text(text)
  parts = types.SimpleNamespace(
    record=config.to_dict(), schedule=types.SimpleNamespace(num_epochs=2)
  )
  assert series._read_finished(parts, tmp_path) is None


def test_cores_are_shared(make, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  before = os.sched_getaffinity(0)
  if len(before) < 2:
    pytest.skip("there is only one core")
  runs = [make(title) for title in ("a", "b")]
  series.train(runs, jobs=2)
  for run in runs:
    assert f"cores: {len(before) // 2}" in read_log(run)
  assert os.sched_getaffinity(0) == before


def test_finished_runs_are_left_alone(make, monkeypatch, capfd):
  summaries = {"a": {"top1": 91.5}}
  monkeypatch.setattr(
    series, "find_summary", lambda run: summaries.get(run.title)
  )
  told = []
  runs = [make("b"), make("a"), make("fails")]
  failed = series.train(runs, after=told.append)
  assert list(failed) == [runs[2]]
  assert told == [[runs[1]], [runs[0]]]
  out, _ = capfd.readouterr()
  assert "a: top-1 91.50 %, as found in" in out
  assert "[1/2] b" in out and out.count("args:") == 2


def test_a_signal_stops_what_runs(make, tmp_path):
  """The processes get one SIGTERM, which lets them save, and none begins."""
  text = SERIES.format(program=str(tmp_path / "program"), place=str(tmp_path))
  process = subprocess.Popen(
    [PYTHON, "-c", text], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  for _ in range(200):
    logs = list(tmp_path.glob(f"waits*/{series.LOG}"))
    if sum("cores:" in log.read_text() for log in logs) == 2:
      break
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=20)
  assert process.returncode == 128 + signal.SIGTERM
  logs = list(tmp_path.glob(f"waits*/{series.LOG}"))
  assert len(logs) == 2
  assert [log.read_text().count("stopped") for log in logs] == [1, 1]


@pytest.mark.parametrize(
  ("jobs", "devices", "expected"),
  [
    (None, None, {"jobs": 1, "devices": ()}),
    (3, None, {"jobs": 3, "devices": ()}),
    (None, "0,3", {"jobs": 2, "devices": ("0", "3")}),
    (4, "0,3", {"jobs": 4, "devices": ("0", "3")}),
    (0, None, "--jobs=0 is less than 1"),
    (None, "0,,1", "--devices=0,,1 is no list"),
    (None, "1,1", "--devices=1,1 is no list"),
    (1, "0,1", "names 2 devices for --jobs=1"),
  ],
)
def test_options(jobs, devices, expected):
  args = argparse.Namespace(jobs=jobs, devices=devices)
  if isinstance(expected, dict):
    assert series.read_options(args) == expected
    return
  with pytest.raises(errors.ConfigError, match=expected):
    series.read_options(args)
