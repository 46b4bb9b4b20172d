# SPDX-License-Identifier: Apache-2.0
"""The command line: mistakes in one line each, and the owner's command."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sgcl_jax import main
from sgcl_jax.runs import record

MISTAKES = {
  "unknown option": (["--config", "configs/ctrgcn_ucla.py:modalty=bone"],
                     "unknown option 'modalty'; did you mean 'modality'?"),
  "unknown choice": (["--config", "configs/ctrgcn_ntu60.py:split=xset"],
                     "split='xset' is not one of xsub, xview"),
  "unknown key": (["--config", "configs/ctrgcn_ucla.py",
                   "--config.optim.base_rl=1"],
                  "error: unknown key config.optim.base_rl; did you mean"
                   " config.optim.base_lr?"),
  "unknown parent": (["--config", "configs/ctrgcn_ucla.py",
                      "--config.optm.base_lr=1"],
                     "error: unknown key config.optm.base_lr; did you mean"
                      " config.optim.base_lr?"),
  "bad value": (["--config", "configs/ctrgcn_ucla.py",
                 "--config.batch_size=many"], "many"),
  "missing config": (["--config", "configs/absent.py"], "configs/absent.py"),
  "preset as a field": (
    ["--config", "configs/ctrgcn_ucla.py", "--config.preset=short"],
    "preset is an option after the colon",
  ),
  "start as a field": (
    ["--config", "configs/ctrgcn_ucla.py", "--config.start=stable"],
    "start is an option after the colon",
  ),
  "no config": ([], "--config is missing"),
  "no run": (["--mode=evaluate"], "--workdir is missing: name the directory"),
  "stray argument": (["--config", "configs/ctrgcn_ucla.py", "bone"],
                     "unexpected arguments: bone"),
  "no data": (["--config", "configs/ctrgcn_ucla.py",
               "--config.data.dir=/absent", "--workdir={tmp}/run"],
              "no data set in /absent. Prepare it with: python -m"
              " data_prep.nw_ucla --raw DIR --out /absent"),
  "no checkpoint": (["--config", "configs/ctrgcn_ucla.py", "--mode=evaluate",
                     "--config.data.dir={data}", "--workdir={tmp}/run"],
                    "no checkpoint in {tmp}/run/checkpoints; train first"),
  "joints": (["--config", "configs/ctrgcn_ucla.py",
              "--config.data.dir={data}", "--config.skeleton=ntu",
              "--workdir={tmp}/run"],
             "1 person of 20 joints, the config wants 1 of 25 (ntu)"),
}  # fmt: skip


def assert_mistake(result, case, tmp_path, data):
  """Checks the exit code, and the one line that names the mistake."""
  assert result.returncode == 1
  lines = result.stderr.splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
  _, message = MISTAKES[case]
  assert message.format(tmp=tmp_path, data=data) in lines[0]
  assert len(lines[0]) < 300
  assert not list(tmp_path.rglob("checkpoints"))


def list_arguments(case, tmp_path, data):
  args, _ = MISTAKES[case]
  return [arg.format(tmp=tmp_path, data=data) for arg in args]


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_answered_in_one_line(
  case, tmp_path, tiny_data, call_main
):
  args = list_arguments(case, tmp_path, tiny_data)
  result = call_main(main.main, *args)
  assert_mistake(result, case, tmp_path, tiny_data)


# The first is found before JAX is imported, the second after the data is read.
@pytest.mark.parametrize("case", ["unknown key", "joints"])
def test_a_mistake_ends_the_process(case, tmp_path, tiny_data):
  result = subprocess.run(
    [sys.executable, "-m", "sgcl_jax.main"]
    + list_arguments(case, tmp_path, tiny_data),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert_mistake(result, case, tmp_path, tiny_data)


def test_help_is_no_failure():
  result = subprocess.run(
    [sys.executable, "-m", "sgcl_jax.main", "--help"],
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert result.returncode == 0, result.stderr
  assert "--config" in result.stdout


def test_the_end_of_a_config_stays_a_failure(tmp_path):
  config = tmp_path / "config.py"
  config.write_text("raise SystemExit(3)\n")
  result = subprocess.run(
    [sys.executable, "-m", "sgcl_jax.main", "--config", str(config)],
    capture_output=True,
    timeout=120,
  )
  assert result.returncode == 3


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_ntu_data, request):
  """A directory with configs/ and a small data/ntu60, as after conversion."""
  root = tmp_path_factory.mktemp("project")
  make_ntu_data(13, root / "data" / "ntu60")
  (root / "configs").symlink_to(request.config.rootpath / "configs")
  return root


OWNERS_LINE = ["-m", "sgcl_jax.main", "--config", "configs/ctrgcn_ntu60.py"]


@pytest.mark.first
def test_the_owners_line_trains(project):
  """Literally, until its first epoch is saved; then the rest is skipped."""
  workdir = project / "runs" / "ctrgcn_ntu60_xsub_joint"
  with (project / "log").open("w") as log:
    process = subprocess.Popen(
      [sys.executable, *OWNERS_LINE], cwd=project, stdout=log, stderr=log
    )
    deadline = time.monotonic() + 900
    while "epoch 1/65  loss" not in (project / "log").read_text():
      assert process.poll() is None, (project / "log").read_text()
      assert time.monotonic() < deadline
      time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
  train, test = record.read(workdir)[:2]
  assert (train["step"], train["epoch"], train["split"]) == (1, 1, "train")
  assert (test["step"], test["split"]) == (1, "test")
  result = subprocess.run(
    [sys.executable, *OWNERS_LINE, "--mode=evaluate"],
    cwd=project,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert result.returncode == 0, result.stderr
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["epoch"] == 1
  assert summary["top1"] == pytest.approx(test["top1"])
  assert os.listdir(workdir / "scores") == ["xsub_joint.npz"]
  assert result.stdout.endswith(
    "scores: runs/ctrgcn_ntu60_xsub_joint/scores/xsub_joint.npz\n"
  )


@pytest.mark.first
@pytest.mark.slow
def test_the_owners_line_runs_to_its_end(project):
  shutil.rmtree(project / "runs", ignore_errors=True)
  subprocess.run([sys.executable, *OWNERS_LINE], cwd=project, check=True)
  workdir = project / "runs" / "ctrgcn_ntu60_xsub_joint"
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["epoch"] == 65
