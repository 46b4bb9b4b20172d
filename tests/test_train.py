# SPDX-License-Identifier: Apache-2.0
"""Whole runs: their files, resuming, faults."""

import csv
import json
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sgcl_jax import errors, evaluate, input_pipeline, state, train
from sgcl_jax.devices import set_up
from sgcl_jax.report import runs
from sgcl_jax.runs import (
  checkpoint,
  digest,
  embeddings,
  history,
  record,
  scores,
  workdir,
)

EMBEDDINGS = "scores/xview_joint_embeddings.npz"
STEPS_PER_EPOCH = 12  # 48 clips, twice, in batches of 8.


def read_scores(workdir):
  with np.load(workdir / "scores" / "xview_joint.npz") as scores:
    return {name: scores[name] for name in scores.files}


def read_state(workdir):
  """Returns every array of the newest checkpoint, by item and path."""
  path = workdir / "checkpoints"
  step = max(int(p.name) for p in path.iterdir())
  to_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  leaves = {}
  for item in ("model", "training"):
    with ocp.PyTreeCheckpointer() as checkpointer:
      place = path / str(step) / item
      shapes = checkpointer.metadata(place).item_metadata.tree
      args = jax.tree.map(lambda _: to_numpy, shapes)
      tree = checkpointer.restore(place, restore_args=args)
    for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
      leaves[item + jax.tree_util.keystr(key)] = leaf
  return leaves


def follow(parts):
  return parts.optimizer.follow(parts.schedule, STEPS_PER_EPOCH)


def init_state(parts):
  return train.init_state(parts, follow(parts), num_rows=96)


def assert_same_state(actual, expected):
  assert actual.keys() == expected.keys()
  for key in expected:
    np.testing.assert_array_equal(actual[key], expected[key], err_msg=key)


def assert_each_step_once(workdir, num_epochs=3):
  lines = record.read(workdir)
  steps = [line["step"] for line in lines if line["split"] == "train"]
  assert steps == list(range(1, num_epochs * STEPS_PER_EPOCH + 1))
  tests = [line["epoch"] for line in lines if line["split"] == "test"]
  assert tests == list(range(1, num_epochs + 1))


@pytest.fixture(scope="module")
def finished_path(tmp_path_factory):
  return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def finished(finished_path, tiny):
  """Returns the workdir of an uninterrupted run, trained once for all tests."""
  if not (finished_path / "summary.json").exists():
    train.run(tiny(), finished_path)
  return finished_path


def test_the_step_is_compiled_once(tiny, tmp_path, monkeypatch):
  """No second compilation for the arrays that the step itself returns."""
  compiled = []
  per_step = []
  make = train.make_train_step

  def make_counted(*args):
    step = make(*args)

    def run(*args):
      before = len(compiled)
      result = step(*args)
      per_step.append(len(compiled) - before)
      return result

    return run

  def listen(event, _, **__):
    if event == "/jax/core/compile/backend_compile_duration":
      compiled.append(event)

  monkeypatch.setattr(train, "make_train_step", make_counted)
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    train.run(tiny(**{"optim.num_epochs": 2}), tmp_path / "run")
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert per_step[0] > 0
  assert per_step[1:] == [0] * (2 * STEPS_PER_EPOCH - 1)


