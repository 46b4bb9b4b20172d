# SPDX-License-Identifier: Apache-2.0
"""Annotation pickles: equal records, protocols, 2D joints, and refusals."""

import os
import pickle
import types

import numpy as np
import pytest

from configs import ctrgcn_custom, ctrgcn_ntu60
from data_prep import custom, ntu60, ntu120, pyskl
from data_prep.clips import like
from data_prep.held import annotations, pickles
from data_prep.ntu import actors, skeleton_file
from sgcl_jax import (
  errors,
  evaluate,
  experiment,
  input_pipeline,
  predict,
  skeletons,
  train,
)
from tests.conftest import TINY
from tests.data_prep.ntu import conversion, raw_text
from tests.data_prep.ntu.raw_text import make_joints


def write(path, clips, parts):
  """Writes name -> (label, keypoint or a dict with it)."""
  found = []
  for name, (label, content) in clips.items():
    if not isinstance(content, dict):
      content = {"keypoint": content}
    num_frames = np.shape(content["keypoint"])[1]
    found.append(
      {"frame_dir": name, "label": label, "total_frames": num_frames} | content
    )
  path.write_bytes(pickle.dumps({"split": parts, "annotations": found}))


def run(raw, *args):
  out = raw.with_suffix("")
  pyskl.main(["--raw", str(raw), "--out", str(out), *map(str, args)])
  return out


def get_parts(names, get_cell):
  parts = {}
  for name in names:
    cell = get_cell(skeleton_file.parse_name(name))
    words = cell.replace("test", "val").split("_")
    for i in (0, 2):
      parts.setdefault("_".join(words[i : i + 2]), []).append(name)
  return parts


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory):
  """Raw files of one and of two actors, of whom one comes late."""
  raw = tmp_path_factory.mktemp("held") / "raw"
  conversion.write_raw(raw)
  late = raw_text.merge(("1", 0, make_joints(7, 20)), ("2", 5, make_joints(8)))
  apart = raw_text.merge(
    ("1", 0, make_joints(9)), ("2", 14, make_joints(10) + 1)
  )
  for name, frames in {
    "S002C003P004R001A050": late,
    "S002C001P007R001A051": apart,
  }.items():
    (raw / f"{name}.skeleton").write_bytes(raw_text.make_text(frames))
  return raw


@pytest.mark.parametrize("aligned", [False, True], ids=["", "aligned"])
@pytest.mark.parametrize(
  ("module", "other"), [(ntu60, "xview"), (ntu120, "xset")]
)
def test_records_equal_those_of_the_raw_files(
  raw_files, tmp_path, module, other, aligned
):
  """To the bit from float32; the files of pyskl round to float16."""
  args = ["--align"] if aligned else []
  conversion.run(raw_files, tmp_path / "raw", *args, module=module)
  expected = conversion.read_cells(tmp_path / "raw")
  clips = {}
  for path in raw_files.rglob("*.skeleton"):
    joints = actors.assign(skeleton_file.parse(path.read_bytes()))
    clips[path.stem] = int(path.stem[-3:]) - 1, joints.transpose(1, 0, 2, 3)
  raw_set = getattr(module, module.__name__.split(".")[-1].upper())
  parts = get_parts(clips, raw_set.get_cell)
  assert f"{other}_val" in parts
  file = tmp_path / "held.pkl"
  write(file, clips, parts)
  out = run(file, *args)
  metadata = input_pipeline.load(out, f"{other}_test").metadata
  assert metadata["lone_person"] == raw_set.lone_person
  assert metadata["aligned"] is aligned
  found = conversion.read_cells(out)
  assert found.keys() == expected.keys()
  for cell, members in expected.items():
    assert found[cell].keys() == members.keys()
    for name, clip in members.items():
      assert found[cell][name]["label"] == clip["label"]
      np.testing.assert_array_equal(
        found[cell][name]["skeleton"], clip["skeleton"], name
      )


def test_float16_and_frames_between_actors(tmp_path, capsys):
  gap = np.zeros((2, 30, 25, 3), np.float32)
  gap[0, :12], gap[1, 14:26] = make_joints(0), make_joints(1)
  name = "S001C002P001R001A001"
  write(
    tmp_path / "ntu60_3danno.pkl",
    {name: (0, gap.astype(np.float16))},
    {"xsub_train": [name], "xsub_val": [], "xview_train": [], "xview_val": []},
  )
  found = conversion.read_cells(run(tmp_path / "ntu60_3danno.pkl"))
  skeleton = found["xsub_train"][name]["skeleton"]
  expected = gap[:, [*range(12), *range(14, 26)]].transpose(1, 0, 2, 3)
  expected = actors.translate(expected)
  # 3 m are rounded to 2 mm, and so is the origin.
  assert 0 < np.abs(skeleton - expected).max() < 2e-3
  text = capsys.readouterr().out
  assert "--config ctrgcn_ntu60:split=xsub" in text
  assert "the official xsub_train has 40,091 clips" in text


