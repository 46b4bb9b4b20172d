# SPDX-License-Identifier: Apache-2.0
"""How the cores of a CPU become devices."""

import json
import os

import jax
import pytest

from sgcl_jax import errors
from sgcl_jax.devices import cores, platforms, set_up

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
DEVICES = "--xla_force_host_platform_device_count="


@pytest.mark.parametrize(
  ("num_cores", "batch_size", "flags"),
  [
    (1, 16, []),
    (2, 16, [f"{DEVICES}2", ONE_THREAD]),
    (2, 15, []),
    (4, 6, [f"{DEVICES}3"]),
    (6, 6, [f"{DEVICES}6", ONE_THREAD]),
    (64, 64, [f"{DEVICES}8"]),
    (4, 1, []),
  ],
)
def test_cores_become_devices(num_cores, batch_size, flags, monkeypatch):
  monkeypatch.setattr(cores, "count_cores", lambda: num_cores)
  monkeypatch.setenv("XLA_FLAGS", "")
  set_up.make_devices_of_cores(batch_size)
  assert os.environ["XLA_FLAGS"].split() == flags


def test_a_number_that_is_set_is_kept(monkeypatch):
  monkeypatch.setattr(cores, "count_cores", lambda: 4)
  monkeypatch.setenv("XLA_FLAGS", f"{DEVICES}1")
  set_up.make_devices_of_cores(16)
  assert os.environ["XLA_FLAGS"] == f"{DEVICES}1"


@pytest.mark.parametrize(
  ("error", "reason"),
  [
    (AssertionError(), "its plugin finds no such device"),
    (RuntimeError("Unable to\ninitialize"), "Unable to initialize"),
  ],
)
def test_a_platform_without_devices(error, reason, monkeypatch):
  """JAX raises the first for JAX_PLATFORMS=cuda without a GPU."""

  def raise_error():
    raise error

  monkeypatch.setattr(jax, "local_devices", raise_error)
  monkeypatch.setattr(platforms, "is_cpu_alone", lambda _: False)
  for name in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"):
    monkeypatch.setenv(name, "unchanged")
  with pytest.raises(errors.ConfigError, match=rf"\({reason}\)") as refusal:
    set_up.configure(8, "highest")
  assert "JAX_PLATFORMS=cpu" in str(refusal.value)


TRITON = "--xla_gpu_enable_triton_gemm="
EXCLUDE = "--xla_gpu_exclude_nondeterministic_ops="


@pytest.mark.parametrize(
  ("given", "deterministic", "flags"),
  [
    ("", False, [f"{TRITON}false"]),
    ("", True, [f"{TRITON}false", f"{EXCLUDE}true"]),
    (f"{TRITON}true", True, [f"{TRITON}true", f"{EXCLUDE}true"]),
  ],
)
def test_flags_for_cuda(given, deterministic, flags, monkeypatch):
  monkeypatch.setattr(set_up, "CUDA_PLUGINS", ("json",))
  monkeypatch.setattr(platforms, "is_cpu_alone", lambda _: False)
  monkeypatch.setenv("XLA_FLAGS", given)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "unchanged")
  set_up.configure(8, "highest", deterministic=deterministic)
  assert os.environ["XLA_FLAGS"].split() == flags


@pytest.mark.skipif(cores.count_cores() < 2, reason="there is one core")
def test_a_command_uses_them(run_main, tmp_path):
  workdir = tmp_path / "run"
  one_epoch = {"optim.num_epochs": 1}
  result = run_main("--workdir", workdir, devices=None, **one_epoch)
  assert result.returncode == 0, result.stderr
  num = min(cores.count_cores(), set_up.MAX_CPU_DEVICES)
  num = max(n for n in range(1, num + 1) if 8 % n == 0)
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["device"] == f"{num} x cpu"
