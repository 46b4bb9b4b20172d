# SPDX-License-Identifier: Apache-2.0
"""Runs of several processes: the numbers of one, one writer, one end."""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from jax._src import clusters

from sgcl_jax import errors, train
from sgcl_jax.devices import hosts
from sgcl_jax.runs import checkpoint, record
from tests import test_train
from tests.conftest import ROOT
from tests.devices import member

NO_LAUNCHER = ("SLURM_", "OMPI_", "TPU_", "CUDA_VISIBLE", "JAX_LOCAL")


def find_port():
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def start(line, devices, **env):
  flags = f"--xla_force_host_platform_device_count={devices}"
  return subprocess.Popen(
    [sys.executable, *map(str, line)],
    cwd=ROOT,
    env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **env},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(processes):
  """Returns (exit code, output, errors) of each, without libraries' lines."""
  found = []
  for process in processes:
    out, err = process.communicate(timeout=300)
    kept = [line for line in err.splitlines() if "[Gloo]" not in line]
    found.append((process.returncode, out, "\n".join(kept)))
  return found


@pytest.fixture(scope="module")
def run_members(tmp_path_factory, tiny_data):
  """Returns a runner of tests/devices/member.py: what it wrote, and where."""

  def run(num, devices):
    out = tmp_path_factory.mktemp("members")
    port = find_port()
    base = ["-m", "tests.devices.member", num]
    ended = finish(
      [start([*base, i, port, tiny_data, out], devices) for i in range(num)]
    )
    for code, _, err in ended:
      assert code == 0, err
    said = [json.loads((out / f"{i}.json").read_text()) for i in range(num)]
    return out, said, ended

  return run


@pytest.fixture(scope="module")
def pair(run_members):
  """Two processes of two devices."""
  return run_members(2, 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny):
  """Returns the workdir of the same run in one process with one device."""
  path = tmp_path_factory.mktemp("alone") / "run"
  train.run(tiny(**member.FIELDS), path)
  return path


def assert_same_run(workdir, expected):
  """The order of sums depends on the devices: up to rounding errors."""
  ours, theirs = map(record.read, (workdir, expected))
  assert len(ours) == len(theirs) == 10
  for line, other in zip(ours, theirs, strict=True):
    assert line.pop("split") == other.pop("split")
    assert line == pytest.approx(other, rel=2e-5, abs=1e-6)
  ours, theirs = map(test_train.read_state, (workdir, expected))
  assert ours.keys() == theirs.keys()
  for name, value in theirs.items():
    scale = max(np.abs(value).max(initial=0), 1e-2)
    np.testing.assert_allclose(
      ours[name], value, rtol=0, atol=5e-5 * scale, err_msg=name
    )
  ours, theirs = map(test_train.read_scores, (workdir, expected))
  assert (ours["names"] == theirs["names"]).all()
  np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-5)


def test_two_processes_train_as_one(pair, alone):
  """A batch that leaves a rest, padding, and anchors that are skipped."""
  out, said, _ = pair
  active = [line.get("active_anchors", 0) for line in record.read(alone)]
  assert any(0 < share < 1 for share in active), active
  assert_same_run(out / "whole", alone)
  summary = json.loads((out / "whole" / "summary.json").read_text())
  assert summary["device"] == "4 x cpu in 2 processes"
  assert [x["top1"] for x in said] == [summary["top1"]] * 2


def test_their_states_are_equal(pair):
  _, (first, second), _ = pair
  # Two epochs, the stop, and two epochs of which one was begun.
  assert len(first["saved"]) == 5
  assert first["saved"][1] == first["saved"][4]
  assert first["saved"] == second["saved"]


def test_resumed_processes_equal_uninterrupted_ones(pair):
  """Bit for bit."""
  out, _, _ = pair
  whole, resumed = out / "whole", out / "resumed"
  assert record.read(resumed) == record.read(whole)
  test_train.assert_same_state(*map(test_train.read_state, (resumed, whole)))
  ours, theirs = map(test_train.read_scores, (resumed, whole))
  assert (ours["logits"] == theirs["logits"]).all()


def test_a_signal_to_one_process_stops_all(pair, alone, tiny, tmp_path):
  """It is saved, and goes on in another number of processes."""
  out, said, ended = pair
  assert [x["code"] for x in said] == [143, 143]
  # The others know it one step later.
  done = f"saved after step {member.STOPPED_BEFORE + 1} of epoch 1"
  assert done in ended[0][2] and "saved" not in ended[1][2]
  assert "SIGTERM" in ended[1][2] and "SIGTERM" not in ended[0][2]
  metadata = checkpoint.read_metadata(out / "stopped")
  assert metadata["partial"]["steps"] == member.STOPPED_BEFORE + 1
  shutil.copytree(out / "stopped", tmp_path / "run")
  train.run(tiny(**member.FIELDS), tmp_path / "run")
  assert_same_run(tmp_path / "run", alone)


