# SPDX-License-Identifier: Apache-2.0
"""The shipped model: what the file holds, and what it scores."""

import contextlib
import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from data_prep import nw_ucla
from sgcl_jax import errors, evaluate, experiment, state
from sgcl_jax.pretrained import __main__ as command
from sgcl_jax.pretrained import store
from sgcl_jax.runs import checkpoint

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  directory = tmp_path_factory.mktemp("pretrained") / "run"
  store.unpack(directory)
  return directory


def read(directory):
  parts = experiment.open(directory)
  shapes = state.variable_shapes(parts.model, parts.clip)
  with contextlib.closing(checkpoint.Checkpoints(directory)) as checkpoints:
    metadata = checkpoints.metadata()
    return parts, metadata, checkpoints.restore_model(shapes, parts.identity)


def test_the_run_holds_the_weights_of_the_file(run):
  parts, metadata, variables = read(run)
  assert (metadata["seed"], metadata["epoch"]) == (parts.seed, 45)
  assert len(metadata["classes"]) == parts.source.num_classes == 10
  assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 1_426_892
  with np.load(store.MODEL) as file:
    stored = {name: file[name] for name in file.files if name != store.ABOUT}
  found = {
    jax.tree_util.keystr(key, simple=True, separator="/"): np.asarray(x)
    for key, x in jax.tree_util.tree_leaves_with_path(variables)
  }
  assert found.keys() == stored.keys()
  for name, x in stored.items():
    assert x.dtype == np.float16
    np.testing.assert_array_equal(found[name], x.astype(np.float32), name)


def test_what_is_packed_comes_back(run, tmp_path):
  summary = {"seed": 4, "epoch": 45, "top1": 1.5, "num_clips": 464}
  summary |= {"device": "none", "revisions": ["abc"]}
  (run / "summary.json").write_text(json.dumps(summary))
  store.pack(run, "ctrgcn_ucla:preset=short", tmp_path / "model.npz")
  about = store.unpack(tmp_path / "again", tmp_path / "model.npz")
  assert about["top1"] == 1.5 and about["metadata"]["revisions"] == ["abc"]
  _, _, ours = read(tmp_path / "again")
  _, _, theirs = read(run)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_run_without_a_summary_is_not_packed(tmp_path, text):
  if text is not None:
    (tmp_path / "summary.json").write_text(text)
  with pytest.raises(errors.WorkdirError, match=r"summary\.json"):
    store.pack(tmp_path, "ctrgcn_ucla:preset=short", tmp_path / "model.npz")
  assert not (tmp_path / "model.npz").exists()


def test_its_figures_as_json(tmp_path, monkeypatch, call_main):
  with np.load(store.MODEL) as file:
    about = json.loads(str(file[store.ABOUT]))
  monkeypatch.setattr(store, "unpack", lambda _: dict(about))
  result = call_main(command.main, "--out", tmp_path / "run", "--json")
  assert result.returncode == 0, result.stderr
  found = json.loads(result.stdout)
  assert found.pop("workdir") == str(tmp_path / "run")
  del about["metadata"]
  assert found == about and found["num_clips"] == 464
  assert "test clips before its weights" in result.stderr


def test_a_directory_that_holds_something_stays(tmp_path):
  (tmp_path / "note").write_text("mine")
  with pytest.raises(errors.CheckpointError, match="is not empty"):
    command.main(["--out", str(tmp_path)])
  assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.slow
def test_its_score(run, tmp_path):
  archive = SHARED / "data" / "nw_ucla" / nw_ucla.ARCHIVE
  if not archive.exists():
    pytest.skip(f"NW-UCLA is not here: {archive}")
  nw_ucla.main(["--raw", str(archive), "--out", str(tmp_path / "data")])
  parts = experiment.open(run)
  source = dataclasses.replace(parts.source, data_dir=str(tmp_path / "data"))
  summary = evaluate.run(dataclasses.replace(parts, source=source), run)
  with np.load(store.MODEL) as file:
    about = json.loads(str(file[store.ABOUT]))
  assert summary["num_clips"] == about["num_clips"] == 464
  # One clip is 0.22 points: rounding may turn one or two over.
  assert abs(summary["top1"] - about["top1"]) < 0.5
