# SPDX-License-Identifier: Apache-2.0
"""Fusion of score files: the reference's numbers, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sgcl_jax import ensemble, modalities
from sgcl_jax.evaluation import metrics
from sgcl_jax.runs import scores
from tests.conftest import ROOT, SHARED

REAL = SHARED / "data" / "scores"


@pytest.fixture
def call(call_main):
  """Returns a runner of the command in this process."""
  return lambda *args: call_main(ensemble.main, *args)


@pytest.fixture
def real():
  """Returns the paths of real score files: stream -> path."""
  if not REAL.exists():
    pytest.skip(f"reference scores are not here: {REAL}")
  return {s: REAL / f"frhead_ucla_{s}.npz" for s in modalities.NAMES}


@pytest.fixture
def write(tmp_path):
  """Returns a writer of random score files of 40 clips and 6 classes."""
  labels = np.random.default_rng(0).integers(0, 6, 40).astype(np.int32)

  def make(name, seed=1, keep=slice(None)):
    logits = np.random.default_rng(seed).normal(size=(40, 6))
    logits[np.arange(40), labels] += 1
    names = np.array([f"clip_{i:02}" for i in range(40)])
    found = scores.Scores(names, labels, logits.astype(np.float32))
    path = tmp_path / f"{name}.npz"
    scores.write(path, scores.Scores(*(array[keep] for array in found[:3])))
    return path

  return make


@pytest.mark.parametrize("data", ["ntu_xsub", "NW-UCLA"])
@pytest.mark.parametrize(
  ("case", "options"),
  [
    ("J+B", {"preset": "2s"}),
    ("J+B_alpha0.7", {"weights": [1, 0.7]}),
    ("4S", {"preset": "4s"}),
    ("4S_infogcn", {"preset": "infogcn"}),
    *((f"single_{s}", {"weights": [1]}) for s in modalities.NAMES),
  ],
)
def test_the_references_fusions(golden, tmp_path, data, case, options):
  """Golden I: percentages to 1e-9, and every single prediction."""
  with golden("I_ensemble.npz") as arrays:
    expected = arrays[f"{data}/{case}/top1_top5_percent"]
    pred = arrays.get(f"{data}/{case}/pred")
    logits = {s: arrays[f"{data}/score_{s}"] for s in modalities.NAMES}
    labels = arrays[f"{data}/labels"]
  names = np.array([f"clip_{i:03}" for i in range(len(labels))])
  streams = list(logits)[: 2 if case.startswith("J+B") else 4]
  if case.startswith("single_"):
    streams = [case.removeprefix("single_")]
  paths = [tmp_path / f"x_{stream}.npz" for stream in streams]
  rng = np.random.default_rng(0)
  for stream, path in zip(streams, paths, strict=True):
    rows = rng.permutation(len(labels))  # The join must not rely on the order.
    part = scores.Scores(names, labels, logits[stream])
    scores.write(path, scores.Scores(*(array[rows] for array in part[:3])))
  fused = ensemble.fuse(ensemble.load(paths, **options))
  np.testing.assert_allclose(
    [*fused.accuracy().values()], expected, rtol=0, atol=1e-9
  )
  if pred is not None:
    order = np.argsort(fused.names)
    np.testing.assert_array_equal(fused.logits.argmax(axis=1)[order], pred)


def test_the_published_number_of_real_scores(call, real):
  result = call(
    *("--preset", "4s", "--json", "--scores", *real.values()),
    *("--baseline", real["joint"], real["bone"]),
    *(real["joint_motion"], real["bone_motion"]),
  )
  assert result.returncode == 0, result.stderr
  found = json.loads(result.stdout)
  assert found["top1"] == pytest.approx(96.767, abs=5e-4)
  assert (found["num_clips"], found["weights"]) == (464, [0.6, 0.6, 0.4, 0.4])
  alone = [part["top1"] for part in found["streams"]]
  assert alone == pytest.approx([94.397, 93.103, 92.888, 89.440], abs=5e-4)
  low, high = found["interval"]
  assert 94.5 < low < 96.767 < high < 98.5
  assert found["baseline"]["difference"] == 0  # The same files.
  result = call("--preset", "2s", "--json", "--scores", *[*real.values()][:2])
  assert json.loads(result.stdout)["top1"] == pytest.approx(95.690, abs=5e-4)


def test_one_interval_for_the_same_clips(write):
  """Wilson's, as an evaluation reports; SciPy's bootstrap for the gain."""
  paths = write("a_joint", 1), write("a_bone", 2)
  parts = ensemble.load(paths, "2s")
  found, fused = ensemble.describe(parts), ensemble.fuse(parts)
  summary = metrics.summarize(fused.logits, fused.labels)
  assert list(found["interval"]) == summary["top1_interval"]
  best = max(
    (part.scores for part in parts), key=lambda s: s.accuracy()["top1"]
  )
  gain = fused.correct() * 1.0 - best.correct()
  assert found["best_stream"]["difference"] == pytest.approx(100 * gain.mean())
  low, high = found["best_stream"]["interval"]
  rng = np.random.default_rng(5)
  means = 100 * rng.choice(gain, (5000, len(gain))).mean(axis=1)
  expected = np.percentile(means, [2.5, 97.5])
  np.testing.assert_allclose([low, high], expected, atol=2.6)  # A clip is 2.5.


def test_what_each_stream_adds(call, write):
  paths = [write("a_joint", 1), write("a_bone", 2), write("a_joint_motion", 3)]
  weights = ("--weights", 1, 2, 0)
  result = call(*weights, "--json", "--scores", *paths)
  found = json.loads(result.stdout)
  logits = [scores.read(path).logits.astype(float) for path in paths]
  labels = scores.read(paths[0]).labels

  def top1(total):
    return 100 * (total.argmax(axis=1) == labels).mean()

  whole = top1(logits[0] + 2 * logits[1])
  assert found["top1"] == pytest.approx(whole)
  first, second, third = found["streams"]
  assert first["without"] == pytest.approx(top1(2 * logits[1]))
  assert second["adds"] == pytest.approx(whole - top1(logits[0]))
  assert (third["adds"], third["stream"]) == (0, "joint_motion")
  text = call(*weights, "--scores", *paths).stdout
  assert f"top-1 {whole:.3f} %" in text
  assert f"{second['adds']:+.3f}" in text and "of 40 clips" in text


def test_a_baseline_is_compared_clip_by_clip(call, write, tmp_path):
  ours, theirs = write("x_joint", 1), write("y_joint", 2)
  out = tmp_path / "fused.npz"
  line = ("--weights", 3, "--scores", ours, "--baseline", theirs, "--out", out)
  found = json.loads(call(*line, "--json").stdout)["baseline"]
  right = [scores.read(path).correct() for path in (ours, theirs)]
  assert found["only_ours"] == (right[0] & ~right[1]).sum()
  assert found["only_theirs"] == (right[1] & ~right[0]).sum()
  assert found["weights"] == [1.0]  # One file alone is not fused.
  text = call(*line).stdout
  assert f"McNemar's exact test: p = {found['p']:.3g}" in text
  assert scores.read(out).logits.dtype == np.float32
  np.testing.assert_allclose(
    scores.read(out).logits, 3 * scores.read(ours).logits, rtol=1e-6
  )


def test_streams_by_config_by_name_and_by_order(call, write, tmp_path):
  run = tmp_path / "run"
  scores.write(run / "scores" / "xview_bone.npz", scores.read(write("b", 2)))
  data = {"split": "xview", "modality": "bone"}
  (run / "config.json").write_text(json.dumps({"data": data}))
  parts = ensemble.load([run, write("a_joint", 1)], "2s")
  assert [part.stream for part in parts] == ["bone", "joint"]
  parts = ensemble.load(
    [write(f"a_{s}", i) for i, s in enumerate(reversed(modalities.NAMES))],
    "4s",
  )
  assert [part.weight for part in parts] == [0.4, 0.4, 0.6, 0.6]
  # InfoGCN's authors fuse several k of one stream.
  names = "k1_bone", "k8_bone", "k1_bone_motion"
  paths = [write(name, seed) for seed, name in enumerate(names)]
  parts = ensemble.load(paths, "infogcn")
  assert [part.weight for part in parts] == [1.5, 1.5, 1]
  result = call("--preset", "2s", "--scores", write("x", 3), write("y_bone"))
  assert "by the order of the files: joint, bone" in result.stdout


@pytest.mark.parametrize(
  ("options", "names", "message"),
  [
    (["--preset", "2s"], [], "--scores is missing"),
    ([], ["a_joint"], "give either --preset or --weights"),
    (["--preset", "4s", "--weights", 1], ["a_joint"], "give either"),
    (["--preset", "2s"], ["a_joint", "b_joint"], "once each; the files are"),
    (["--preset", "4s"], ["a_joint", "a_bone"], "4s fuses joint, bone, joint_"),
    (["--preset", "2s"], ["a", "a_joint"], "a.npz ends in no stream; name"),
    (["--preset", "4s"], ["a", "b"], "a.npz ends in no stream; name"),
    (["--weights", 1], ["a", "b"], "--weights has 1 numbers for 2 score"),
    (["--weights", 1, -1], ["a", "b"], "--weights 1 -1: each must be 0 or"),
    (["--weights", 0, 0], ["a", "b"], "--weights 0 0: each must be 0 or"),
    (["--weights", 1, "nan"], ["a", "b"], "--weights 1 nan: each must be"),
    (["--weights", 1, "--out", "x.csv"], ["a"], "x.csv does not end in .npz"),
  ],
)
def test_options_that_do_not_fit(call, write, options, names, message):
  paths = [write(name) for name in names]
  result = call(*options, *(("--scores", *paths) if paths else ()))
  assert result.returncode == 1 and result.stdout == ""
  assert message in result.stderr and result.stderr.count("\n") == 1


def test_the_same_scores_twice_are_refused(call, write):
  """A file that is named twice, and a copy of one."""
  paths = write("a_joint"), write("a_joint"), write("copy")
  for name, message in (
    (paths[1], "a_joint.npz is given twice: name another one"),
    (paths[2], f"copy.npz holds the same scores as {paths[0]}: name another"),
  ):
    result = call("--weights", 1, 1, "--scores", paths[0], name)
    assert result.returncode == 1 and message in result.stderr
    assert result.stderr.count("\n") == 1


def test_other_clips_are_refused(call, write):
  paths = write("a_joint"), write("a_bone", keep=slice(1, None))
  result = call("--preset", "2s", "--scores", *paths)
  assert result.returncode == 1 and result.stdout == ""
  assert "clip_00 is in" in result.stderr and "1 clips differ" in result.stderr
  result = call("--weights", 1, "--scores", paths[0], "--baseline", paths[1])
  assert result.returncode == 1 and "clip_00 is in" in result.stderr
  directory = paths[0].parent
  result = call("--weights", 1, "--scores", directory)
  assert result.returncode == 1 and "holds no config.json" in result.stderr


def test_probabilities_are_noticed(call, write):
  path = write("a_joint")
  found = scores.read(path)
  odds = np.exp(found.logits)
  odds /= odds.sum(axis=1, keepdims=True)
  scores.write(path, found._replace(logits=odds))
  result = call("--weights", 1, "--scores", path)
  assert result.returncode == 0
  assert "seems to hold probabilities" in result.stderr


# Not `sys.modules["jax"] = None`: SciPy takes that for a JAX that is loaded.
WITHOUT_JAX = """
import sys

class Hidden:
  @staticmethod
  def find_spec(name, path=None, target=None):
    if name.partition(".")[0] in ("jax", "jaxlib", "flax"):
      raise ModuleNotFoundError(f"{name} is hidden")

sys.meta_path.insert(0, Hidden)
from sgcl_jax import ensemble
ensemble.main(sys.argv[1:])
assert "jax" not in sys.modules
"""


def test_it_needs_no_jax(write):
  paths = write("a_joint"), write("a_bone", 2)
  line = [sys.executable, "-c", WITHOUT_JAX, "--preset", "2s"]
  line += ["--scores", *paths, "--baseline", paths[0]]
  done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "fused: top-1" in done.stdout
