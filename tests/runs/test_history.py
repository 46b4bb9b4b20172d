# SPDX-License-Identifier: Apache-2.0
"""Time and revisions of a run over its resumes."""

import subprocess

import sgcl_jax
from sgcl_jax.runs import history


def test_time_adds_up_and_revisions_are_listed_once(monkeypatch):
  clock = iter([100.0, 107.0, 200.0, 202.0])
  monkeypatch.setattr(history.time, "monotonic", lambda: next(clock))
  monkeypatch.setattr(history, "find_revision", lambda: "aaaaaaa")
  monkeypatch.setattr(history, "find_versions", dict)
  first = history.follow(None)()
  assert first == {"seconds": 7.0, "revisions": ["aaaaaaa"], "versions": {}}
  monkeypatch.setattr(history, "find_revision", lambda: "bbbbbbb+")
  second = history.follow(first)()
  assert second["seconds"] == 9.0
  assert second["revisions"] == ["aaaaaaa", "bbbbbbb+"]
  clock = iter([0.0, 1.0])
  assert history.follow(second)()["revisions"] == second["revisions"]


def test_the_revision_is_the_commit_or_the_version(tmp_path, monkeypatch):
  monkeypatch.setattr(history, "ROOT", tmp_path)
  version = f"version {sgcl_jax.__version__}"
  find = history.find_revision.__wrapped__  # Without the cache.
  assert find() == version

  def git(*args):
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    line = ["git", "-C", tmp_path, *name, *args]
    subprocess.run(line, check=True, capture_output=True)

  git("init")
  assert find() == version  # No commit yet.
  (tmp_path / "x.py").write_text("1")
  git("add", ".")
  git("commit", "-m", "x")
  commit = find()
  assert len(commit) == 7
  (tmp_path / "run.log").write_text("untracked files do not count")
  assert find() == commit
  (tmp_path / "x.py").write_text("2")
  assert find() == f"{commit}+"
