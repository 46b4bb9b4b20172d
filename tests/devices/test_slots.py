# SPDX-License-Identifier: Apache-2.0
"""What each of several processes side by side gets."""

import pytest

from sgcl_jax.devices import platforms, slots


@pytest.mark.parametrize(
  ("jobs", "devices", "expected"),
  [
    (2, (), {("", "0.450")}),
    (2, ("4", "5"), {("4", ""), ("5", "")}),
    (4, ("4", "5"), {("4", "0.450"), ("5", "0.450")}),
    (3, ("1",), {("1", "0.300")}),
  ],
)
def test_devices_and_their_memory_are_shared(
  monkeypatch, jobs, devices, expected
):
  monkeypatch.setattr(platforms, "is_cpu_alone", lambda _: False)
  monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
  names = "CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION"
  found = [slots.make_environment(slot, jobs, devices) for slot in range(jobs)]
  assert {tuple(e.get(name, "") for name in names) for e in found} == expected
  monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.2")
  assert names[1] not in slots.make_environment(0, jobs, devices)
