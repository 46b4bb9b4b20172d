# SPDX-License-Identifier: Apache-2.0
"""Exported files, run by their own runtimes, against the live model."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from data_prep import ntu60, ntu120
from sgcl_jax import errors, experiment, export, input_pipeline
from sgcl_jax.models import transposition
from sgcl_jax.runs import checkpoint, scores
from sgcl_jax.serving import frozen
from sgcl_jax.settings import config_file

ROOT = pathlib.Path(__file__).parents[1]
BACKBONES = ("ctrgcn", "agcn", "infogcn")


def read_example(suffix):
  """Returns the example of docs/EXPORT.md that reads files of a suffix."""
  blocks = (ROOT / "docs" / "EXPORT.md").read_text().split("```python\n")[1:]
  blocks = [block.split("```")[0] for block in blocks]
  (found,) = (block for block in blocks if f"model{suffix}" in block)
  assert len(found.splitlines()) <= 12
  return found


def run_example(suffix, directory, skeleton, num_frames):
  """Runs an example where this package cannot be found; returns its output."""
  np.savez(directory / "in.npz", skeleton=skeleton, num_frames=num_frames)
  code = f"""
import sys
import numpy as np
sys.modules["sgcl_jax"] = None  # Its import fails.
with np.load("in.npz") as arrays:
  skeleton, num_frames = arrays["skeleton"], arrays["num_frames"]
{read_example(suffix)}
np.save("out.npy", probabilities)
"""
  subprocess.run([sys.executable, "-c", code], cwd=directory, check=True)
  return np.load(directory / "out.npy")


def load(directory, *args):
  return frozen.load(experiment.open(directory), directory, *args)


def load_test_clips(model):
  clips = input_pipeline.load(model.parts.source.data_dir, "test")
  batch = clips.batch(np.arange(len(clips)), clips.num_frames.max())
  return batch["skeleton"], batch["num_frames"]


def test_a_file_runs_without_this_package(call_main, tiny_run, tmp_path):
  out = tmp_path / "model.stablehlo"
  done = call_main(export.main, "--checkpoint", tiny_run, "--out", out)
  assert done.returncode == 0, done.stderr
  assert "10 classes" in done.stdout
  clips = load_test_clips(load(tiny_run))
  found = run_example(".stablehlo", tmp_path, *clips)
  (path,) = (tiny_run / "scores").glob("*_joint.npz")
  expected = jax.nn.softmax(scores.read(path).logits)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_what_a_file_says_of_itself(tiny_run):
  about = export.describe(load(tiny_run))
  assert about["class_names"] == tuple(f"class {i}" for i in range(10))
  assert about["joints"][:2] == ["hip center", "spine"]
  assert about["inputs"]["skeleton"] == ["clips", "frames", 1, 20, 3]
  assert about["prepared"] == {"aligned": False}
  json.dumps(about)


def test_a_run_that_stores_less(tiny_run, tmp_path, capsys, monkeypatch):
  """As imported weights: the data set knows; without it a notice says so."""
  metadata = checkpoint.Checkpoints.metadata

  def forget(self):
    found = metadata(self)
    return {k: found[k] for k in found if k not in ("classes", "prepared")}

  monkeypatch.setattr(checkpoint.Checkpoints, "metadata", forget)
  model = load(tiny_run)
  assert model.class_names[3] == "class 3" and not model.prepared["aligned"]
  assert not capsys.readouterr().err
  parts = experiment.open(tiny_run)
  source = dataclasses.replace(parts.source, data_dir=str(tmp_path))
  parts = dataclasses.replace(parts, source=source)
  model = frozen.load(parts, tiny_run)
  assert model.class_names[3] == "class 3"
  assert model.prepared == {"aligned": False, "lone_person": "zeros"}
  first, second = capsys.readouterr().err.splitlines()
  assert "the default of the converter is assumed" in first
  assert "--class_names FILE" in second


@pytest.mark.parametrize(
  ("num_classes", "kind"), [(60, "zeros"), (120, "repeat")]
)
def test_the_default_for_a_lone_person(num_classes, kind):
  raw_set = {60: ntu60.NTU60, 120: ntu120.NTU120}[num_classes]
  assert raw_set.lone_person == kind
  config = config_file.load(f"configs/ctrgcn_ntu{num_classes}.py:gcl=false")
  parts = experiment.make(config)
  assert frozen._guess_preparation(parts)["lone_person"] == kind


def test_names_of_classes_from_a_file(tiny_run, tmp_path, call_main):
  path = tmp_path / "names.txt"
  path.write_text("\ufeff" + "\n".join("abcdefghij") + "\n", encoding="utf-8")
  assert load(tiny_run, path).class_names == tuple("abcdefghij")
  path.write_text("\n".join("abcdefghia"))
  with pytest.raises(errors.DataError, match="line 10: 'a' comes twice"):
    load(tiny_run, path)
  path.write_text("a\nb\n")
  args = ["--checkpoint", tiny_run, "--out", tmp_path / "m.stablehlo"]
  done = call_main(export.main, *args, "--class_names", path)
  assert done.returncode == 1
  assert "names.txt names 2 classes, the model has 10" in done.stderr
  assert not (tmp_path / "m.stablehlo").exists()


def test_a_run_of_another_version_needs_a_config(
  tiny_run, tmp_path, call_main, list_fields
):
  """As `--mode=evaluate` does."""
  run = tmp_path / "run"
  shutil.copytree(tiny_run, run)
  config = json.loads((run / "config.json").read_text())
  del config["optim"]["base_lr"]
  (run / "config.json").write_text(json.dumps(config))
  args = ["--checkpoint", run, "--out", tmp_path / "m.stablehlo"]
  done = call_main(export.main, *args)
  assert done.returncode == 1 and "pass --config FILE" in done.stderr
  done = call_main(export.main, *args, *list_fields("ctrgcn_ucla"))
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--out", "model.pb"], "must end in .stablehlo or .onnx"),
    (["--out", "m.onnx", "--num_frames", "0"], "--num_frames must be 1 or"),
    (["--out", "m.onnx"], "there is no directory no/run"),
    ([], "--out"),
  ],
)
def test_mistakes(call_main, args, message):
  done = call_main(export.main, "--checkpoint", "no/run", *args)
  assert done.returncode == 1 and message in done.stderr
  assert len(done.stderr.splitlines()) == 1


def test_stablehlo_without_flatbuffers(
  tiny_run, tmp_path, call_main, monkeypatch
):
  monkeypatch.setitem(sys.modules, "flatbuffers", None)
  out = tmp_path / "m.stablehlo"
  done = call_main(export.main, "--checkpoint", tiny_run, "--out", out)
  assert done.returncode == 1 and not out.exists()
  assert 'run: pip install -e ".[export]"' in done.stderr.splitlines()[-1]


def test_onnx_without_its_packages(tiny_run, tmp_path, call_main, monkeypatch):
  monkeypatch.setitem(sys.modules, "jax2onnx", None)
  args = ["--checkpoint", tiny_run, "--out", tmp_path / "m.onnx"]
  done = call_main(export.main, *args)
  assert done.returncode == 1 and "docs/EXPORT.md" in done.stderr


def test_plain_transpositions_do_not_depend_on_the_platform():
  def trace():
    turn = lambda x: transposition.transpose(x, (1, 0))
    return str(jax.make_jaxpr(turn)(np.zeros((2, 3))))

  assert "platform_index" in trace()
  with transposition.plain():
    assert "platform_index" not in trace()
  assert "platform_index" in trace()


@pytest.fixture(scope="session", params=BACKBONES)
def backbone_run(request, tiny, save_run):
  """A run of a real backbone, its answers not certain."""
  parts = tiny("gcl=false", backbone=request.param, **{"data.window": 16})
  scale = {"ctrgcn": 1e-3, "agcn": 0.1, "infogcn": 0.1}
  return save_run(parts, head=scale[request.param]), request.param


@pytest.mark.slow
@pytest.mark.parametrize("suffix", export.SUFFIXES)
def test_backbones(backbone_run, suffix, tmp_path, capfd):
  if suffix == ".onnx":
    pytest.importorskip("jax2onnx")
  directory, name = backbone_run
  model = load(directory)
  skeleton, num_frames = load_test_clips(model)
  size = {"num_clips": len(skeleton), "num_frames": skeleton.shape[1]}
  export.write(model, tmp_path / f"model{suffix}", **size)
  capfd.readouterr()
  found = run_example(suffix, tmp_path, skeleton, num_frames)
  assert "should be removed" not in capfd.readouterr().err  # Of ONNX Runtime.
  (path,) = (directory / "scores").glob("*_joint.npz")
  expected = jax.nn.softmax(scores.read(path).logits)
  # Certain or constant answers would agree with those of any model.
  assert (
    expected.max(axis=1).min() < 0.9 and np.ptp(expected, axis=0).max() > 0.01
  )
  difference = np.abs(found - expected).max()
  print(f"{name}{suffix}: largest difference {difference:.1e}")
  assert difference < 1e-5
