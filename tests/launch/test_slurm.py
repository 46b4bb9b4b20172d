# SPDX-License-Identifier: Apache-2.0
"""The batch script for Slurm, run by an `srun` that starts processes here."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "launch" / "slurm.sbatch"
# Starts two tasks as on two nodes, which are this machine. As Slurm's, it puts
# the number of a task before its lines, and returns the highest exit code, 128
# plus the signal that ended a task included.
SRUN = """#!PYTHON -IS
import os, pathlib, subprocess, sys, threading
place = pathlib.Path(os.environ["FAKE"])
words = sys.argv[1:]
count = next(i for i, word in enumerate(words) if not word.startswith("-"))
(place / "options").write_text("\\n".join(words[:count]))
def copy(number, pipe):
  for line in pipe:
    os.write(1, f"{number}: {line}".encode())  # Whole, between other threads.
tasks, threads = [], []
for number in range(2):
  step = {"STEP_NODELIST": "localhost", "STEP_NUM_NODES": 2, "NTASKS": 2,
          "STEP_NUM_TASKS": 2, "STEP_TASKS_PER_NODE": "1(x2)",
          "PROCID": number, "LOCALID": 0}
  env = {f"SLURM_{name}": str(value) for name, value in step.items()}
  task = subprocess.Popen(words[count:], env={**os.environ, **env}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  tasks.append(task)
  threads.append(threading.Thread(target=copy, args=(number, task.stdout)))
  threads[-1].start()
(place / "pids").write_text(" ".join(str(task.pid) for task in tasks))
for thread in threads:
  thread.join()
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$FAKE/requeued"
exit "${SCONTROL_CODE:-0}"
"""
# In the place of the training: prints what it got, and ends as it is told.
TASK = """#!PYTHON -IS
import json, os, sys
names = "https_proxy", "SLURM_PROCID"
print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in names]]))
sys.exit(int(os.environ["CODE"]))
"""
PYTHON = """#!/bin/sh
exec PYTHON "$@"
"""
JOB = {"SLURM_CPUS_PER_TASK": "3"}


def write_program(path, text):
  path.write_text(text.replace("PYTHON ", f"{sys.executable} "))
  path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path):
  """Returns a starter of the script: (*args, python, **variables) -> Popen."""
  root, fake = tmp_path / "root", tmp_path / "fake"
  (root / ".venv" / "bin").mkdir(parents=True)
  fake.mkdir()
  for name in ("launch", "configs", "sgcl_jax", "tests"):
    (root / name).symlink_to(ROOT / name)
  write_program(fake / "srun", SRUN)
  write_program(fake / "scontrol", SCONTROL)

  def start(*args, python=TASK, **variables):
    if python:
      write_program(root / ".venv" / "bin" / "python", python)
    path = f"{fake}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
      ["bash", SCRIPT, *map(str, args)],
      cwd=variables.pop("cwd", root),
      env={**os.environ, **JOB, "PATH": path, "FAKE": str(fake), **variables},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  start.fake = fake
  return start


@pytest.fixture
def run(cluster):
  """Runs the script with a task that ends at once."""

  def call(*args, code=0, **variables):
    job = {"CODE": str(code), "SLURM_JOB_ID": "7", **variables}
    process = cluster(*args, **job)
    text, _ = process.communicate(timeout=60)
    return process.returncode, text

  call.fake = cluster.fake
  return call


def was_requeued(call):
  path = call.fake / "requeued"
  return path.exists() and path.read_text()


def read_options(text):
  return dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.M))


def test_the_options_of_the_job():
  """Slurm reads them up to the first command."""
  head = SCRIPT.read_text().split("set -euo pipefail")[0]
  options = read_options(head)
  assert options == read_options(SCRIPT.read_text())
  # Without `B:`, which would signal this shell alone.
  assert options["signal"] == "TERM@120"
  assert "requeue" in options and options["open-mode"] == "append"
  assert options["ntasks-per-node"] == "1"


def test_each_task_gets_the_arguments(run):
  args = ["configs/a.py:x=1", "runs/my run", "--config.data.dir=/a b"]
  code, text = run(*args, https_proxy="http://proxy")
  assert code == 0, text
  lines = sorted(text.splitlines())
  for number, line in enumerate(lines):
    words, values = json.loads(line.removeprefix(f"{number}: "))
    assert words == [
      "-m",
      "sgcl_jax.main",
      "--config=configs/a.py:x=1",
      "--workdir=runs/my run",
      "--config.data.dir=/a b",
    ]
    assert values == [None, str(number)]
  assert len(lines) == 2
  options = (run.fake / "options").read_text().splitlines()
  # A site may set the opposite for all.
  assert "--kill-on-bad-exit=0" in options and "--cpus-per-task=3" in options


@pytest.mark.parametrize("code", [0, 1, 130])
def test_other_ends_are_not_requeued(run, code):
  """130 is a stop by `scancel --signal=INT`."""
  assert run("a", "b", code=code)[0] == code
  assert not was_requeued(run)


def test_a_saved_run_is_requeued(run):
  code, text = run("a", "b", code=143)
  assert code == 143 and was_requeued(run) == "requeue 7\n"
  assert "job 7 goes back to the queue" in text


def test_a_job_that_cannot_be_requeued(run):
  code, text = run("a", "b", code=143, SCONTROL_CODE="1")
  assert code == 143
  assert "error: job 7 cannot be requeued; submit it again" in text


@pytest.mark.parametrize(
  ("args", "change", "message"),
  [
    (
      ["a"],
      {},
      "usage: sbatch --nodes=N --gpus-per-node=G launch/slurm.sbatch",
    ),
    (["a", "b"], {"cwd": "/"}, "/ is not the project's root: run sbatch there"),
    (["a", "b"], {"python": None}, ".venv is missing: make it as the README"),
  ],
)
def test_mistakes(run, args, change, message):
  code, text = run(*args, **change)
  assert code == 1 and text.count("\n") == 1
  assert text.startswith("error: ") and message in text


def find_job():
  """Returns a job number whose port, which JAX chooses, is free."""
  for port in range(61440, 65536):  # As in JAX's detection of Slurm.
    with socket.socket() as found:
      try:
        found.bind(("", port))
      except OSError:
        continue
      return str(port - 61440)
  raise OSError("no free port")


def read_until(process, words):
  """Returns the first line of a process with these words."""
  lines = []
  for line in process.stdout:
    lines.append(line)
    if words in line:
      return line
  raise AssertionError("".join(lines))


@pytest.mark.slow
def test_two_processes_save_when_slurm_asks_and_go_on(
  cluster, list_fields, tmp_path
):
  """SIGTERM reaches the tasks; the job is requeued, and resumes there."""
  fields = {"backbone": "tests.tiny:create", "optim.num_epochs": 400}
  config, *flags = list_fields("ctrgcn_ucla", **fields)
  job = {
    "SLURM_JOB_ID": find_job(),
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
  }
  args = [config.removeprefix("--config="), tmp_path / "run", *flags]

  def start_and_stop(words, number):
    with cluster(*args, python=PYTHON, **job) as process:
      line = read_until(process, words)
      read_until(process, "/400  loss")  # Of an epoch.
      for pid in (cluster.fake / "pids").read_text().split():
        os.kill(int(pid), number)
      text, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, text
    (saved,) = re.findall(r"^0: saved after .* of epoch (\d+);.*$", text, re.M)
    return line, int(saved), text

  line, epoch, text = start_and_stop("workdir", signal.SIGTERM)
  assert line.startswith("0: ")
  assert was_requeued(cluster) == f"requeue {job['SLURM_JOB_ID']}\n"
  assert "goes back to the queue" in text
  line, later, _ = start_and_stop("resumed after", signal.SIGINT)
  assert re.search(rf"resumed after (step \d+ of )?epoch {epoch}\n", line)
  assert later >= epoch
  assert was_requeued(cluster).count("requeue") == 1