def make_flat(seed, persons=1, num_frames=9):
  rng = np.random.default_rng(seed)
  return {
    "keypoint": rng.uniform(0, 1000, (persons, num_frames, 17, 2)).astype("f2"),
    "keypoint_score": rng.uniform(size=(persons, num_frames, 17)).astype("f2"),
    "img_shape": (1080, 1920),
  }


def test_2d_joints_train_and_evaluate(tmp_path, capsys):
  """From the pickle of NTU RGB+D in 2D to a summary, as the command says."""
  names = [
    f"S001C{1 + i % 3:03}P{1 + i % 6:03}R001A00{1 + i % 2}" for i in range(6)
  ]
  names += [name.replace("S001", "S002") for name in names]
  clips = {
    name: (int(name[-1]) - 1, make_flat(i, 1 + (i == 3)))
    for i, name in enumerate(names)
  }
  clips[names[0]][1]["keypoint"][0, 2] = 0
  clips[names[0]][1]["keypoint_score"][0, 2] = 0
  members = get_parts(names, ntu60.get_cell)
  write(tmp_path / "ntu60_hrnet.pkl", clips, members)
  out = run(tmp_path / "ntu60_hrnet.pkl")
  (line,) = (x for x in capsys.readouterr().out.splitlines() if "next" in x)
  recipe = "ctrgcn_custom:split=xsub,preset=small"
  assert f"{recipe} --config.data.dir={out} --workdir runs/ntu60_hrnet" in line
  assert line.endswith("--config.contrast.cold_start=partial")  # Two classes.
  found = conversion.read(out)
  content = clips[names[0]][1]
  skeleton = found[names[0]]["skeleton"]
  assert skeleton.shape == (9, 2, 17, 3) and not skeleton[:, 1].any()
  keypoint = content["keypoint"][0].astype(np.float32) / 540
  np.testing.assert_allclose(
    skeleton[3:, 0, :, :2], (keypoint - keypoint[0, 0])[3:], atol=1e-6
  )
  assert not skeleton[2].any()
  np.testing.assert_array_equal(
    skeleton[3:, 0, :, 2], content["keypoint_score"][0, 3:]
  )
  config = ctrgcn_custom.get_config("split=xsub,gcl=false,modality=bone")
  fields = {**TINY, "data.dir": str(out), "batch_size": 4}
  config.update_from_flattened_dict(fields | {"optim.num_epochs": 1})
  parts = experiment.make(config)
  assert parts.layout.num_joints == 17 and parts.layout.dimensions == 2
  assert parts.source.test_split == "xsub_test"
  assert parts.source.num_classes == len(ntu60.ACTIONS)
  summary = train.run(parts, tmp_path / "run")
  assert summary["num_clips"] == len(
    get_parts(names, ntu60.get_cell)["xsub_val"]
  )
  assert evaluate.run(parts, tmp_path / "run")["top1"] == summary["top1"]


@pytest.fixture
def flat_set(tmp_path):
  """A set of 2 persons from clips of 3, the first of them never seen."""
  clips = {str(i): (i % 2, make_flat(i, persons=3)) for i in range(4)}
  for _, content in clips.values():
    content["keypoint"][0] = 0
    content["keypoint"][2, 3:] = 0
  clips["4"] = 0, make_flat(4, persons=4)
  write(
    tmp_path / "own.pkl", clips, {"train": ["0", "1", "4"], "test": ["2", "3"]}
  )
  return run(tmp_path / "own.pkl"), clips


def make_skeleton(content):
  """Returns [T, M, V, 3] in pixels, as a detector writes it."""
  parts = content["keypoint"], content["keypoint_score"][..., None]
  joined = np.concatenate(parts, axis=-1).astype(np.float32)
  return joined.transpose(1, 0, 2, 3)


def test_predictions_prepare_clips_as_the_set(flat_set):
  """The same persons in the same slots, and the same unit."""
  out, clips = flat_set
  found = conversion.read(out)
  parts = types.SimpleNamespace(
    layout=skeletons.get("coco17"),
    source=types.SimpleNamespace(num_persons=2),
    record={"data": {"transform": "whole"}},
  )
  _, metadata = input_pipeline.read_info(out)
  model = types.SimpleNamespace(parts=parts, prepared=metadata)
  for name, (_, content) in clips.items():
    expected = found[name]["skeleton"]
    assert expected[:, 0].any() and expected[:, 1].any()
    pixels = make_skeleton(content)
    clip = predict.prepare(pixels, model, content["img_shape"])
    np.testing.assert_array_equal(clip, expected)
    scaled = pixels / np.array([540, 540, 1], np.float32)
    np.testing.assert_array_equal(predict.prepare(scaled, model), expected)
    with pytest.raises(errors.DataError, match="add img_shape"):
      predict.prepare(pixels, model)
  with pytest.raises(errors.DataError, match="img_shape is 9, not"):
    predict.prepare(pixels, model, 9)


