# SPDX-License-Identifier: Apache-2.0
"""Answers for new files: equal to the evaluation's; or what was expected."""

import collections
import io
import json
import sys
import types

import jax
import numpy as np
import pytest

from data_prep.clips import like, reader
from data_prep.ntu import raw_files, shards
from data_prep.quality import draw
from sgcl_jax import errors, experiment, input_pipeline, predict, skeletons
from sgcl_jax.runs import scores
from sgcl_jax.serving import predictor
from tests.data_prep.ntu.raw_text import make_joints, make_text, merge


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
  """The test clips of `tiny_run`, as files of three kinds."""
  out = tmp_path_factory.mktemp("clips")
  data_dir = experiment.open(tiny_run).source.data_dir
  for i, clip in enumerate(input_pipeline.read_clips(data_dir, "test")):
    path, skeleton = out / f"{clip['name']}.json", clip["skeleton"]
    if i % 3 == 0:
      np.savez(path.with_suffix(".npz"), skeleton=skeleton, label="unknown")
    elif i % 3 == 1:
      path.write_text(json.dumps({"skeleton": skeleton[:, 0].tolist()}))
    else:  # As NW-UCLA's files.
      skeletons = {"file_name": path.stem, "skeletons": skeleton[:, 0].tolist()}
      path.write_text(json.dumps(skeletons))
  return out


def expected_answers(run):
  """Returns name -> probabilities [L] of the evaluation."""
  (path,) = (run / "scores").glob("*_joint.npz")
  found = scores.read(path)
  return dict(zip(found.names, jax.nn.softmax(found.logits), strict=True))


def assert_equal(top, probabilities):
  assert [each["label"] for each in top] == list(np.argsort(-probabilities))
  for each in top:
    assert each["class"] == f"class {each['label']}"
    np.testing.assert_allclose(
      each["probability"], probabilities[each["label"]], rtol=1e-5
    )


def test_answers_equal_the_evaluation(tiny_run, folder, call_main):
  args = ["--checkpoint", tiny_run, "--top", 10, "--batch_size", 4, "--json"]
  done = call_main(predict.main, *args, folder)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  expected = expected_answers(tiny_run)
  assert len(found["predictions"]) == len(expected) == 13
  assert not found["refused"]
  for answer in found["predictions"]:
    name = answer["file"].rpartition("/")[2].partition(".")[0]
    assert_equal(answer["top"], expected[name])


def test_what_is_printed(tiny_run, folder, call_main):
  path = folder / "test_000.npz"
  done = call_main(predict.main, "--checkpoint", tiny_run, path)
  lines = done.stdout.splitlines()
  assert lines[0].startswith(f"{path} (") and len(lines) == 6
  probabilities = expected_answers(tiny_run)["test_000"]
  best = probabilities.argmax()
  assert lines[1] == f"  {100 * probabilities[best]:5.1f} %  class {best}"
  assert "1 answered, first answer after" in done.stderr


def test_a_converted_data_set_is_named(make_data):
  data_dir = make_data({"train": 1})
  refused = []
  assert not [*predict.read_files([data_dir], None, refused)]
  (found,) = refused
  assert found["file"] == str(data_dir)
  assert found["reason"].startswith("is a converted data set: name raw files")
  assert found["reason"].endswith(f"RUN --config.data.dir={data_dir}")


def break_file(path, what):
  """Writes a clip of the layout `ucla` that is broken in one way."""
  skeleton = np.ones((4, 1, 20, 3), np.float32)
  if what == "nan":
    skeleton[2, 0, 3, 1] = np.nan
  if what == "joints":
    skeleton = np.ones((4, 1, 25, 3), np.float32)
  if what == "frames":
    skeleton = skeleton[:0]
  if what == "persons":
    skeleton = np.repeat(skeleton, 3, axis=1)
  content = {"other" if what == "key" else "skeleton": skeleton}
  if what == "empty":
    path.touch()
  elif what == "skeleton":
    path.write_text("1\n")
  elif what != "missing":
    np.savez(path, **content)


BROKEN = {
  "nan": "frame 2, head is [1.0, nan, 1.0]",
  "joints": "25 joints, but the layout ucla has 20",
  "frames": "without frames there is no clip",
  "persons": "3 persons, but the model knows 1",
  "key": "has no key 'skeleton' (found: other), which holds (frames, persons,",
  "empty": "cannot be read",
  "skeleton": "25 joints of Kinect v2, but the model wants",
  "missing": "is no file",
}


