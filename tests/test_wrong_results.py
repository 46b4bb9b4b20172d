# SPDX-License-Identifier: Apache-2.0
"""Results that would be wrong, or refused without a reason."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from sgcl_jax import command, errors, evaluate, experiment, train
from sgcl_jax.contrast import paper, released
from sgcl_jax.contrast.sampling import Draws
from sgcl_jax.dataset import order, source
from sgcl_jax.runs import checkpoint, scores


@pytest.fixture(scope="module")
def one_epoch_path(tmp_path_factory):
  return tmp_path_factory.mktemp("one_epoch") / "run"


@pytest.fixture
def one_epoch(one_epoch_path, tiny):
  """Returns the workdir of a run of one epoch, trained once for all tests."""
  if not (one_epoch_path / "summary.json").exists():
    train.run(tiny(**{"optim.num_epochs": 1}), one_epoch_path)
  return one_epoch_path


def test_a_run_is_resumed_without_the_run_it_started_from(
  one_epoch, tmp_path, tiny
):
  source = tmp_path / "source"
  shutil.copytree(one_epoch, source)
  for epochs in (1, 2):
    config = tiny(init_from=str(source), **{"optim.num_epochs": epochs})
    summary = train.run(config, tmp_path / "run")
    shutil.rmtree(source, ignore_errors=True)
  assert summary["epoch"] == 2
  assert evaluate.run(experiment.open(tmp_path / "run"), tmp_path / "run") == (
    summary
  )


def read_results(workdir):
  paths = workdir / "summary.json", workdir / "scores" / "xview_joint.npz"
  return [path.read_bytes() for path in paths]


def test_logits_that_are_not_finite_are_refused(one_epoch, tiny, monkeypatch):
  before = read_results(one_epoch)

  def spoil(self, variables, model):
    variables = restore(self, variables, model)
    # Only the biases: a NaN for one class spoils every clip.
    change = lambda x: np.where(np.arange(len(x)) == 3, np.nan, x)
    params = jax.tree.map(
      lambda x: change(x) if x.shape == (10,) else x, variables["params"]
    )
    return {**variables, "params": params}

  restore = checkpoint.Checkpoints.restore_model
  monkeypatch.setattr(checkpoint.Checkpoints, "restore_model", spoil)
  with pytest.raises(
    errors.TrainingError, match="13 of 13 test clips.*first those of test_000"
  ):
    evaluate.run(tiny(), one_epoch)
  assert read_results(one_epoch) == before


def test_a_clip_that_is_not_finite_is_named(one_epoch, tiny):
  before = read_results(one_epoch)
  parts = tiny()
  clips = parts.source.load_test()
  skeletons = [clip.copy() for clip in clips.skeletons]
  skeletons[4][0] = np.nan
  clips = dataclasses.replace(clips, skeletons=skeletons)
  with pytest.raises(
    errors.DataError, match="1 of 13 test clips.*those of test_004: its coord"
  ):
    evaluate.finish(
      parts, one_epoch, clips, evaluate.make_evaluator(parts, clips)
    )
  assert read_results(one_epoch) == before


# Option after the colon -> the field that it stands for.
FIELDS = {
  "split": "data.split",
  "modality": "data.modality",
  "gcl": "gcl",
  "contrast": "contrast.variant",
}
ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("[!_]*_*.py"))


def parse_config(*args):
  parser = command.Parser("test", "")
  parser.add_config()
  return parser.parse_args(["--config", *args]).config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_option_and_its_field_are_the_same(path, monkeypatch):
  found = {"num_classes": 60, "num_persons": 2, "skeleton": "ntu"}
  monkeypatch.setattr(source, "describe", lambda *_: found)
  options = ["modality=bone", "gcl=false", "contrast=released"]
  if "ntu" in path.stem:
    options += ["split=xview" if "ntu60" in path.stem else "split=xset"]
  for option in options:
    name, _, value = option.partition("=")
    by_option = parse_config(f"{path}:{option}")
    by_field = parse_config(str(path), f"--config.{FIELDS[name]}={value}")
    assert experiment.find_temperature(by_field) == (
      experiment.find_temperature(by_option)
    )
    if path.stem == "ctrgcn_ntu60" and name == "contrast":
      assert experiment.find_temperature(by_field) == 0.8
    ours, theirs = (experiment.make(c) for c in (by_field, by_option))
    for part in ("source", "schedule", "model", "record", "optimizer"):
      assert getattr(ours, part) == getattr(theirs, part), (option, part)


def test_a_run_without_the_released_table_is_read():
  config = parse_config(f"{ROOT}/configs/ctrgcn_ntu60.py:contrast=released")
  with config.unlocked():
    del config.contrast.released_temperatures
  config.contrast.temperatures.xsub_joint = 0.8
  assert experiment.find_temperature(config) == 0.8


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_preset_is_no_field(path):
  with pytest.raises(errors.ConfigError, match="option after the colon"):
    parse_config(str(path), "--config.preset=short")


# 127 clips in batches of 64: an epoch draws 64 of them. 65 epochs draw the 3
# clips of class 1 about 98 times, not 195.
RARE = np.array([0] * 124 + [1] * 3)
NAMES = ("walk", "wave")


def draw(**fields):
  fields = {"num_epochs": 65, "repeats": 1, "batch_size": 64} | fields
  return order.count_drawn(RARE, 2, seed=1, **fields)


def test_dropped_clips_do_not_count_for_a_class():
  drawn = draw()
  assert drawn.visits.sum() == 65 * 64 and drawn.visits[1] < 128
  contrast = paper.make(num_classes=2, temperature=1.0, draws=Draws(128, 8, 8))
  with pytest.raises(
    errors.ContrastError,
    match=rf"class 1 \(wave\): with 3 training clips, drawn"
    rf" {drawn.visits[1]} times.* hold {drawn.visits[1]} rows"
    r".*128 and 16 are needed.*train longer",
  ):
    contrast.check_data(drawn, NAMES)
  draws = Draws(int(drawn.visits[1]), 4, 4)
  fits = paper.make(num_classes=2, temperature=1.0, draws=draws)
  fits.check_data(drawn, NAMES)


def test_rows_that_are_never_drawn_do_not_count_for_the_released_contrast():
  draws = Draws(3, 1, 1)
  contrast = released.make(num_classes=2, temperature=1.0, draws=draws)
  with pytest.raises(errors.ContrastError, match="hold . rows?.*train longer"):
    contrast.check_data(draw(num_epochs=1), NAMES)
  contrast.check_data(draw(), NAMES)


BLOCKS = {"backbone": "tests.tiny:create_blocks"}


def test_the_block_of_the_graph_makes_no_other_model(tmp_path, tiny):
  fields = {**BLOCKS, "optim.num_epochs": 1}
  train.run(tiny(**fields, **{"model.graph_block": 6}), tmp_path / "row")
  summary = evaluate.run(tiny(**fields), tmp_path / "row")
  assert summary["epoch"] == 1
  explicit = tiny(**fields, **{"model.graph_block": 9, "model.width": 64})
  evaluate.run(explicit, tmp_path / "row")
  train.run(tiny(init_from=f"{tmp_path}/row", **fields), tmp_path / "next")
  with pytest.raises(
    errors.CheckpointError, match="width=64, the config has 3"
  ):
    evaluate.run(tiny(**BLOCKS, **{"model.width": 32}), tmp_path / "row")


def test_metadata_without_a_field_fit_any_value(tmp_path, monkeypatch):
  def check(saved, **model):
    monkeypatch.setattr(
      checkpoint.Checkpoints, "metadata", lambda _: {"model": saved}
    )
    checkpoint.Checkpoints(tmp_path).check_model({"backbone": "a", **model})

  old = {"backbone": "a", "model.graph_block": 6}
  check(old, **{"model.width": 64})
  check({**old, "model.edges": "any"}, **{"model.edges": "released"})
  check({**old, "model.k": "any"})
  with pytest.raises(errors.CheckpointError, match="width=32"):
    check({**old, "model.width": 32}, **{"model.width": 64})
  with pytest.raises(errors.CheckpointError, match="model.size=3"):
    check({**old, "model.size": 3})
  with pytest.raises(errors.CheckpointError, match="backbone=None"):
    check({})


def test_the_training_batch_does_not_matter_to_an_evaluation(
  one_epoch, tmp_path, run_main
):
  copy = tmp_path / "copy"
  shutil.copytree(one_epoch, copy)
  args = ["--workdir", copy]
  result = run_main(*args, devices=3)
  assert result.returncode == 1 and "batch_size=8 does not" in result.stderr
  # 8 clips do not split over 3 devices either: they are padded to 9.
  result = run_main(*args, "--mode=evaluate", "--json", devices=3)
  assert result.returncode == 0, result.stderr
  assert json.loads(result.stdout)["num_clips"] == 13
  assert "3 x cpu" in json.loads(result.stdout)["device"]
  ours, theirs = (
    scores.read(path / "scores" / "xview_joint.npz")
    for path in (copy, one_epoch)
  )
  np.testing.assert_allclose(ours.logits, theirs.logits, rtol=0, atol=1e-5)


def test_the_precision_is_checked_before_it_is_set(run_main, tmp_path):
  result = run_main("--workdir", tmp_path / "run", matmul_precision="hihgest")
  assert result.returncode == 1
  assert result.stderr.startswith("error: config.matmul_precision='hihgest'")


def test_a_notice_does_not_stop_the_training(one_epoch, tiny, tmp_path, capsys):
  shutil.copytree(one_epoch, tmp_path / "copy")
  train.run(tiny(**{"optim.num_epochs": 1}), tmp_path / "copy")
  assert capsys.readouterr().err.count("notice: config.optim.") == 2
