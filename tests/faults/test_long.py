# SPDX-License-Identifier: Apache-2.0
"""The harness of random faults: a few here, many by hand."""

import collections
import os
import random
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults import long, process, stops
from tests.faults import trial as trials

FEW = ["kill in a save", "damaged file of a run", "full disk"]


@pytest.mark.parametrize(
  "kinds",
  [FEW, pytest.param(list(long.KINDS), marks=pytest.mark.slow)],
  ids=["few", "all"],
)
def test_faults_lose_nothing_and_are_not_silent(kinds, tmp_path):
  cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
  (tmp_path / "cache").symlink_to(cache)  # That of the whole suite.
  line = [sys.executable, "-m", "tests.faults.long", "--out", str(tmp_path)]
  line += ["--faults", str(len(kinds)), "--seed", "5", "--kinds", *kinds]
  done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  assert f"| all | {len(kinds)} | 0 | 0 | 0 | 0 | 0 | 0 |" in done.stdout
  # All are there already: the same table, and nothing is run.
  again = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
  assert again.stdout == done.stdout[done.stdout.index("| kind") :]


def test_kinds_are_drawn_by_their_shares():
  total = sum(share for _, share in long.KINDS.values())
  drawn = long.draw_kinds(total, list(long.KINDS), 3)
  counts = collections.Counter(drawn)
  for kind, (_, share) in long.KINDS.items():
    assert abs(counts[kind] - share) <= 1, kind
  assert drawn == long.draw_kinds(total, list(long.KINDS), 3)
  assert set(long.draw_kinds(13, list(long.KINDS), 0)) <= set(long.KINDS)


class _Run:
  """Stands for a run that was hit, and for the one that resumes it."""

  def __init__(self, code, err="", out="", hung=False):
    self.code, self.err, self.out, self.hung = code, err, out, hung
    self.waited = 1.5


@pytest.mark.parametrize(
  ("code", "err", "hung", "problem"),
  [
    (0, "", False, "ignored"),
    (0, "", True, "hung"),
    (1, "error: x", False, "unclear"),
    (143, "Traceback (most", False, "unclear"),
    (143, "", False, None),
    (-15, "", False, None),
  ],
)
def test_how_a_stop_is_judged(code, err, hung, problem, tmp_path, monkeypatch):
  monkeypatch.setattr(trials.Trial, "resume", lambda *_, **__: trials.Outcome())
  rng = random.Random(0)
  path = tmp_path
  trial = trials.Trial(path, path, path, path, 1.0, rng)
  found = stops._judge_stop(trial, 15, _Run(code, err, hung=hung), False)
  assert (found.problem, found.waited) == (problem, 1.5)


@pytest.mark.parametrize(
  ("code", "out", "problem"),
  [
    (1, "", "unclear"),
    (0, "", "lost"),
    (0, "resumed after step 3 of epoch 1\n", "lost"),
    (0, "resumed after step 5 of epoch 1\n", "silent"),
    (0, "resumed after epoch 1\n", "silent"),
  ],
)
def test_how_a_resumed_run_is_judged(code, out, problem, tmp_path, monkeypatch):
  ended = process.Ended(code, out, "", 0.0, False)
  run = collections.namedtuple("Run", "end")(lambda: ended)
  monkeypatch.setattr(trials.Trial, "begin", lambda *_, **__: run)
  monkeypatch.setattr(trials, "find_difference", lambda *_: "metrics.jsonl")
  trial = trials.Trial(*[tmp_path] * 4, 1.0, random.Random(0))
  assert trial.resume(5).problem == problem