def test_a_run_leaves_its_record(finished_path, tiny, capsys):
  finished = finished_path
  summary = train.run(tiny(), finished)
  assert_each_step_once(finished)
  last = record.read(finished)[-2]
  assert last["split"] == "train" and last["epoch"] == 3
  total = last["ce"] + last["instance"] + last["semantic"]
  assert last["loss"] == pytest.approx(total, rel=1e-5)
  assert last["active_anchors"] == 1.0 and last["bank_fill"] == 1.0
  assert last["instance"] > 0 and last["semantic"] > 0

  scores = read_scores(finished)
  assert list(scores["names"]) == [f"test_{i:03}" for i in range(13)]
  np.testing.assert_array_equal(scores["labels"], np.arange(13) % 10)
  assert scores["logits"].shape == (13, 10)
  assert scores["logits"].dtype == np.float32
  hits = scores["logits"].argmax(1) == scores["labels"]
  assert summary["top1"] == pytest.approx(hits.mean() * 100)
  assert summary["num_clips"] == 13
  assert (summary["epoch"], summary["seed"]) == (3, 1)
  assert summary["seconds"] > 0
  assert summary["revisions"] == [history.find_revision()]
  assert summary == json.loads((finished / "summary.json").read_text())
  assert list(finished.glob("events.out.tfevents*"))

  assert list(scores["class_names"]) == [f"class {i}" for i in range(10)]
  low, high = summary["top1_interval"]
  assert low <= summary["top1"] <= high
  lines = (finished / "classes.csv").read_text().splitlines()
  table = list(csv.DictReader(lines))
  assert [row["class"] for row in table] == list(scores["class_names"])
  assert [int(row["clips"]) for row in table] == [2] * 3 + [1] * 7
  own = sum(int(row[row["class"]]) for row in table)
  assert own == hits.sum()
  mean = np.mean([float(row["accuracy"]) for row in table])
  assert summary["mean_class_accuracy"] == pytest.approx(mean, abs=0.01)
  config = json.loads((finished / "config.json").read_text())
  assert config["contrast"]["num_hard_positives"] == 4
  first, *lines = capsys.readouterr().out.splitlines()
  assert first.startswith("48 clips to train, 13 to test; 3 epochs of 12 steps")
  assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
  for word in ("loss", "contrast", "active", "accuracy", "clips/s", "left"):
    assert word in lines[-1]


def test_embeddings_are_kept_beside_the_scores(finished, tiny, tmp_path):
  parts = tiny()
  finished = shutil.copytree(finished, tmp_path / "copy")
  before = read_scores(finished)["logits"]
  evaluate.run(parts, finished, save_embeddings=True)
  found = embeddings.read(finished / EMBEDDINGS)
  np.testing.assert_allclose(read_scores(finished)["logits"], before, atol=1e-5)
  np.testing.assert_array_equal(found.logits, read_scores(finished)["logits"])
  assert list(found.names) == list(read_scores(finished)["names"])
  assert found.graphs.shape == (13, 1, 20, 20)
  # The graph of tests/tiny.py is a product of joints with itself.
  np.testing.assert_allclose(found.graphs, found.graphs.swapaxes(2, 3))
  assert found.features.shape == (13, 16)
  clips = list(input_pipeline.read_clips(parts.source.data_dir, "test"))
  frames = {clip["name"]: clip["skeleton"][:, 0] for clip in clips}
  for name, pose in zip(found.names, found.poses, strict=True):
    (center,) = parts.layout.center
    moved = frames[name] - frames[name][:, [center]]
    distances = np.square(moved - moved[0]).sum((1, 2))
    np.testing.assert_array_equal(pose, frames[name][distances.argmax()])