def test_only_the_first_process_prints(pair):
  _, _, ((_, first, _), (_, second, _)) = pair
  lines = first.splitlines()
  assert lines[0] == "printed by the first process alone"
  assert not any("Gloo" in line for line in lines)
  assert second == ""


def test_values_of_the_first_process(pair):
  _, (first, second), _ = pair
  assert (first["index"], second["index"]) == (0, 0)
  assert first["refusal"] == ""
  assert second["refusal"].startswith(
    "process 1 has another index than process 0 (1, not 0)"
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("num", "devices"), [(1, 2), (1, 4), (1, 8), (2, 1), (2, 4), (4, 1)]
)
def test_other_numbers_of_processes_and_devices(
  num, devices, run_members, alone
):
  out, said, _ = run_members(num, devices)
  assert len({tuple(x["saved"]) for x in said}) == 1
  assert_same_run(out / "whole", alone)


@pytest.fixture
def start_pair(list_fields):
  """Returns a starter of two processes of `python -m sgcl_jax.main`."""
  started = []

  def run(workdir, *extra, **overrides):
    line = ["-m", "sgcl_jax.main", *list_fields("ctrgcn_ucla", **overrides)]
    line += [f"--workdir={workdir}", "--num_processes=2"]
    line.append(f"--coordinator=127.0.0.1:{find_port()}")
    for index in range(2):
      more = extra[index] if extra else []
      started.append(start([*line, f"--process_id={index}", *more], 2))
    return started

  yield run
  for process in started:
    process.kill()


def wait_for_steps(workdir):
  deadline = time.monotonic() + 120
  while len(record.read(workdir)) < 3:
    assert time.monotonic() < deadline, "no steps"
    time.sleep(0.2)


@pytest.mark.slow
def test_a_process_that_differs_ends_all(start_pair, tmp_path):
  extra = [], ["--config.seed=7"]
  found = finish(start_pair(tmp_path / "run", *extra))
  (first, out, said), (second, _, refusal) = found
  assert (first, second) == (1, 1)
  assert refusal.splitlines() == [
    "error: process 1 has another config.seed than process 0 (7, not 1): start"
    " all with the same command, code and data"
  ]
  assert "process 1 of this run has ended with an error" in said
  assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_process_ends_all(index, start_pair, tmp_path):
  pair = start_pair(tmp_path / "run", **{"optim.num_epochs": 999})
  wait_for_steps(tmp_path / "run")
  pair[index].kill()
  begin = time.monotonic()
  found = finish(pair)
  assert time.monotonic() - begin < 120
  assert found[index][0] == -signal.SIGKILL
  code, _, said = found[1 - index]
  assert code == 1
  lines = [x for x in said.splitlines() if not x.startswith("notice: ")]
  # Gloo may wait for a process that is gone; then its silence is noticed.
  how = "is gone" if index == 0 else "(is gone|has not been heard for a minute)"
  (line,) = lines
  assert re.fullmatch(
    f"error: process {index} of this run {how}; this is process {1 - index}",
    line,
  )


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_signal_to_one_command(index, start_pair, tmp_path):
  workdir = tmp_path / "run"
  pair = start_pair(workdir, **{"optim.num_epochs": 999})
  wait_for_steps(workdir)
  pair[index].terminate()
  found = finish(pair)
  assert [code for code, _, _ in found] == [143, 143]
  assert "saved after" in found[0][2]
  metadata = checkpoint.read_metadata(workdir)
  assert metadata["step"] == record.read(workdir)[-1]["step"]


