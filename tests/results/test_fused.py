# SPDX-License-Identifier: Apache-2.0
"""Fusions and pairs of a table of runs."""

import numpy as np
import pytest

from sgcl_jax import ensemble, errors, modalities
from sgcl_jax.evaluation import statistics
from sgcl_jax.results import lines, store
from sgcl_jax.runs import scores


@pytest.fixture
def add(tmp_path):
  """Returns a function that adds workdirs to a table and reads it."""

  def run(*directories):
    path = tmp_path / "table" / "runs.csv"
    found = [lines.describe(directory) for directory in directories]
    store.add(path, found, [])
    return store.read(path)

  return run


@pytest.fixture
def make_streams(make_run):
  """Returns a maker of the runs of four streams: arg, seed, right clips."""

  def make(arg="preset=short", seed=1, right=(15, 14, 13, 12)):
    return [
      make_run(f"{arg}_{seed}_{stream}", f"{arg},modality={stream}", seed, n)
      for stream, n in zip(modalities.NAMES, right, strict=True)
    ]

  return make


def find(table, modality, **fields):
  (line,) = (
    line
    for line in table
    if line["modality"] == modality and fields.items() <= line.items()
  )
  return line


def test_the_streams_of_a_seed_are_fused(add, make_streams):
  directories = make_streams()
  runs = add(*directories).runs
  assert [line["modality"] for line in runs].count("4S") == 1 and len(runs) == 6
  whole = ensemble.describe(ensemble.load(directories, "4s"))
  line = find(runs, "4S")
  assert line["top1"] == f"{whole['top1']:.5f}"
  assert (line["num_clips"], line["epochs"], line["seed"]) == ("20", "2", "1")
  assert line["minutes"] == "6.0" and line["revision"] == "aaaaaaa, bbbbbbb"
  assert line["preset"] == "short" and line["best_top1_on_test"] == ""
  both = ensemble.describe(ensemble.load(directories[:2], "2s"))
  assert find(runs, "J+B")["top1"] == f"{both['top1']:.5f}"


def test_a_second_run_of_a_stream_leaves_the_fusion(
  add, make_streams, make_run
):
  directories = make_streams()
  before = find(add(*directories[:2]).runs, "J+B")
  joint = directories[0]
  path = joint / "scores" / "xview_joint.npz"
  old = scores.read(path)
  # Another training of the same stream is one more run: then none is chosen.
  other = make_run("other", "preset=short,modality=joint", 1, 15)
  scores.write(
    other / "scores" / "xview_joint.npz", old._replace(logits=old.logits * 0.5)
  )
  runs = add(other).runs
  assert find(runs, "J+B") == before
  assert [line["modality"] for line in runs].count("joint") == 2


def test_without_score_files_the_lines_stay(add, make_streams):
  directories = make_streams()
  before = add(*directories).runs
  for directory in directories[1:]:
    (path,) = (directory / "scores").iterdir()
    path.unlink()
  assert add(directories[0]).runs == before


def test_pairs_with_and_without_the_contrast(add, make_streams):
  """Clip by clip, of the same seed; also of the fused scores."""
  off = make_streams("preset=short,gcl=false", right=(10, 10, 10, 10))
  directories = make_streams(), make_streams("contrast=released,preset=short")
  tables = add(*off, *directories[0], *directories[1], *make_streams(seed=2))
  assert len(tables.pairs) == 2 * 6  # Seed 2 has no baseline.
  line = find(tables.pairs, "joint", contrast="paper")
  assert line["baseline"] == find(tables.runs, "joint", contrast="off")["run"]
  assert (line["only_run"], line["only_baseline"]) == ("5", "0")
  assert line["difference"] == "25.00000"
  assert float(line["p"]) == pytest.approx(2 * 0.5**5)
  ours, theirs = (
    ensemble.fuse(ensemble.load(paths, "4s")) for paths in (directories[0], off)
  )
  expected = statistics.compare_clips(ours.correct(), theirs.correct())
  line = find(tables.pairs, "4S", contrast="paper")
  assert line["only_run"] == str(expected["only_ours"])
  assert line["p"] == f"{expected['p']:.4g}"


def test_fields_of_the_contrast_do_not_hide_the_baseline(add, make_run):
  fields = {"contrast.margin": 0.5}
  tables = add(
    make_run("off", "gcl=false", right=10),
    make_run("a", right=12),
    make_run("b", right=14, **fields),
  )
  found = {line["overrides"]: line["only_run"] for line in tables.pairs}
  epochs = "optim.num_epochs=2"
  assert found == {epochs: "2", f"contrast.margin=0.5 {epochs}": "4"}


def test_scores_of_other_clips_are_refused(add, make_run, tmp_path):
  joint, bone = make_run("a"), make_run("b", "modality=bone", right=12)
  path = bone / "scores" / "xview_bone.npz"
  found = scores.read(path)
  names = np.array([f"other_{name}" for name in found.names])
  scores.write(path, found._replace(names=names))
  with pytest.raises(errors.DataError, match="hold other clips: clip_00 is in"):
    add(joint, bone)
  assert not (tmp_path / "table").exists()