def test_one_class_cannot_be_trained(tmp_path, capsys):
  clips = {name: (0, make_flat(i)) for i, name in enumerate("ab")}
  write(tmp_path / "one.pkl", clips, {"train": ["a"], "test": ["b"]})
  run(tmp_path / "one.pkl", "--layout", "coco17")
  out = capsys.readouterr().out
  assert "problem all clips are of one class, 'class 0'" in out
  assert "next" not in out


def test_your_own_clips_like_those_of_a_pickle(flat_set, tmp_path):
  out, clips = flat_set
  raw = tmp_path / "clips"
  raw.mkdir()

  def convert(**more):
    for name, (label, content) in clips.items():
      path, skeleton = raw / f"{name}.npz", make_skeleton(content)
      np.savez(path, skeleton=skeleton, label=label, **more)
    args = ["--raw", raw, "--like", out, "--out", tmp_path / "like"]
    custom.main([str(arg) for arg in args])

  with pytest.raises(
    errors.DataError, match=r"0\.npz: x or y reach .* add img"
  ):
    convert()
  convert(img_shape=(1080, 1920))
  expected, found = conversion.read(out), conversion.read(tmp_path / "like")
  assert found.keys() == expected.keys()
  for name in expected:
    np.testing.assert_array_equal(
      found[name]["skeleton"], expected[name]["skeleton"]
    )
  infos = [
    input_pipeline.read_info(path)[1] for path in (out, tmp_path / "like")
  ]
  assert infos[0][like.METADATA] == infos[1][like.METADATA]


def test_ntu_in_3d_is_no_set_of_your_own(tmp_path):
  """Its clips are prepared in another way, which --like cannot repeat."""
  name = "S001C002P001R001A001"
  joints = make_joints(0)[None]
  write(
    tmp_path / "ntu.pkl",
    {name: (0, joints)},
    {"xsub_train": [name], "xsub_val": []},
  )
  out = run(tmp_path / "ntu.pkl")
  with pytest.raises(errors.DataError, match="stores no options of data_prep"):
    like.read(out)


def test_other_sets(tmp_path, capsys):
  """Plain splits, names of classes, a layout by --layout, many persons."""
  file = tmp_path / "own.pkl"
  rng = np.random.default_rng(0)
  clips = {
    f"v/{i}": (i % 3, rng.normal(size=(1 + 3 * (i == 4), 5, 20, 3)))
    for i in range(8)
  }
  parts = {"train": ["v/0", "v/1", "v/2", "v/9"], "val": ["v/4", "v/5"]}
  write(file, clips, parts)
  names = tmp_path / "names.txt"
  names.write_text("wave\njump\nsit\nrun\n")
  with pytest.raises(errors.DataError, match="pass --layout"):
    run(file)
  out = run(file, "--layout", "ucla", "--names", names)
  text = capsys.readouterr().out
  assert "ctrgcn_custom:preset=small --config.data.dir" in text
  assert "3 annotations are in no split" in text
  assert "1 clips of the splits have no annotation" in text
  assert "1 clip: more than persons, the ones that move most" in text
  train_clips = input_pipeline.load(out, "train")
  assert train_clips.class_names == ("wave", "jump", "sit", "run")
  assert train_clips.skeletons[0].shape[1:] == (2, 20, 3)
  assert input_pipeline.describe(out)["skeleton"] == "ucla"
  write(file, clips, {"train1": ["v/0"], "test1": ["v/1"]})
  with pytest.raises(errors.DataError, match="--splits train1 test1"):
    run(file, "--layout", "ucla", "--overwrite")
  run(file, "--layout=ucla", "--overwrite", "--splits", "train1", "test1")
  assert len(input_pipeline.load(out, "test")) == 1


class Evil:
  def __reduce__(self):
    return os.mkdir, ("evil",)