@pytest.mark.slow
def test_slurm_says_who_is_who(pair, tmp_path):
  """Two tasks of a step evaluate; the port follows from the job."""
  shutil.copytree(pair[0] / "whole", tmp_path / "run")
  line = ["-m", "sgcl_jax.main", "--mode=evaluate", "--json"]
  line.append(f"--workdir={tmp_path / 'run'}")
  job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
  job |= {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
  tasks = [
    start(line, 2, **job, SLURM_PROCID=str(i), SLURM_LOCALID=str(i))
    for i in range(2)
  ]
  (code, out, said), (other, nothing, _) = finish(tasks)
  assert (code, other) == (0, 0), said
  assert json.loads(out)["device"] == "4 x cpu in 2 processes"
  assert nothing == ""


def test_a_process_that_waits_for_others_gives_up():
  program = (
    "import argparse\n"
    "from sgcl_jax.devices import hosts\n"
    "hosts.JOIN_SECONDS = 1\n"
    "args = argparse.Namespace(\n"
    f"  coordinator='127.0.0.1:{find_port()}', num_processes=2, process_id=0)\n"
    "with hosts.join(args):\n"
    "  print('joined')\n"
  )
  ((code, out, said),) = finish([start(["-c", program], 1)])
  assert (code, out) == (1, "")
  assert "did not meet (in 1 seconds). Give each --coordinator=" in said


def parse(*args):
  parser = argparse.ArgumentParser()
  hosts.add_options(parser)
  return parser.parse_args(args)


@pytest.fixture
def no_launcher(monkeypatch):
  for name in os.environ:
    if name.startswith(NO_LAUNCHER):
      monkeypatch.delenv(name)
  return monkeypatch


STEP = {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
  ("env", "args", "is_joined"),
  [
    ({}, [], False),
    # A script or a shell in an allocation of several tasks.
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, [], False),
    (
      {**STEP, "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1"},
      [],
      False,
    ),
    ({**STEP, "SLURM_NTASKS": "1"}, [], False),
    ({**STEP, "SLURM_NTASKS": "2"}, [], True),
    ({**STEP, "SLURM_STEP_NUM_TASKS": "2"}, [], True),
    ({**STEP, "SLURM_NTASKS": "2"}, ["--coordinator=none"], False),
    ({"OMPI_COMM_WORLD_SIZE": "1"}, [], False),
    ({"OMPI_COMM_WORLD_SIZE": "3"}, [], True),
    ({"TPU_WORKER_HOSTNAMES": "a"}, [], False),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, [], True),
    ({}, ["--coordinator=auto"], True),
    ({}, ["--coordinator=h:1", "--num_processes=2", "--process_id=1"], True),
  ],
)
def test_when_processes_are_joined(env, args, is_joined, no_launcher):
  for name, value in env.items():
    no_launcher.setenv(name, value)
  assert hosts._is_one_of_many(parse(*args)) == is_joined


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--num_processes=2"], "need --coordinator=HOST:PORT"),
    (["--process_id=0"], "need --coordinator=HOST:PORT"),
    (["--coordinator=here"], "=here is no HOST:PORT, auto or none"),
    (["--coordinator=h:x"], "=h:x is no HOST:PORT"),
    (["--coordinator=h:1", "--num_processes=0"], "is no number from 1 on"),
    (
      ["--coordinator=h:1", "--num_processes=2", "--process_id=2"],
      "--process_id=2 is not from 0 to 1",
    ),
  ],
)
def test_options_that_name_no_processes(args, message, no_launcher):
  with (
    pytest.raises(errors.ConfigError, match=message),
    hosts.join(parse(*args)),
  ):
    pass


def test_an_environment_that_jax_does_not_know(no_launcher):
  def initialize(*args, **options):
    assert args == (None, None, None)
    # A pause of all processes ends none: JAX would end them.
    assert options["heartbeat_timeout_seconds"] > 24 * 3600
    raise ValueError("coordinator_address should be defined.")

  no_launcher.setattr(jax.distributed, "initialize", initialize)
  no_launcher.setattr(jax.config, "update", lambda *_: None)
  with (
    pytest.raises(errors.HostsError, match="did not meet .coordinator_addr"),
    hosts.join(parse("--coordinator=auto")),
  ):
    pass


SLURM = {"SLURM_LOCALID": "0"}
OMPI = {"OMPI_COMM_WORLD_LOCAL_RANK": "0"}


@pytest.mark.parametrize(
  ("env", "devices"),
  [
    ({}, []),  # None would make JAX look for Kubernetes.
    ({"JAX_LOCAL_DEVICE_IDS": "0"}, None),
    ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, None),
    ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, []),
    ({**OMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, None),
    ({**OMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, []),
    ({**SLURM, "CUDA_VISIBLE_DEVICES": "0,1"}, None),
    ({**SLURM, "CUDA_VISIBLE_DEVICES": "1"}, []),
    ({"CUDA_VISIBLE_DEVICES": "1", "JAX_LOCAL_DEVICE_IDS": "0"}, None),
  ],
)
def test_devices_of_a_process(env, devices, no_launcher):
  for name, value in env.items():
    no_launcher.setenv(name, value)
  assert hosts._find_local_devices() == devices


def test_flags_leave_the_device_to_slurm(no_launcher):
  """Each of four tasks of a node has the device of its number."""
  env = {**STEP, **SLURM, "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}
  env |= {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_LOCALID": "3"}
  for name, value in env.items():
    no_launcher.setenv(name, value)
  flags = ["--coordinator=h:1", "--num_processes=8", "--process_id=7"]
  place = hosts._find_place(parse(*flags), clusters.ClusterEnv)
  assert place == ("h:1", 8, 7, [3])


def test_processes_that_were_not_joined(monkeypatch):
  """As on a host of a TPU pod, where JAX finds the others by itself."""
  monkeypatch.setattr("jax.process_count", lambda: 4)
  with pytest.raises(errors.HostsError, match="one of 4 processes: .*auto"):
    hosts.check_joined()


def test_hosts_with_other_numbers_of_devices(monkeypatch):
  monkeypatch.setattr("jax.device_count", lambda: 3)
  with pytest.raises(errors.HostsError, match="each must have as many"):
    hosts.check_joined()
