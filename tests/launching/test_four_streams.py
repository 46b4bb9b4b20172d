# SPDX-License-Identifier: Apache-2.0
"""Four streams with one command: what is trained, resumed and fused."""

import json
import shutil
import subprocess

import pytest

from sgcl_jax import ensemble, errors, modalities
from sgcl_jax import main as main_module
from sgcl_jax.evaluation import metrics
from sgcl_jax.launching import four_streams, series
from sgcl_jax.runs import scores
from tests import finished
from tests.conftest import ROOT

CONFIG = "configs/ctrgcn_ucla.py"


@pytest.fixture
def trained(monkeypatch):
  """Replaces the training: writes what a run leaves; lists the runs."""
  runs = []

  def launch(run, *_):
    runs.append(run.title)
    if (run.directory / "broken").exists():
      return 1
    finished.train(run, right=15 - modalities.NAMES.index(run.title))
    return 0

  monkeypatch.setattr(series, "launch", launch)
  monkeypatch.setattr(series, "find_summary", finished.find_summary)
  return runs


@pytest.fixture
def call(call_main):
  """Returns a runner of the command in this process."""
  return lambda *args: call_main(four_streams.main, *args)


def test_the_runs_of_a_config():
  runs = four_streams.plan(f"{CONFIG}:gcl=false", ["--config.seed=3"], None)
  assert list(runs) == list(modalities.NAMES)
  bone = runs["bone"]
  assert str(bone.directory) == "runs/ctrgcn_ucla_xview_bone_nogcl"
  assert bone.spec == f"{CONFIG}:gcl=false,modality=bone"
  assert bone.fields == ("--config.seed=3",)
  runs = four_streams.plan(CONFIG, [], "place")
  assert str(runs["joint_motion"].directory) == "place/joint_motion"


@pytest.mark.parametrize(
  ("spec", "settings", "message"),
  [
    (f"{CONFIG}:modality=bone", [], "the four streams are the values of"),
    (CONFIG, ["--config.data.modality=bone"], "set by the streams"),
    (CONFIG, ["--config.optim.base_rl=1"], "did you mean config.optim.base_lr"),
    (CONFIG, ["--seed=1"], "unknown option --seed"),
    (f"{CONFIG}:split=xsub", [], "unknown option 'split'"),
    ("absent.py", [], "there is no config file absent.py"),
  ],
)
def test_configs_that_make_no_sense(spec, settings, message):
  with pytest.raises(errors.ConfigError, match=message):
    four_streams.plan(spec, settings, None)


def test_what_is_missing_is_trained_and_all_is_fused(call, trained, tmp_path):
  out = tmp_path / "out"
  (out / "bone").mkdir(parents=True)
  (out / "bone" / "broken").touch()
  result = call(CONFIG, "--out", out)
  assert result.returncode == 1
  assert "bone: its message is above" in result.stderr
  assert trained == list(modalities.NAMES)  # One failure stops no other.
  (out / "bone" / "broken").unlink()
  result = call(CONFIG, "--out", out)
  assert result.returncode == 0, result.stderr
  assert trained[4:] == ["bone"]

  paths = [out / stream for stream in modalities.NAMES]
  whole = ensemble.describe(ensemble.load(paths, "4s"))
  both = ensemble.describe(ensemble.load(paths[:2], "2s"))
  low, high = whole["interval"]
  assert f"| 4S | {whole['top1']:.2f} | {low:.2f} to {high:.2f} | " in (
    result.stdout
  )
  assert f"| J+B | {both['top1']:.2f} | " in result.stdout
  assert "| weights 0.6 0.6 0.4 0.4 |" in result.stdout
  result = call(CONFIG, "--out", out, "--json")
  found = json.loads(result.stdout)
  assert found["fused"]["4S"]["top1"] == whole["top1"]
  assert found["num_clips"] == finished.NUM_CLIPS and len(trained) == 5
  alone = scores.read(out / "joint" / "scores" / "xview_joint.npz")
  assert found["streams"]["joint"]["top1"] == alone.accuracy()["top1"]
  interval = metrics.summarize(alone.logits, alone.labels)["top1_interval"]
  assert found["streams"]["joint"]["interval"] == interval


def test_the_script_hands_its_arguments_on(tmp_path):
  """From any directory, with an environment that is installed already."""
  for name in ("four_streams.sh", "environment.sh"):
    (tmp_path / "launch").mkdir(exist_ok=True)
    shutil.copy(ROOT / "launch" / name, tmp_path / "launch")
  python = tmp_path / ".venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/bash\necho "$PWD: $*"\n')
  python.chmod(0o755)
  (tmp_path / "setup.py").touch()
  (tmp_path / ".venv" / "installed-").touch()
  line = [CONFIG, "--config.optim.decay_epochs=(1, 2)", "--jobs", "2"]
  result = subprocess.run(
    ["bash", tmp_path / "launch" / "four_streams.sh", *line],
    cwd="/",
    capture_output=True,
    text=True,
  )
  assert result.returncode == 0, result.stderr
  expected = f"{tmp_path}: -m sgcl_jax.launching.four_streams {' '.join(line)}"
  assert result.stdout.splitlines()[-1] == expected


@pytest.mark.slow
def test_four_trainings_are_fused_and_not_repeated(
  call, list_fields, tmp_path, monkeypatch
):
  """Real trainings of seconds, in this process."""

  def launch(run, *_):
    main_module.main(run.arguments())
    return 0

  monkeypatch.setattr(series, "launch", launch)
  _, *settings = list_fields("ctrgcn_ucla", **{"optim.num_epochs": 1})
  out = tmp_path / "out"
  line = (CONFIG, "--out", out, *settings)
  result = call(*line)
  assert result.returncode == 0, result.stderr
  assert result.stdout.count("epoch 1/1") == 4
  result = call(*line)
  assert "epoch 1/1" not in result.stdout
  assert result.stdout.count("as found in") == 4
  # Another config there is refused before anything is trained.
  result = call(*line, "--config.seed=2")
  assert result.returncode == 1
  assert "config.seed=1, not 2; use another --out" in result.stderr
  # Without its scores, or with fewer epochs than wanted, a run is not finished.
  (out / "bone" / "scores" / "xview_bone.npz").unlink()
  result = call(*line)
  assert result.stdout.count("as found in") == 3
  assert (out / "bone" / "scores" / "xview_bone.npz").exists()
  result = call(*line, "--config.optim.num_epochs=2")
  assert result.stdout.count("epoch 2/2") == 4