HOSTILE = {
  "function": (Evil(), f"holds {os.mkdir.__module__}.mkdir, which is no array"),
  "objects": (np.array([1, None], object), "holds values of type object"),
  "records": (np.zeros(2, "f4,i4"), "holds values of type"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_but_arrays_is_unpickled(name, protocol, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  value, message = HOSTILE[name]
  file = tmp_path / "a.pkl"
  file.write_bytes(pickle.dumps({"split": {}, "annotations": value}, protocol))
  with pytest.raises(errors.DataError, match=message):
    run(file)
  assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_is_unpickled(protocol, tmp_path):
  array = np.arange(24).reshape(2, 3, 4)
  file = tmp_path / "a.pkl"
  for dtype in (np.float16, ">f4", np.int64, bool):
    for value in (array, array.T, array[:, ::2], array.ravel()[3], array[:0]):
      value = value.astype(dtype)
      file.write_bytes(pickle.dumps([value, {"a": (1, "x")}], protocol))
      found, rest = pickles.load(file)
      np.testing.assert_array_equal(found, value)
      assert found.dtype.name == value.dtype.name  # In either byte order.
      assert rest == {"a": (1, "x")}


def test_damaged_pickles_are_named(tmp_path):
  file = tmp_path / "a.pkl"
  data = pickle.dumps(np.zeros(4), 2)
  # NumPy writes the shape (4,) as K\x04\x85; this claims terabytes.
  huge = data.replace(b"K\x04\x85", b"\x8a\x06\xff\xff\xff\xff\xff\x0f\x85")
  assert huge != data
  for text in (b"", b"abc", data[:-9], data[:20], huge):
    file.write_bytes(text)
    with pytest.raises(errors.DataError, match=r"a\.pkl .*damaged"):
      pickles.load(file)
  with pytest.raises(errors.DataError, match="is no file"):
    pickles.load(tmp_path)


def test_files_of_another_form_are_refused(tmp_path):
  file = tmp_path / "a.pkl"
  body = make_joints(0)[None]
  parts = {"train": ["a"], "test": ["b"]}
  for content, message in {
    "list": ([], "no dict with the keys split and annotations"),
    "splits": ({"split": [], "annotations": []}, "split is no dict"),
    "names": (
      {"split": {"train": [1]}, "annotations": []},
      "split train is no list of clip names",
    ),
    "empty": ({"split": parts, "annotations": []}, "no annotation of a clip"),
    "key": (
      {"split": parts, "annotations": [{"frame_dir": "a", "label": 0}]},
      "annotation 0: keypoint missing",
    ),
  }.values():
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(errors.DataError, match=message):
      run(file)
  for clips, members, message in (
    ({"a": (-1, body)}, parts, "label is -1"),
    ({"a": (0.5, body)}, parts, "label is 0.5"),
    ({"a\n": (0, body)}, parts, "frame_dir is 'a.n'"),
    ({"a": (0, body)}, {"train": ["a"], "val": ["a"]}, "clip a is in both"),
    ({"a": (0, body)}, {}, "name two of them"),
  ):
    write(file, clips, members)
    with pytest.raises(errors.DataError, match=message):
      run(file)
  assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]


def test_broken_clips_are_listed_or_left_out(tmp_path, capsys):
  file = tmp_path / "a.pkl"
  body = make_joints(0)[None]
  nan = body.copy()
  nan[0, 4, 3, 1] = np.nan
  clips = {
    "good": (0, body),
    "nan": (0, nan),
    "empty": (0, body * 0),
    "flat": (0, body[0]),
    "long": (0, {"keypoint": body, "total_frames": 99}),
    "text": (0, np.full((1, 2, 25, 3), "x")),
  }
  write(file, clips, {"train": list(clips), "test": []})
  with pytest.raises(errors.DataError) as caught:
    run(file)
  lines = [line.strip() for line in str(caught.value).splitlines()]
  assert lines[0] == "5 clips are broken, nothing was written:"
  assert "nan: frame 4 has a number that is not finite" in lines
  assert "empty: all joints of all frames are zero" in lines
  assert "long: total_frames is 99, but keypoint has 12" in lines
  assert sum("persons, frames, 25 joints" in line for line in lines) == 2
  assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]
  out = run(file, "--skip_broken")
  assert "left out: 5 broken clips" in capsys.readouterr().out
  assert list(conversion.read(out)) == ["good"]


def test_2d_clips_of_different_units_are_refused(tmp_path):
  file = tmp_path / "a.pkl"
  other = make_flat(1)
  del other["img_shape"]
  write(
    file,
    {"a": (0, make_flat(0)), "b": (0, other)},
    {"train": ["a"], "test": ["b"]},
  )
  with pytest.raises(errors.DataError, match="1 of 2 clips have no img_shape"):
    run(file)
  for key, value, message in (
    ("img_shape", (0, 5), "img_shape is"),
    ("keypoint_score", np.ones((1, 9, 16)), "keypoint_score is float64"),
    ("keypoint_score", -np.ones((1, 9, 17)), "a score is negative"),
  ):
    content = {**make_flat(0), key: value}
    with pytest.raises(errors.DataError, match=message):
      annotations.read_joints(content, skeletons.get("coco17"), True)


def test_configs_of_custom_splits():
  config = ctrgcn_custom.get_config("split=xview")
  assert config.data.train_split == "xview_train"
  config = ctrgcn_custom.get_config()
  assert (config.data.train_split, config.data.test_split) == ("train", "test")
  assert ctrgcn_ntu60.get_config().data.test_split == "xsub_test"