def test_a_broken_file_does_not_stop_the_others(
  tiny_run, folder, call_main, tmp_path
):
  """Each is named, with what was expected; the exit code is 1."""
  paths = {}
  for what in BROKEN:
    suffix = ".skeleton" if what == "skeleton" else ".npz"
    paths[what] = tmp_path / f"{what}{suffix}"
    break_file(paths[what], what)
  names = [*paths.values(), folder / "test_000.npz"]
  done = call_main(predict.main, "--checkpoint", tiny_run, "--json", *names)
  assert done.returncode == 1
  assert "8 files are broken, the others are answered" in done.stderr
  found = json.loads(done.stdout)
  (answer,) = found["predictions"]
  assert answer["file"] == str(names[-1])
  reasons = {each["file"]: each["reason"] for each in found["refused"]}
  for what, reason in BROKEN.items():
    assert reason in reasons[str(paths[what])], what
  for what in ("nan", "joints", "frames", "key"):
    expected = "with the 20 joints of ucla, x, y, z"
    assert expected in reasons[str(paths[what])]


def test_a_line_of_a_stream_has_an_end():
  lines = predictor.read_lines(io.StringIO("[1]\n" + "[" * 2**21))
  windows = predictor.slide(lines, 1, 1)
  assert next(windows).frames == [[1]]
  with pytest.raises(errors.DataError, match="line 2 of the stream is longer"):
    next(windows)


def test_a_folder(tiny_run, folder, call_main, tmp_path):
  """A layout in it is no clip; a folder without clips is named."""
  (tmp_path / "layout.json").write_text(skeletons.get("coco17").to_json())
  (tmp_path / "notes.txt").touch()
  args = ["--checkpoint", tiny_run, tmp_path, folder / "test_000.npz"]
  done = call_main(predict.main, *args)
  assert done.returncode == 1
  assert f"{tmp_path}: holds no file of .skeleton, .npz, .json" in done.stderr
  assert "passed over: 2 other files (1 .txt, 1 layout)" in done.stderr
  assert "class" in done.stdout


def fake_model(layout, num_persons, transform="ntu", **prepared):
  """Returns what `predict` reads of a model."""
  parts = types.SimpleNamespace(
    layout=skeletons.get(layout),
    source=types.SimpleNamespace(num_persons=num_persons),
    record={"data": {"transform": transform}},
  )
  return types.SimpleNamespace(parts=parts, prepared=prepared)


@pytest.mark.parametrize("alignment", [None, "own", "released"])
@pytest.mark.parametrize("lone_person", ["zeros", "repeat"])
def test_raw_ntu_files_equal_the_converter(tmp_path, alignment, lone_person):
  """One person; and two, of whom the one who moves more comes later."""
  tracks = [("1", 0, make_joints(0, 30)), ("2", 4, 1.5 * make_joints(1, 26))]
  prepared = {"aligned": bool(alignment), "alignment": alignment}
  model = fake_model("ntu", 2, lone_person=lone_person, **prepared)
  for count in (1, 2):
    path = tmp_path / f"S001C001P001R001A00{count}.skeleton"
    path.write_bytes(make_text(merge(*tracks[:count])))
    (file,) = raw_files.find([path], collections.Counter())
    clip, _ = shards.read_clip(file, lone_person, alignment)
    found = predict.read_clip(path, model)
    np.testing.assert_array_equal(found, clip.skeleton)
    has_second = bool(clip.skeleton[:, 1].any())
    assert has_second == (count == 2 or lone_person == "repeat")


def test_more_persons_than_the_model_knows(tmp_path):
  """A raw file is refused like an array, and does not end the command."""
  joints = make_joints(0, 30), 1.5 * make_joints(1, 30)
  tracks = [("1", 0, joints[0]), ("2", 0, joints[1])]
  path = tmp_path / "S001C001P001R001A001.skeleton"
  path.write_bytes(make_text(merge(*tracks)))
  model = fake_model("kinect25", 1)
  with pytest.raises(errors.DataError, match="2 persons, but the model knows"):
    predict.prepare(np.stack(joints, axis=1), model)
  refused = []
  assert not [*predict.read_files([path], model, refused)]
  (line,) = refused
  assert "2 persons, but the model knows 1" in line["reason"]
  path.write_bytes(make_text(merge(tracks[0])))
  assert predict.read_clip(path, model).shape == (30, 1, 25, 3)