def test_a_report_evaluates_what_is_missing_or_old(
  finished, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(set_up, "configure", lambda *_, **__: None)
  finished = shutil.copytree(finished, tmp_path / "copy")

  def load():
    run = runs.load(finished)
    return run, "evaluating" in capsys.readouterr().out

  run, evaluated = load()
  assert evaluated and run.embeddings.graphs.shape == (13, 1, 20, 20)
  assert run.class_names == [f"class {i}" for i in range(10)]
  assert max(line["epoch"] for line in run.lines) == 3
  assert not load()[1]
  # Trained since: the summary is of an earlier epoch.
  summary = json.loads((finished / "summary.json").read_text())
  summary["epoch"] = 2
  del summary["digest"]
  (finished / "summary.json").write_text(json.dumps(summary))
  run, evaluated = load()
  assert evaluated and run.summary["epoch"] == 3
  # Evaluated since without embeddings: other logits.
  path = finished / EMBEDDINGS
  embeddings.write(path, run.embeddings._replace(logits=run.scores.logits + 1))
  assert load()[1] and not load()[1]


def test_embeddings_of_a_backbone_without_features(tiny, tmp_path):
  parts = tiny(backbone="tests.tiny:create_featureless")
  clips = parts.source.load_test()
  shapes = state.variable_shapes(parts.model, parts.clip)
  variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  evaluator = evaluate.make_evaluator(parts, clips, save_embeddings=True)
  _, written = evaluator(variables)
  embeddings.write(tmp_path / "embeddings.npz", written)
  found = embeddings.read(tmp_path / "embeddings.npz")
  assert found.features is None and found.graphs.shape == (13, 1, 20, 20)


def test_one_answer_for_all_clips_is_noticed(finished, tiny, tmp_path, capsys):
  parts = tiny()
  finished = shutil.copytree(finished, tmp_path / "copy")
  clips = parts.source.load_test()
  found = scores.read(finished / "scores" / "xview_joint.npz")

  def evaluator(bias):
    logits = found.logits + bias * (np.arange(10) == 3)
    return lambda _: (found._replace(logits=logits), None)

  evaluate.finish(parts, finished, clips, evaluator(0))
  assert "notice" not in capsys.readouterr().err
  evaluate.finish(parts, finished, clips, evaluator(1e4))
  assert (
    "notice: 100.0 % of the answers are 'class 3', the class of 7.7 % of the"
    in capsys.readouterr().err
  )


def test_evaluation_of_a_copy_agrees(finished, tmp_path, tiny):
  copy = tmp_path / "copy"
  shutil.copytree(finished, copy)
  shutil.rmtree(copy / "scores")
  (copy / "summary.json").unlink()
  summary = evaluate.run(tiny(eval_batch_size=7), copy)
  assert summary == json.loads((finished / "summary.json").read_text())
  ours, theirs = read_scores(copy), read_scores(finished)
  np.testing.assert_allclose(ours["logits"], theirs["logits"], 0, 1e-5)


def wait_for_lines(process, workdir, count):
  path = workdir / "metrics.jsonl"
  for _ in range(1200):
    if path.exists() and len(path.read_text().splitlines()) >= count:
      return
    assert process.poll() is None, process.communicate()
    time.sleep(0.05)
  raise AssertionError(f"{path} has not {count} lines")


def test_killed_and_resumed_equals_uninterrupted(finished, tmp_path, run_main):
  """Ends one run by signals in its first, second and last epoch."""
  workdir = tmp_path / "run"
  for number, count in {
    signal.SIGKILL: 3,
    signal.SIGTERM: STEPS_PER_EPOCH + 5,
    signal.SIGINT: 2 * STEPS_PER_EPOCH + 3,
  }.items():
    process = run_main("--workdir", workdir, popen=True)
    wait_for_lines(process, workdir, count)
    process.send_signal(number)
    _, text = process.communicate()
    if number != signal.SIGKILL:
      assert process.returncode == 128 + number
      assert "the same command goes on from here" in text.splitlines()[-1]
  result = run_main("--workdir", workdir)
  assert result.returncode == 0, result.stderr
  assert_each_step_once(workdir)
  assert_same_state(read_state(workdir), read_state(finished))
  np.testing.assert_array_equal(
    read_scores(workdir)["logits"], read_scores(finished)["logits"]
  )


def test_killed_between_record_and_checkpoint(
  finished, tmp_path, tiny, monkeypatch
):
  workdir = tmp_path / "run"
  with monkeypatch.context() as patch:
    patch.setattr(checkpoint.Checkpoints, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
      train.run(tiny(), workdir)
  with (workdir / "metrics.jsonl").open("a") as file:
    file.write('{"step": 13, "epo')  # Cut short.
  train.run(tiny(), workdir)
  assert_each_step_once(workdir)
  assert_same_state(read_state(workdir), read_state(finished))


def interrupt(*_):
  raise KeyboardInterrupt


def test_a_finished_run_is_only_evaluated(finished, tmp_path, tiny):
  copy = tmp_path / "copy"
  shutil.copytree(finished, copy)
  (copy / "summary.json").unlink()
  summary = train.run(tiny(), copy)
  assert summary == json.loads((finished / "summary.json").read_text())
  assert_each_step_once(copy)


def test_more_epochs_go_on_from_the_last(finished, tmp_path, tiny):
  copy = tmp_path / "copy"
  shutil.copytree(finished, copy)
  summary = train.run(tiny(**{"optim.num_epochs": 4}), copy)
  assert summary["epoch"] == 4
  before = json.loads((finished / "summary.json").read_text())["seconds"]
  assert summary["seconds"] > before
  assert_each_step_once(copy, num_epochs=4)


def test_several_devices_train_the_same(finished, tmp_path, run_main):
  workdir = tmp_path / "run"
  result = run_main("--workdir", workdir, devices=4)
  assert result.returncode == 0, result.stderr
  one = [line for line in record.read(finished) if line["split"] == "train"]
  four = [line for line in record.read(workdir) if line["split"] == "train"]
  for name in one[0].keys() - {"split"}:
    assert four[0][name] == pytest.approx(one[0][name], rel=1e-5, abs=1e-6)
  # Rounding errors differ and grow; test_steps compares in double precision.
  assert four[-1]["loss"] == pytest.approx(one[-1]["loss"], rel=1e-2)
  assert json.loads((workdir / "summary.json").read_text())["num_clips"] == 13


@pytest.mark.parametrize("modality", ["bone", "joint_motion", "bone_motion"])
def test_all_modalities_train(tmp_path, tiny, modality):
  config = tiny(f"modality={modality}", **{"optim.num_epochs": 1})
  train.run(config, tmp_path / "run")
  assert (tmp_path / "run" / "scores" / f"xview_{modality}.npz").exists()


def test_the_contrast_leaves_the_rest_of_the_draws_alone(tiny):
  with_gcl, without = tiny(), tiny("gcl=false")
  one, other = init_state(with_gcl), init_state(without)
  assert other.memory is None and other.params["contrast"] == {}
  jax.tree.map(
    np.testing.assert_array_equal,
    one.params["backbone"],
    other.params["backbone"],
  )
  # The same augmentations give the same cross-entropy in the first step.
  clips = with_gcl.source.load_train()
  batch = next(
    input_pipeline.train_batches(
      clips, seed=1, epoch=0, repeats=1, batch_size=8
    )
  )
  _, first = train.make_train_step(with_gcl, follow(with_gcl))(one, batch)
  _, second = train.make_train_step(without, follow(without))(other, batch)
  first, second = (float(m.backbone_terms["ce"]) for m in (first, second))
  assert first == pytest.approx(second, rel=1e-6)


def test_a_run_starts_from_the_weights_of_another(finished, tmp_path, tiny):
  config = tiny(
    init_from=str(finished), **{"optim.num_epochs": 1, "optim.base_lr": 0.0}
  )
  train.run(config, tmp_path / "run")
  ours, theirs = read_state(tmp_path / "run"), read_state(finished)
  for key in theirs:
    if key.startswith("model['params']"):
      np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_training_that_does_not_learn_says_so(
  tmp_path, tiny, capsys, clip_norm
):
  fields = {"optim.base_lr": 0.0, "optim.clip_norm": clip_norm}
  fields["optim.warmup_epochs"] = 0
  train.run(tiny("gcl=false", **fields), tmp_path / "run")
  printed = capsys.readouterr().err
  assert printed.count("the training has collapsed") == 1
  assert "after epoch 2 of 3 the training accuracy is" in printed
  remedy = "start=stable" if clip_norm is None else "config.optim.clip_norm"
  assert remedy in printed


def test_a_warm_up_is_not_a_collapse(tmp_path, tiny, capsys):
  fields = {"optim.base_lr": 0.0, "optim.warmup_epochs": 2}
  train.run(tiny("gcl=false", **fields), tmp_path / "run")
  assert "collapsed" not in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, tiny):
  config = tiny(**{"optim.num_epochs": 2})
  train.run(tiny(**{"optim.num_epochs": 1}), tmp_path / "run")
  before = read_state(tmp_path / "run")

  def spoil(self, state, model):
    state = restore(self, state, model)
    dense = state.params["contrast"]["dense"]
    dense = {**dense, "kernel": jnp.full_like(dense["kernel"], jnp.nan)}
    return state.replace(params={**state.params, "contrast": {"dense": dense}})

  restore = checkpoint.Checkpoints.restore
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(checkpoint.Checkpoints, "restore", spoil)
    with pytest.raises(
      errors.TrainingError,
      match=r"step 13 \(epoch 2\): instance is nan; .* of step 12 is kept",
    ):
      train.run(config, tmp_path / "run")
  assert_same_state(read_state(tmp_path / "run"), before)
  train.run(config, tmp_path / "run")
  assert_each_step_once(tmp_path / "run", num_epochs=2)


def test_no_checkpoint_is_promised_where_there_is_none(tmp_path, tiny):
  config = tiny(**{"optim.base_lr": 1e5, "optim.warmup_epochs": 0})
  with pytest.raises(
    errors.TrainingError, match=r"\(epoch 1\): .*; no checkpoint was saved"
  ):
    train.run(config, tmp_path / "run")


def test_another_config_in_the_workdir_is_refused(finished, tiny):
  with pytest.raises(errors.WorkdirError, match="config.seed=1, not 2"):
    train.run(tiny(seed=2), finished)
  with pytest.raises(errors.WorkdirError, match="modality='joint'"):
    evaluate.run(tiny("modality=bone"), finished)


def test_a_checkpoint_of_another_model_is_refused(finished, tmp_path, tiny):
  other = {"backbone": "tests.tiny:create_featureless"}
  message = "backbone='tests.tiny:create'.*config has .*create_featureless"
  with pytest.raises(errors.CheckpointError, match=message):
    evaluate.run(tiny(**other), finished)
  # Before the data are loaded.
  config = tiny(**other, init_from=str(finished), **{"data.dir": "/absent"})
  with pytest.raises(errors.CheckpointError, match=message):
    train.run(config, tmp_path / "run")
  origin = tmp_path / "none"
  config = tiny(init_from=str(origin), **{"data.dir": "/absent"})
  message = f"init_from: there is no directory {origin}: name the directory"
  with pytest.raises(errors.CheckpointError, match=message):
    train.run(config, tmp_path / "run")
  origin.mkdir()
  with pytest.raises(errors.CheckpointError, match="no checkpoint in"):
    train.run(config, tmp_path / "run")


def test_a_damaged_or_missing_checkpoint_is_named(finished, tmp_path, tiny):
  with pytest.raises(errors.CheckpointError, match="no checkpoint in"):
    evaluate.run(tiny(), tmp_path / "nothing")
  copy = tmp_path / "copy"
  shutil.copytree(finished, copy)
  step = 3 * STEPS_PER_EPOCH
  for path in (copy / "checkpoints" / str(step) / "model").rglob("*"):
    if path.is_file() and "d" in path.parts[-2]:
      path.write_bytes(path.read_bytes()[:10])
  with pytest.raises(errors.CheckpointError, match=f"checkpoints/{step} "):
    evaluate.run(tiny(), copy)


def test_missing_arrays_are_one_line(finished, tmp_path, tiny, capfd):
  """Orbax prints a traceback for each array that it still waits for."""
  copy = tmp_path / "copy"
  shutil.copytree(finished, copy)
  step = 3 * STEPS_PER_EPOCH
  model = copy / "checkpoints" / str(step) / "model"
  for path in (model / "d", model / "ocdbt.process_0" / "d"):
    shutil.rmtree(path)
  with pytest.raises(errors.CheckpointError) as caught:
    evaluate.run(tiny(), copy)
  assert "go on from that of step" in str(caught.value)
  assert "spec" not in str(caught.value) and "\n" not in str(caught.value)
  shutil.rmtree(copy / "checkpoints" / str(2 * STEPS_PER_EPOCH))
  with pytest.raises(errors.CheckpointError, match="it is the only one"):
    evaluate.run(tiny(), copy)
  assert "Event loop" not in capfd.readouterr().err


def test_a_checkpoint_of_another_version_is_only_evaluated(
  finished, tmp_path, tiny
):
  copy = tmp_path / "copy"
  shutil.copytree(finished, copy)
  for path in copy.glob("checkpoints/*/metadata/metadata"):
    metadata = json.loads(path.read_text())
    assert metadata.pop("format") == checkpoint.FORMAT
    for key in (digest.OWN, digest.ARRAYS):
      del metadata[key]
    path.write_text(json.dumps(metadata))
  assert evaluate.run(tiny(), copy)["num_clips"] == 13
  with pytest.raises(errors.CheckpointError, match="but not resumed"):
    train.run(tiny(**{"optim.num_epochs": 4}), copy)


def test_a_contrast_that_cannot_become_active_is_refused(tmp_path, tiny):
  """The remedy in the message works in the same workdir."""
  workdir = tmp_path / "run"
  many = {"contrast.num_hard_positives": 128, "optim.num_epochs": 1}
  with pytest.raises(
    errors.ContrastError, match=r"class 0 \(class 0\): with 5 training"
  ):
    train.run(tiny(**many), workdir)
  train.run(tiny(**many, **{"contrast.cold_start": "partial"}), workdir)


def test_the_released_contrast(tmp_path, tiny):
  """The bank has a row per repeat and clip; the projection never changes."""
  config = tiny("contrast=released", **{"optim.num_epochs": 2})
  train.run(config, tmp_path / "run")
  leaves = read_state(tmp_path / "run")
  bank = {key: leaf for key, leaf in leaves.items() if "bank" in key}
  assert sorted(leaf.shape for leaf in bank.values()) == [(96,), (96, 16)]
  assert not any("semantic" in key for key in leaves)
  kernel = init_state(config).memory.projection["dense"]["kernel"]
  found = [leaf for leaf in leaves.values() if leaf.shape == kernel.shape]
  assert len(found) == 1  # The projection has no momentum either.
  np.testing.assert_array_equal(found[0], kernel)
  lines = record.read(tmp_path / "run")
  last = [line for line in lines if line["split"] == "train"][-1]
  assert last["bank_fill"] == last["active_anchors"] == 1.0
  assert last["instance"] > 0 and "semantic" not in last

  many = {"contrast.num_hard_positives": 11}  # An epoch has 10.
  with pytest.raises(
    errors.ContrastError, match="repeated 2 times in an epoch"
  ):
    train.run(tiny("contrast=released", **many), tmp_path / "other")


@pytest.mark.parametrize(
  "key, value, message",
  [
    ("batch_size", 100, "do not fill one batch of 100"),
    ("batch_size", 0, "config.batch_size=0 must be a whole number from 1"),
    (
      "eval_every_epochs",
      0,
      "config.eval_every_epochs=0 must be a whole number from 1",
    ),
    ("data.window", 1, "config.data.window=1 must be a whole number from 2"),
    ("contrast.temperature", 0.0, "temperature=0.0 must be .* above 0"),
    ("contrast.cold_start", "wait", "'wait' must be one of skip, partial"),
    ("data.modality", "speed", "modality='speed' must be one of joint, bone"),
    ("data.transform", "coco", "transform='coco' must be one of ntu, ucla"),
    ("skeleton", "coc", "unknown skeleton 'coc', perhaps"),
    ("backbone", "stgcn", "unknown backbone 'stgcn'"),
    ("backbone", "tests.tiny:make", "unknown backbone 'tests.tiny:make'"),
    (
      "model.width",
      32,
      "backbone 'tests.tiny:create' takes no config.model.width",
    ),
    ("num_classes", 9, "label 9, the config only num_classes=9: use the"),
    ("num_persons", 2, "1 person of 20 joints, the config wants 2 of 20"),
  ],
)
def test_unusable_values_are_refused(tmp_path, tiny, key, value, message):
  with pytest.raises(errors.UserError, match=message):
    train.run(tiny(**{key: value}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_other_data_and_fewer_epochs_are_refused(finished, tiny, make_data):
  other = {"data.dir": str(make_data({"train": 47, "test": 13}))}
  kept = (finished / "config.json").read_bytes()
  with pytest.raises(errors.WorkdirError, match="not the data that this run"):
    train.run(tiny(**other), finished)
  assert (finished / "config.json").read_bytes() == kept
  with pytest.raises(errors.WorkdirError, match="already has 3 epochs"):
    train.run(tiny(**{"optim.num_epochs": 2}), finished)


def test_one_training_at_a_time(tmp_path, tiny):
  with (
    workdir.claim(tiny().record, tmp_path / "run"),
    pytest.raises(errors.WorkdirError, match="another process trains in"),
    workdir.claim(tiny().record, tmp_path / "run"),
  ):
    pass
  # It is refused before the data are loaded.
  with (
    workdir.claim(tiny().record, tmp_path / "run"),
    pytest.raises(errors.WorkdirError, match="another process trains in"),
  ):
    train.run(tiny(**{"data.dir": "/absent"}), tmp_path / "run")


def test_a_run_without_the_contrast_is_resumed(tmp_path, tiny):
  for epochs in (1, 2):
    config = tiny("gcl=false", **{"optim.num_epochs": epochs})
    train.run(config, tmp_path / "resumed")
  train.run(config, tmp_path / "whole")
  assert_same_state(
    read_state(tmp_path / "resumed"), read_state(tmp_path / "whole")
  )
