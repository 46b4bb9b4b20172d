# SPDX-License-Identifier: Apache-2.0
"""Progress: a bar on a terminal, and now and then a line in a log."""

import io
import sys

from sgcl_jax import train
from sgcl_jax.terminal import progress
from tests.conftest import ROOT


def use(monkeypatch, stream):
  monkeypatch.setattr(sys, "stderr", stream)
  return stream


def test_a_log_has_a_line_a_minute(monkeypatch):
  log = use(monkeypatch, io.StringIO())
  monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
  bar = progress.bar(description="epoch 1/6", total=200, unit="clips")
  with bar:
    for loss in (1.5, 1.25):
      bar.set_postfix_str(f"loss {loss}", refresh=False)
      bar.update(100)
  first, second = log.getvalue().splitlines()[-2:]
  assert first.startswith("epoch 1/6: 50 %, 100 of 200 clips, ")
  assert first.endswith(" left, loss 1.5")
  assert second.startswith("epoch 1/6: 100 %") and second.endswith("loss 1.25")
  assert "\r" not in log.getvalue()


def test_a_loop_of_unknown_length(monkeypatch):
  log = use(monkeypatch, io.StringIO())
  monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
  assert list(progress.bar(iter("ab"), unit="files")) == ["a", "b"]
  assert log.getvalue().splitlines()[-1].startswith("2 files in 00:00")


def test_a_short_loop_prints_nothing(monkeypatch):
  log = use(monkeypatch, io.StringIO())
  assert list(progress.bar(range(1000), unit="files")) == list(range(1000))
  assert log.getvalue() == ""
  use(monkeypatch, None)
  assert list(progress.bar(range(3), unit="files")) == [0, 1, 2]


def test_a_terminal_has_a_bar(monkeypatch):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  use(monkeypatch, terminal)
  assert list(progress.bar(range(2), "files", unit="files")) == [0, 1]
  assert "files:" in terminal.getvalue() and "\r" in terminal.getvalue()


def test_a_training_shows_it(monkeypatch, tmp_path, tiny):
  log = use(monkeypatch, io.StringIO())
  monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
  train.run(tiny(**{"optim.num_epochs": 1}), tmp_path / "run")
  lines = log.getvalue().splitlines()
  steps = [line for line in lines if line.startswith("epoch 1/1: ")]
  assert len(steps) >= 12 and "of 96 clips" in steps[-1]
  assert "loss" in steps[-1]
  assert any(
    line.startswith("evaluate: 100 %, 2 of 2 batches") for line in lines
  )


def test_nothing_else_draws_a_bar():
  """Every loop shows its progress in the same way."""
  for folder in ("sgcl_jax", "data_prep", "launch"):
    for path in (ROOT / folder).rglob("*.py"):
      text = path.read_text(encoding="utf-8")
      alone = "tqdm.tqdm(" in text or "trange" in text
      assert not alone or path.name == "progress.py", path
