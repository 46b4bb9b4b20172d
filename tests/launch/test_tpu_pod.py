# SPDX-License-Identifier: Apache-2.0
"""The launcher for TPU pods against a `gcloud` that records what it is told."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# `states` has what `list` sees, one line a look; the last one stays. So do
# `creates` and `runs`, the exit codes. Commands for the workers run in `home`.
GCLOUD = """#!PYTHON -IS
import json, os, pathlib, shutil, subprocess, sys
place = pathlib.Path(os.environ["FAKE"])
words = sys.argv[1:]
with open(place / "calls", "a") as file:
  print(json.dumps(words), file=file)
assert words[:3] == ["compute", "tpus", "tpu-vm"], words
assert "--zone=zone-b" in words and "--quiet" in words, words
def take(name):
  path = place / name
  first, *rest = path.read_text().splitlines()
  path.write_text("".join(f"{line}\\n" for line in rest or [first]))
  return first
verb = words[3]
if verb == "list":
  state = take("states")
  if state == "broken":
    sys.exit(1)
  print("other\\tREADY\\nmy-tpu-2\\tREADY")
  if state:
    print(f"my-tpu\\t{state}")
elif verb == "create":
  sys.exit(int(take("creates")))
elif verb == "scp":
  shutil.copy(words[4], place / "home")
elif verb == "ssh":
  assert words[4] == "my-tpu" and "--worker=all" in words, words
  (command,) = [w.split("=", 1)[1] for w in words if w.startswith("--command=")]
  done = subprocess.run(["bash", "-c", command], cwd=place / "home")
  sys.exit(done.returncode)
"""
# In the place of .venv/bin/python on a worker.
PYTHON = """#!PYTHON -IS
import json, os, pathlib, sys
place = pathlib.Path(os.environ["FAKE"])
with open(place / "trained", "a") as file:
  print(json.dumps([*sys.argv[1:], os.environ["PYTHONUNBUFFERED"]]), file=file)