def test_your_own_clips_equal_the_converter():
  """With the options of the conversion, and joints that it computes."""
  rng = np.random.default_rng(0)
  skeleton = rng.uniform(1, 2, (9, 3, 17, 3)).astype(np.float32)
  skeleton[4] = 0
  options = {"max_persons": 2, "empty_frames": "drop"}
  expected, _ = reader.prepare(
    np.where(skeleton == 0, np.nan, skeleton),
    reader.Options(skeletons.get("coco17"), **options),
  )
  prepared = {like.METADATA: options}
  model = fake_model("coco17", 2, "whole", **prepared)
  found = predict.prepare(skeleton, model)
  assert found.shape[:2] == (8, 2)
  np.testing.assert_array_equal(found, expected)


def run_stream(call_main, monkeypatch, run, frames, *args):
  lines = "".join(f"{json.dumps(frame)}\n" for frame in frames)
  monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
  return call_main(predict.main, "--checkpoint", run, *args)


def test_a_stream(tiny_run, folder, call_main, monkeypatch):
  """A window of a whole clip has the clip's answer."""
  name = "test_001"
  frames = json.loads((folder / f"{name}.json").read_text())["skeleton"]
  length = len(frames)
  assert length > 2
  args = ["--window_frames", length, "--step_frames", 2, "--top", 10]
  done = run_stream(
    call_main, monkeypatch, tiny_run, frames + frames[:3], *args, "--json"
  )
  assert done.returncode == 0, done.stderr
  answers = [json.loads(line) for line in done.stdout.splitlines()]
  assert [answer["frames"][0] for answer in answers] == [0, 2, 3]
  assert_equal(answers[0]["top"], expected_answers(tiny_run)[name])
  assert answers[0]["frames"] == [0, length - 1]
  assert answers[-1]["frames"] == [3, length + 2]


@pytest.mark.parametrize(
  ("frames", "message"),
  [
    ([], "the stream holds no frame"),
    ([{"a": 1}], "line 1 of the stream is no list"),
    ([[[1, 2, 3]] * 3], "frames 0 to 0 of the stream: 3 joints, but"),
  ],
)
def test_a_broken_stream(tiny_run, call_main, monkeypatch, frames, message):
  done = run_stream(call_main, monkeypatch, tiny_run, frames)
  assert done.returncode == 1 and message in done.stderr
  assert len(done.stderr.splitlines()) == 1


def test_windows():
  def spans(num_frames, length, step):
    windows = predictor.slide(["[0]\n", "\n"] * num_frames, length, step)
    return [(window.first, window.last) for window in windows]

  assert spans(8, 4, 2) == [(0, 3), (2, 5), (4, 7)]
  assert spans(7, 4, 2) == [(0, 3), (2, 5), (3, 6)]
  assert spans(3, 4, 2) == [(0, 2)]
  assert spans(0, 4, 2) == []
  with pytest.raises(
    errors.DataError, match="line 3 of the stream is not JSON"
  ):
    list(predictor.slide(["[0]", "", "[0"], 4, 2))


def test_an_animation(tiny_run, folder, call_main, tmp_path):
  from PIL import Image

  out, path = tmp_path / "out.gif", folder / "test_001.json"
  args = ["--checkpoint", tiny_run, path, "--animate", out]
  done = call_main(predict.main, *args)
  assert done.returncode == 0, done.stderr
  frames = json.loads(path.read_text())["skeleton"]
  with Image.open(out) as image:
    assert image.n_frames == len(frames) > 1
    first = np.asarray(image.convert("L"), int)
    image.seek(1)
    second = np.asarray(image.convert("L"), int)
  assert np.abs(first - second).max() > 50  # It moves.


def test_a_film(tmp_path):
  pytest.importorskip("imageio_ffmpeg")
  clip = {
    "name": "a",
    "skeleton": np.random.default_rng(0).normal(size=(3, 1, 20, 3)),
  }
  layout = skeletons.get("ucla")
  assert draw.write(clip, layout, tmp_path / "a.mp4", [("b", 1.0)]) == 3
  assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["clip.npz", "--top", "0"], "--top must be 1 or more"),
    (["clip.npz", "--animate", "a.png"], "neither a GIF nor an MP4"),
    (["a.npz", "b.npz", "--animate", "a.gif"], "--animate draws one file"),
    (["clip.npz"], "there is no directory no/run"),
  ],
)
def test_mistakes(call_main, args, message):
  done = call_main(predict.main, "--checkpoint", "no/run", *args)
  assert done.returncode == 1 and message in done.stderr
  assert len(done.stderr.splitlines()) == 1
