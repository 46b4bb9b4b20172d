# SPDX-License-Identifier: Apache-2.0
"""Each of the nine experiments takes a step at its batch size in 12 GiB."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sgcl_jax.runs import record

CONFIGS = [
  f"{backbone}_{data}"
  for backbone in ("ctrgcn", "agcn", "infogcn")
  for data in ("ntu60", "ntu120", "ucla")
]
LIMIT_GIB = 12


@pytest.fixture(scope="module")
def ntu_data(make_ntu_data):
  """Writes enough clips for a batch of 128."""
  return make_ntu_data(20)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_fits(name, ntu_data, tiny_data, tmp_path):
  data = tiny_data if name.endswith("ucla") else ntu_data
  command = [sys.executable, "-m", "sgcl_jax.main"]
  command += ["--config", f"configs/{name}.py", "--workdir", tmp_path / "run"]
  command += [f"--config.data.dir={data}"]
  command += ["--config.data.require_aligned=false"]
  with (tmp_path / "log").open("w") as log:
    process = subprocess.Popen(command, stdout=log, stderr=log)
  step = None
  while step is None:
    time.sleep(0.5)
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    assert not pid, (status, (tmp_path / "log").read_text())
    step = next(iter(record.read(tmp_path / "run")), None)
  process.send_signal(signal.SIGKILL)
  _, _, usage = os.wait4(process.pid, 0)
  process.returncode = -signal.SIGKILL
  gib = usage.ru_maxrss / 2**20
  print(f"{name}: {gib:.2f} GiB")
  assert gib < LIMIT_GIB
  assert step["step"] == 1 and step["loss"] > 0 and step["bank_fill"] > 0
