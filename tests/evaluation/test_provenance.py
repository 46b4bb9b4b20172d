# SPDX-License-Identifier: Apache-2.0
"""A result says what it was measured on, and replaces no other result."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from sgcl_jax import errors, evaluate, main, skeletons, train
from sgcl_jax.evaluation import provenance
from sgcl_jax.runs import digest, scores

ONE_EPOCH = {"optim.num_epochs": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
  path = tmp_path_factory.mktemp("trained") / "run"
  train.run(tiny(**ONE_EPOCH), path)
  return path


@pytest.fixture
def run(trained, tmp_path):
  """A copy of the run, which a test may change."""
  shutil.copytree(trained, tmp_path / "run")
  return tmp_path / "run"


def read_results(directory):
  """Returns the bytes of the run's own summary and scores."""
  paths = [directory / "summary.json", *directory.glob("scores/*")]
  return {path.name: path.read_bytes() for path in paths}


def edit_metadata(directory, edit):
  for path in directory.glob("checkpoints/*/metadata/metadata"):
    metadata = json.loads(path.read_text())
    edit(metadata)
    path.write_text(json.dumps(digest.seal(metadata)))


def forget(metadata):
  """Leaves what older versions stored."""
  for key in ("test", "inputs", "prepared", "temperature", "config"):
    del metadata[key]


def test_the_summary_says_what_was_evaluated(run, tiny, tiny_data):
  parts = tiny(**ONE_EPOCH)
  summary = json.loads((run / "summary.json").read_text())
  digest = parts.source.load_test().digest(content=True)
  assert summary["data"] == {
    "dir": str(tiny_data),
    "split": "test",
    "digest": digest,
  }
  assert summary["temperature"] == 0.8
  assert summary["scores"] == "scores/xview_joint.npz"


@pytest.mark.parametrize(
  ("arg", "fields", "temperature"),
  [
    (None, {"contrast.temperature": 0.3}, 0.3),
    ("gcl=false", {}, None),
    (None, {"contrast.loss": "triplet"}, None),
  ],
)
def test_the_temperature_in_use(tiny, arg, fields, temperature):
  assert tiny(arg, **fields).temperature == temperature


def test_other_clips_get_files_of_their_own(run, make_data, call_main):
  before = read_results(run)
  other = make_data({"train": 48, "test": 11})
  fields = [f"--config.data.dir={other}", "--workdir", run]
  result = call_main(main.main, "--mode=evaluate", *fields, "--json")
  assert result.returncode == 0, result.stderr
  summary = json.loads(result.stdout)
  assert "its summary.json stays" in result.stderr
  assert read_results(run) == before
  assert summary["num_clips"] == 11
  path = run / summary["scores"]
  (place,) = (run / provenance.EVALUATIONS).iterdir()
  assert path.parents[1] == place
  assert place.name.startswith("data_test_joint_")
  assert json.loads((place / "summary.json").read_text()) == summary
  assert len(scores.read(path).names) == 11


def test_other_coordinates_are_other_clips(tiny):
  clips = tiny().source.load_test()
  skeletons = [clip + np.float32(0.01) for clip in clips.skeletons]
  moved = dataclasses.replace(clips, skeletons=skeletons)
  assert clips.digest() == moved.digest()
  assert clips.digest(content=True) != moved.digest(content=True)


@pytest.mark.parametrize("old", [False, True])
def test_the_runs_own_clips_may_move(run, tiny, tiny_data, tmp_path, old):
  if old:
    edit_metadata(run, forget)
  shutil.copytree(tiny_data, tmp_path / "moved")
  summary = json.loads((run / "summary.json").read_text()) | {"top1": -1}
  (run / "summary.json").write_text(json.dumps(digest.seal(summary)))
  moved = tiny(**ONE_EPOCH, **{"data.dir": str(tmp_path / "moved")})
  summary = evaluate.run(moved, run)
  assert summary["data"]["dir"] == str(tmp_path / "moved")
  assert json.loads((run / "summary.json").read_text()) == summary
  assert not (run / provenance.EVALUATIONS).exists()


def test_an_older_summary_is_kept(run, tiny, make_data):
  edit_metadata(run, forget)
  summary = json.loads((run / "summary.json").read_text())
  del summary["data"], summary["digest"]
  (run / "summary.json").write_text(json.dumps(summary))
  before = read_results(run)
  other = str(make_data({"train": 48, "test": 11}))
  evaluate.run(tiny(**ONE_EPOCH, **{"data.dir": other}), run)
  assert read_results(run) == before
  evaluate.run(tiny(**ONE_EPOCH), run)  # Its own: this one is replaced.
  assert read_results(run) != before


def test_other_test_clips_do_not_join_a_run(run, tiny):
  edit_metadata(run, lambda metadata: metadata["test"].update(digest="other"))
  with pytest.raises(errors.WorkdirError, match="the test clips of .* are not"):
    train.run(tiny(**{"optim.num_epochs": 2}), run)


def test_aligned_bodies_are_another_kind(run, tiny, make_data):
  before = read_results(run)
  other = make_data({"train": 48, "test": 13}, aligned=True)
  parts = tiny(**ONE_EPOCH, **{"data.dir": str(other)})
  with pytest.raises(
    errors.WorkdirError, match="trained on bodies as recorded, but .* aligned"
  ):
    evaluate.run(parts, run)
  assert read_results(run) == before


def test_the_checkpoint_knows_its_modality(run, tiny):
  (run / "config.json").unlink()
  parts = tiny("modality=bone", **ONE_EPOCH)
  with pytest.raises(errors.WorkdirError, match="modality='joint', not 'bone'"):
    evaluate.run(parts, run)


def make_layout(center="a", name="mine", dimensions=3):
  """Returns the text of a layout of 20 joints, as data sets store it."""
  joints = tuple(chr(ord("a") + i) for i in range(20))
  parents = (0, *range(19))
  layout = skeletons.Skeleton(
    name, joints, parents, (joints.index(center),), dimensions
  )
  return layout.to_json()


def test_layouts_are_compared(tiny, make_data):
  def load(layout):
    directory = make_data({"train": 8, "test": 3}, layout=layout)
    parts = tiny(**{"data.dir": str(directory)})
    return parts, parts.source.load_test()

  parts, clips = load(make_layout())
  trained = {"inputs": provenance.describe_inputs(parts)}
  trained["prepared"] = clips.metadata
  provenance.check(trained, *load(make_layout(name="renamed")), "run")
  with pytest.raises(
    errors.WorkdirError, match="another joint layout .* their center differ"
  ):
    provenance.check(trained, *load(make_layout(center="b")), "run")
  with pytest.raises(errors.DataError, match="joints in 2 dimensions"):
    load(make_layout(dimensions=2))


def test_more_classes_than_the_data_have(tiny):
  with pytest.raises(
    errors.DataError, match="has 10 classes, the config num_classes=400"
  ):
    tiny(num_classes=400).source.load_train()
