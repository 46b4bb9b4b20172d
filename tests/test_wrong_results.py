# SPDX-License-Identifier: Apache-2.0
"""Results that would be wrong, or refused without a reason."""

import dataclasses
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest

from sgcl_jax import (
  command,
  errors,
  evaluate,
  experiment,
  input_pipeline,
  ranges,
  source,
  state,
  train,
)
from sgcl_jax.contrast import paper, released
from sgcl_jax.contrast.sampling import Draws
from sgcl_jax.runs import checkpoint, scores, workdir
from tests import tiny as backbones


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
  frames = clips.frames.copy()
  frames[clips.offsets[4]] = np.nan
  clips = dataclasses.replace(clips, frames=frames)
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


def test_what_is_drawn_is_what_the_batches_hold(tiny):
  clips = tiny().source.load_train()
  order = {"seed": 3, "repeats": 2, "batch_size": 7}  # 5 of 96 are dropped.
  drawn = input_pipeline.count_drawn(clips.labels, 11, num_epochs=2, **order)
  batches = [
    batch
    for epoch in range(2)
    for batch in input_pipeline.train_batches(clips, epoch=epoch, **order)
  ]
  labels = np.concatenate([batch["label"] for batch in batches])
  index = np.concatenate([batch["index"] for batch in batches])
  assert len(labels) == 2 * 91
  rows = np.unique(index) % len(clips)
  for ours, theirs in (
    (drawn.clips, clips.labels),
    (drawn.visits, labels),
    (drawn.rows, clips.labels[rows]),
  ):
    np.testing.assert_array_equal(ours, np.bincount(theirs, minlength=11))


# 127 clips in batches of 64: an epoch draws 64 of them. 65 epochs draw the 3
# clips of class 1 about 98 times, not 195.
RARE = np.array([0] * 124 + [1] * 3)
NAMES = ("walk", "wave")


def draw(**fields):
  fields = {"num_epochs": 65, "repeats": 1, "batch_size": 64} | fields
  return input_pipeline.count_drawn(RARE, 2, seed=1, **fields)


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
  with pytest.raises(errors.ContrastError, match="hold . rows.*train longer"):
    contrast.check_data(draw(num_epochs=1), NAMES)
  contrast.check_data(draw(), NAMES)


class Blocks(backbones.Tiny):
  """The tiny backbone with fields of the shipped ones."""

  graph_block: int = 9
  width: int = 64
  sizes: tuple[int, ...] = (1, 2)


def create_blocks(**fields):
  return Blocks(**fields)


BLOCKS = {"backbone": "tests.test_wrong_results:create_blocks"}


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


def test_identity_is_what_changes_variables_or_logits(tiny_config):
  def identify(backbone="ctrgcn", **fields):
    config = tiny_config(backbone=backbone)
    with config.unlocked():
      config.model.update(fields)
    return experiment.make(config).identity

  plain = identify()
  assert plain["model.width"] == 64
  for field, value in {
    "graph_block": 6,
    "dropout": 0.5,
    "dtype": "bfloat16",
    "remat": True,
    "width": 64,
  }.items():
    assert identify(**{field: value}) == plain, field
  assert identify(width=32) != plain
  edges = identify("infogcn", edges="parent")
  assert edges == identify("infogcn", edges=None, k=8)
  assert edges != identify("infogcn", edges="released")
  # Tuples are lists in the metadata.
  sizes = identify(BLOCKS["backbone"], sizes=(1, 2))
  assert sizes == identify(BLOCKS["backbone"], sizes=None)
  assert sizes["model.sizes"] == [1, 2]


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


NAN, INF = float("nan"), float("inf")
WORDS = ("matmul_precision", "model.dtype", "data.split", "data.modality")
NUMBERS = [key for key in ranges.RANGES if key not in WORDS]
UNUSABLE = [
  *((key, value) for key in NUMBERS for value in (NAN, INF, -1)),
  ("seed", 2**32),
  ("matmul_precision", "hihgest"),
  ("matmul_precision", "DEFAULT "),
  ("num_classes", 1),
  ("num_persons", 0),
  ("model.dropout", 1.0),
  ("model.dtype", "float64"),
  ("model.dtype", "bf16"),
  ("data.split", "xsubb"),
  ("data.modality", "bnoe"),
  ("data.window", 1),
  ("data.repeats", 0),
  ("loss.label_smoothing", 1.0),
  ("optim.num_epochs", 0),
  ("optim.decay_epochs", (5, 5)),
  ("optim.decay_epochs", (7, 6)),
  ("optim.decay_epochs", (-1, 6)),
  ("optim.decay_rate", 0.0),
  ("optim.decay_rate", 1.1),
  ("optim.momentum", 1.0),
  ("contrast.momentum", 1.1),
  ("contrast.temperature", 0.0),
  ("contrast.temperatures.xsub_joint", 0.0),
  ("contrast.released_temperatures.xsub_joint", NAN),
  ("contrast.num_hard_positives", 0),
]