path = place / "runs"
first, *rest = path.read_text().splitlines()
path.write_text("".join(f"{line}\\n" for line in rest or [first]))
sys.exit(int(first))
"""
ENVIRONMENT = """
install_project() {
  echo "installs $1" >> "$FAKE/installed"
  mkdir -p .venv/bin
  cp "$FAKE/python" .venv/bin/python
}
"""
ARGS = ["my-tpu", "zone-b", "configs/a.py:gcl=false", "/mnt/my runs/$x"]


@pytest.fixture
def cloud(tmp_path):
  """Returns a caller of the script: (states, runs, creates, args, variables).

  What it returns has `calls`, the verbs with what is not the zone.
  """
  project, fake = tmp_path / "project", tmp_path / "fake"
  for directory in (project / "launch", project / "data", fake / "home"):
    directory.mkdir(parents=True)
  shutil.copy(ROOT / "launch" / "tpu_pod.sh", project / "launch")
  (project / "launch" / "environment.sh").write_text(ENVIRONMENT)
  for name, text in {"gcloud": GCLOUD, "python": PYTHON}.items():
    (fake / name).write_text(text.replace("PYTHON ", f"{sys.executable} "))
    (fake / name).chmod(0o755)

  def call(states, runs=(0,), creates=(0,), args=ARGS, **variables):
    lists = {"states": states, "runs": runs, "creates": creates}
    for name, values in lists.items():
      (fake / name).write_text("".join(f"{value}\n" for value in values))
    path = f"{fake}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
      ["bash", project / "launch" / "tpu_pod.sh", *args],
      env={"PATH": path, "FAKE": str(fake), "TPU_WAIT": "0", **variables},
      capture_output=True,
      text=True,
      timeout=60,
    )
    calls = fake / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    done.calls = [json.loads(line)[3:] for line in lines]
    trained = fake / "trained"
    lines = trained.read_text().splitlines() if trained.exists() else []
    done.trained = [json.loads(line) for line in lines]
    done.home = fake / "home"
    return done

  return call


def list_verbs(done):
  return [call[0] for call in done.calls if call[0] != "list"]


PREPARED = ["ssh", "scp", "ssh"]


def test_the_same_command_on_all_workers(cloud):
  """Words reach Python as they are, through two shells."""
  flags = ["--config.seed=2", '--config.data.dir=/mnt/it\'s "here"; exit 3']
  done = cloud(["READY"], args=[*ARGS, *flags], TPU_SETUP="echo set up > setup")
  assert (done.returncode, done.stderr) == (0, "")
  assert list_verbs(done) == [*PREPARED, "ssh"]
  assert done.trained == [
    [
      "-m",
      "sgcl_jax.main",
      "--coordinator=auto",
      "--config=configs/a.py:gcl=false",
      "--workdir=/mnt/my runs/$x",
      *flags,
      "1",
    ]
  ]
  assert (done.home / "setup").read_text() == "set up\n"
  assert (done.home.parent / "installed").read_text() == "installs tpu\n"
  copied = {path.name for path in (done.home / "sgcl_jax").iterdir()}
  assert copied == {"launch", ".venv"}  # The second is made there.


def test_a_preempted_tpu_is_made_again(cloud):
  """255 is what ssh says of a lost connection; it is not there at first."""
  states = ["", "CREATING", "READY", "PREEMPTED", "PREEMPTED", "READY"]
  create = "--accelerator-type=v5litepod-16 --spot"
  done = cloud(states, runs=(255, 0), TPU_CREATE=create)
  assert done.returncode == 0
  expected = ["create", *PREPARED, "ssh", "delete", "create", *PREPARED, "ssh"]
  assert list_verbs(done) == expected
  assert done.trained[0] == done.trained[1]
  first = next(call for call in done.calls if call[0] == "create")
  assert first[1:4] == ["my-tpu", "--accelerator-type=v5litepod-16", "--spot"]


def test_no_capacity_is_waited_for_after_a_preemption_only(cloud):
  create = {"TPU_CREATE": "--spot"}
  done = cloud([""], creates=(1,), **create)
  assert (done.returncode, list_verbs(done)) == (1, ["create"])
  assert done.stderr == "error: TPU my-tpu was not created\n"
  (done.home.parent / "calls").unlink()
  states = ["READY", "PREEMPTED", "PREEMPTED", "", "READY"]
  done = cloud(states, runs=(143, 0), creates=(1, 0), **create)
  assert done.returncode == 0
  verbs = [*PREPARED, "ssh", "delete", "create", "create", *PREPARED, "ssh"]
  assert list_verbs(done) == verbs


@pytest.mark.parametrize("code", [1, 143])
def test_a_run_that_ends_while_the_tpu_is_ready(cloud, code):
  """A mistake, or a stop by hand: it does not start again."""
  done = cloud(["READY"], runs=(code,), TPU_CREATE="--spot")
  assert done.returncode == code and len(done.trained) == 1
  assert f"ended with {code}" in done.stderr
  assert "the same command goes on where the run was saved" in done.stderr


def test_a_worker_that_cannot_be_prepared_does_not_train(cloud):
  done = cloud(["READY"], TPU_SETUP="exit 32")
  assert (done.returncode, list_verbs(done)) == (32, ["ssh"])


@pytest.mark.parametrize(
  ("states", "args", "message"),
  [
    (["READY"], ARGS[:3], "usage: bash "),
    (["READY"], [*ARGS[:3], "runs/a"], "WORKDIR runs/a must be a path from /"),
    (["PREEMPTED"], ARGS, "TPU my-tpu in zone-b is PREEMPTED: create it, or"),
    ([""], ARGS, "TPU my-tpu in zone-b is not there: create it, or set TPU_C"),
    (["STOPPED"], ARGS, "TPU my-tpu in zone-b is STOPPED; start it first"),
    (["broken"], ARGS, "gcloud cannot list the TPUs of zone-b"),
  ],
)
def test_mistakes(cloud, states, args, message):
  done = cloud(states, args=args)
  assert done.returncode == 1
  assert done.stderr.startswith(f"error: {message}")
  assert done.stderr.count("\n") == 1 and not list_verbs(done)