def put(config, key, value):
  *path, name = key.split(".")
  for part in path:
    config = config[part]
  with config.unlocked(), config.ignore_type():
    config[name] = value


@pytest.mark.parametrize(("key", "value"), UNUSABLE)
def test_values_that_no_run_can_use_are_refused(key, value):
  config = parse_config(f"{ROOT}/configs/ctrgcn_ntu60.py")
  if key == "optim.decay_epochs" and not isinstance(value, tuple):
    value = (value,)
  put(config, key, value)
  value = workdir.flatten(config.to_dict())[key]  # Of the field's type.
  message = re.escape(f"config.{key}={value!r} must be ")
  with pytest.raises(errors.ConfigError, match=message) as refusal:
    experiment.make(config)
  assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("seed", 2**32 - 1),
    ("matmul_precision", "BF16_BF16_F32_X3"),
    ("model.dropout", 0.0),
    ("model.dtype", "float16"),
    ("optim.base_lr", 0.0),
    ("optim.decay_epochs", ()),
    ("optim.decay_epochs", (0, 1)),
    ("optim.decay_rate", 1.0),
    ("optim.warmup_epochs", 0),
    ("contrast.momentum", 0.0),
    ("contrast.momentum", 1.0),
  ],
)
def test_the_ends_of_the_ranges_are_usable(key, value):
  config = parse_config(f"{ROOT}/configs/ctrgcn_ntu60.py")
  put(config, key, value)
  experiment.make(config)


def test_every_number_has_a_range():
  for path in CONFIGS:
    config = parse_config(str(path)).to_dict()
    for key, value in workdir.flatten(config).items():
      if isinstance(value, bool) or key.startswith("contrast.temperatures."):
        continue
      if key != "contrast.released_temperatures.xsub_joint":
        assert not isinstance(value, int | float) or key in ranges.RANGES


@pytest.mark.parametrize(
  ("backbone", "width", "smallest"),
  [("ctrgcn", 6, 4), ("agcn", 3, 4), ("infogcn", 4, 8), ("infogcn", 10, 8)],
)
def test_a_width_that_the_blocks_cannot_have(tiny, backbone, width, smallest):
  with pytest.raises(errors.ConfigError, match=f"model.width={width} must be"):
    tiny(backbone=backbone, **{"model.width": width})
  parts = tiny(backbone=backbone, **{"model.width": smallest})
  state.variable_shapes(parts.model, parts.clip)


def test_the_precision_is_checked_before_it_is_set(run_main, tmp_path):
  result = run_main("--workdir", tmp_path / "run", matmul_precision="hihgest")
  assert result.returncode == 1
  assert result.stderr.startswith("error: config.matmul_precision='hihgest'")


def test_a_schedule_that_the_training_does_not_reach_is_noticed(tiny):
  def notices(num_epochs, warmup_epochs, *decay_epochs):
    fields = {
      "optim.num_epochs": num_epochs,
      "optim.warmup_epochs": warmup_epochs,
      "optim.decay_epochs": decay_epochs,
    }
    return tiny(**fields).schedule.notices()

  assert notices(6, 6, 3, 5) == []
  (late,) = notices(6, 1, 5, 6)
  assert "decay_epochs=(5, 6)" in late and "num_epochs=6" in late
  (long,) = notices(6, 7, 3)
  assert "warmup_epochs=7" in long and "num_epochs=6" in long
  for path in CONFIGS:
    optim = parse_config(str(path)).optim
    fields = optim.num_epochs, optim.warmup_epochs, *optim.decay_epochs
    assert notices(*fields) == [], path


def test_a_notice_does_not_stop_the_training(one_epoch, tiny, tmp_path, capsys):
  shutil.copytree(one_epoch, tmp_path / "copy")
  train.run(tiny(**{"optim.num_epochs": 1}), tmp_path / "copy")
  assert capsys.readouterr().err.count("notice: config.optim.") == 2
