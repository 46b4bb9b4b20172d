# SPDX-License-Identifier: Apache-2.0
"""Your own data: format, refusals, and a run on them."""

import functools
import json
import pathlib

import numpy as np
import pytest

from configs import agcn_custom, ctrgcn_custom, infogcn_custom
from data_prep import check, custom, problems
from data_prep.clips import like, reader
from sgcl_jax import (
  augment,
  errors,
  evaluate,
  experiment,
  input_pipeline,
  modalities,
  skeletons,
  state,
  train,
)
from tests.conftest import TINY

ARM = {
  "name": "arm",
  "joints": ["shoulder", "elbow", "wrist", "hand"],
  "bones": [["elbow", "shoulder"], ["wrist", "elbow"], ["hand", "wrist"]],
  "center": "shoulder",
  "dimensions": 3,
}


def make_clip(seed, num_frames=9, persons=1, channels=3):
  rng = np.random.default_rng(seed)
  shape = num_frames, persons, 4, channels
  return rng.normal(1.0, size=shape).astype(np.float32)


def write_clip(path, clip, label="wave", split="train"):
  if path.suffix == ".npz":
    np.savez(path, skeleton=clip, label=label, split=split)
  else:
    content = {"skeleton": clip.tolist(), "label": label, "split": split}
    path.write_text(json.dumps(content))


@pytest.fixture
def layout(tmp_path):
  def write(**changes):
    path = tmp_path / "arm.json"
    content = {**ARM, **changes}
    content = {key: x for key, x in content.items() if x is not ...}
    path.write_text(json.dumps(content))
    return path

  return write


@pytest.fixture
def raw(tmp_path):
  """Writes 40 clips of two classes as nested npz and JSON files."""
  raw = tmp_path / "raw"
  (raw / "more").mkdir(parents=True)
  for i in range(40):
    folder = raw / "more" if i % 3 else raw
    path = folder / f"clip_{i:02}.{'npz' if i % 2 else 'json'}"
    label = ("wave", "point at")[i % 4 // 2]
    write_clip(path, make_clip(i), label, "test" if i % 5 == 0 else "train")
  return raw


def convert(raw, layout, out, *args):
  args = ["--raw", raw, "--layout", layout, "--out", out, *args]
  custom.main([str(arg) for arg in args])


def read(path, layout, **options):
  return reader.read_clip(
    path, reader.Options(skeletons.read(layout), **options)
  )


def test_converts(raw, layout, tmp_path, capsys):
  import tensorflow_datasets as tfds

  write_clip(raw / "two.npz", make_clip(99, persons=2))
  convert(raw, layout(), tmp_path / "out")
  next_line = capsys.readouterr().out.splitlines()[-1]
  assert "--config ctrgcn_custom:preset=small --config.data.dir=" in next_line
  assert "--config.contrast.cold_start=partial" in next_line  # Two classes.
  builder = tfds.builder_from_directory(tmp_path / "out")
  assert builder.info.features["label"].names == ["point at", "wave"]
  assert builder.info.splits["train"].num_examples == 33
  found = skeletons.get(builder.info.metadata["layout"])
  assert found == skeletons.read(layout())
  clips = {
    clip["name"].decode(): clip
    for split in ("train", "test")
    for clip in tfds.as_numpy(builder.as_dataset(split=split))
  }
  for name, seed, persons in (("clip_07", 7, 1), ("two", 99, 2)):
    clip = make_clip(seed, persons=persons)
    clip = clip - clip[0, 0, 0]
    skeleton = clips[name]["skeleton"]
    np.testing.assert_allclose(skeleton[:, :persons], clip, atol=1e-6)
    assert not skeleton[:, persons:].any() and skeleton.shape[1] == 2
  assert clips["clip_07"]["label"] == 0


def test_2d_joints_get_a_score_and_keep_it(raw, layout, tmp_path):
  path = tmp_path / "flat.npz"
  clip = make_clip(0, channels=2)
  clip[3, 0, 2] = 0
  write_clip(path, clip[:, 0])
  skeleton, label, split = read(path, layout(dimensions=2))[1:4]
  assert (label, split) == ("wave", "train")
  present = clip.any(-1)
  np.testing.assert_array_equal(skeleton[..., 2], present)
  assert not skeleton[3, 0, 2].any()
  expected = clip - clip[0, 0, 0]
  np.testing.assert_array_equal(skeleton[..., :2][present], expected[present])
  scored = np.concatenate([clip, abs(make_clip(1, channels=1))], axis=-1)
  write_clip(path, scored)
  skeleton = read(path, layout(dimensions=2)).skeleton
  # A detector's score of a joint that it did not find says nothing.
  np.testing.assert_array_equal(skeleton[..., 2], scored[..., 2] * present)
  assert not skeleton[3, 0, 2].any()


def test_scores_survive_training_transforms(layout):
  import jax

  flat = skeletons.read(layout(dimensions=2))
  make = functools.partial(augment.make_transform, window=9, layout=flat)
  clip = np.abs(make_clip(0))[None]
  clip[..., 2] = 0.25
  for modality in modalities.NAMES:
    transform = make("whole", modality=modality, max_angle=0.5)
    keys = jax.random.split(jax.random.key(0), 1)
    out = np.asarray(transform(clip, np.array([9]), keys))[0, 0]  # [T, V, C]
    scores = out[:-1, :, 2] if "motion" in modality else out[..., 2]
    np.testing.assert_allclose(scores, 0.25, rtol=1e-6)
  with pytest.raises(
    errors.ConfigError, match="2D joints need transform=whole"
  ):
    make("ucla", modality="joint", max_angle=60.0)


BROKEN = {
  "joints": (make_clip(0)[:, :, :3], "3 joints, but the layout arm has 4"),
  "channels": (make_clip(0)[..., :2], "2 channels, not 3"),
  "shape": (make_clip(0)[0, 0], r"shape \(4, 3\)"),
  "empty": (make_clip(0)[:0], "without frames"),
  "nan": (np.full((2, 1, 4, 3), np.nan), "nobody is seen"),
  "absent": (np.zeros((2, 1, 4, 3)), "nobody is seen"),
  "words": (np.array([["a"]]), "no array of numbers"),
}


@pytest.mark.parametrize("label", ["", "kick ", "wave\nleft", 3, ["a"]])
@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_label_that_is_no_name_is_refused(label, suffix, layout, tmp_path):
  write_clip(tmp_path / f"bad{suffix}", make_clip(0), label)
  with pytest.raises(errors.DataError, match="not the name of a class"):
    read(tmp_path / f"bad{suffix}", layout())


def test_3d_joints_are_no_2d_joints_with_scores(layout, tmp_path):
  write_clip(tmp_path / "bad.npz", -np.abs(make_clip(0)))
  with pytest.raises(errors.DataError, match="a score is negative"):
    read(tmp_path / "bad.npz", layout(dimensions=2))


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_clip_is_refused(kind, raw, layout, tmp_path):
  clip, message = BROKEN[kind]
  write_clip(raw / "bad.npz", clip)
  with pytest.raises(errors.DataError, match=message) as error:
    convert(raw, layout(), tmp_path / "out")
  assert "bad.npz: " in str(error.value)
  assert "To convert the others, add --skip_broken" in str(error.value)
  assert not (tmp_path / "out").exists()


def test_broken_files_are_listed(raw, layout, tmp_path):
  (raw / "a.npz").write_bytes(b"PK\x03\x04 no archive")
  (raw / "b.json").write_text("{")
  (raw / "c.json").write_text('{"skeleton": [], "label": "x"}')
  write_clip(raw / "d.npz", make_clip(0), split="valid")
  write_clip(raw / "more" / "clip_00.npz", make_clip(0))
  with pytest.raises(errors.DataError) as error:
    convert(raw, layout(), tmp_path / "out")
  message = str(error.value)
  for part in (
    "5 files are broken",
    "a.npz: cannot be read",
    "b.json: cannot be read",
    "c.json: split is missing",
    "d.npz: split is 'valid', not one of train, val, test",
    f"more/clip_00.npz: another file of the name clip_00, after {raw}/clip_00",
  ):
    assert part in message


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_coordinates_named_joints_are_no_layout(suffix, raw, layout, tmp_path):
  """With and without a label; a layout, which names its joints, is one."""
  content = {"joints": make_clip(0)[:, 0], "label": "wave"}
  for name, keys in (("a", ("joints", "label")), ("b", ("joints",))):
    chosen = {key: content[key] for key in keys}
    if suffix == ".npz":
      np.savez(raw / f"{name}.npz", **chosen)
    else:
      chosen["joints"] = chosen["joints"].tolist()
      (raw / f"{name}.json").write_text(json.dumps(chosen))
  layout().rename(raw / "arm.json")
  with pytest.raises(errors.DataError, match="2 files are broken") as error:
    convert(raw, raw / "arm.json", tmp_path / "out")
  message = str(error.value)
  found = "skeleton, split are missing (found: joints, label)"
  assert f"a{suffix}: {found}" in message
  found = "skeleton, label, split are missing (found: joints)"
  assert f"b{suffix}: {found}" in message


def test_many_broken_files(raw, layout, tmp_path, capsys):
  """Twenty are shown; --skip_broken converts the others and lists all."""
  for i in range(25):
    (raw / f"bad_{i:02}.json").write_text("{")
  with pytest.raises(errors.DataError) as error:
    convert(raw, layout(), tmp_path / "out")
  lines = str(error.value).splitlines()
  assert "25 files are broken, nothing was written" in lines[0]
  assert len(lines) == 23 and lines[-2] == "  and 5 more"
  assert "add --skip_broken: it lists all" in lines[-1]
  assert not (tmp_path / "out").exists()
  convert(raw, layout(), tmp_path / "out", "--skip_broken")
  assert "notice  left out: 25 broken files" in capsys.readouterr().out
  report = json.loads((tmp_path / "out" / "report.json").read_text())
  assert report["clips"] == 40 and len(report["broken"]) == 25
  assert "bad_24.json: cannot be read" in report["broken"][-1]


def test_what_is_no_clip_is_passed_over(raw, layout, tmp_path, capsys):
  """A layout inside --raw, other suffixes; linked folders are followed."""
  path = layout()
  path.rename(raw / "arm.json")
  (raw / "notes.txt").touch()
  (tmp_path / "elsewhere").mkdir()
  write_clip(tmp_path / "elsewhere" / "far.npz", make_clip(0))
  (raw / "elsewhere").symlink_to(tmp_path / "elsewhere")
  write_clip(raw / "upper.npz", make_clip(0))
  (raw / "upper.npz").rename(raw / "upper.NPZ")
  convert(raw, raw / "arm.json", tmp_path / "out")
  out = capsys.readouterr().out
  assert "clips   42 of 2 classes" in out
  assert "left    2 other files (1 .txt, 1 layout)" in out


def test_one_class_cannot_be_trained(raw, layout, tmp_path, capsys):
  """No command is printed that would be refused; `check` names a problem."""
  for path in raw.rglob("clip_*"):
    _, clip, label, split, _ = read(path, layout())
    if label == "wave":
      path.unlink()
  convert(raw, layout(), tmp_path / "out")
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1].startswith("problem all clips are of one class, 'point at'")
  assert not any(line.startswith("next") for line in lines)
  found = check.check(tmp_path / "out")["problems"]
  assert "one class: training needs two or more: 1 (point at)" in found


def test_a_clip_without_its_center(raw, layout, tmp_path, capsys):
  clip = make_clip(0, persons=2)
  clip[:, 0, 0] = np.nan
  clip[0] = clip[1, 1] = np.nan
  write_clip(raw / "odd.npz", clip)
  found = read(raw / "odd.npz", layout())
  origin = clip[1, 0, 1:].mean(axis=0)
  expected = np.nan_to_num(clip - origin)
  np.testing.assert_allclose(found.skeleton, expected, atol=1e-6)
  convert(raw, layout(), tmp_path / "out")
  out = capsys.readouterr().out
  assert "notice  1 clip: the first person has no shoulder, the center" in out
  report = json.loads((tmp_path / "out" / "report.json").read_text())
  assert [*report["unusual"]] == ["odd"]


def test_poses_relative_to_a_root(layout, tmp_path):
  """The root at 0 is a position; a clip converted twice stays equal."""
  clip = make_clip(0)
  clip -= clip[:, :, 2:3]  # Relative to the wrist.
  write_clip(tmp_path / "a.npz", clip)
  first = read(tmp_path / "a.npz", layout())
  expected = clip - clip[0, 0, 0]
  np.testing.assert_allclose(first.skeleton, expected, atol=1e-6)
  (note,) = problems.count_notes([first.notes])  # As held data print it.
  assert note.startswith("'wrist' at exactly zero in all frames")
  write_clip(tmp_path / "b.npz", first.skeleton)
  second = read(tmp_path / "b.npz", layout())
  np.testing.assert_array_equal(second.skeleton, first.skeleton)


@pytest.mark.parametrize("how", ["keep", "drop", "interpolate"])
@pytest.mark.parametrize("empty", [slice(0, 60), slice(1, 100, 2)])
def test_empty_frames_do_not_hide_others(empty, how, layout, tmp_path, capsys):
  """The last frames reach the network, whatever is empty before."""
  clip = make_clip(0, num_frames=100)
  clip[..., 2] = np.arange(100)[:, None, None] + 1
  clip[empty] = 0
  raw, out = tmp_path / "raw", tmp_path / "out"
  raw.mkdir()
  for split in ("train", "test"):
    write_clip(raw / f"{split}.npz", clip, label=split, split=split)
  convert(raw, layout(), out, f"--empty_frames={how}")
  assert "2 clips: nobody is seen in some" in capsys.readouterr().out
  config = ctrgcn_custom.get_config("gcl=false")
  config.data.dir = str(out)
  parts = experiment.make(config)
  clips = parts.source.load_test()
  batch = clips.batch(np.array([0]), clips.num_frames[0])
  x = parts.transform(batch["skeleton"], batch["num_frames"], None)
  wrist = np.asarray(x)[0, 0, :, 2, 2]
  first = 60 if empty.start == 0 else 0  # Its center is the origin.
  # Of every second frame at 0, interpolation keeps half or more.
  share = 0.5 if how == "keep" and not first else 1
  assert wrist.max() > share * (95 - first)


def test_numbers_as_labels(raw, layout, tmp_path, capsys):
  import tensorflow_datasets as tfds

  for path in raw.rglob("clip_*"):
    clip = read(path, layout())
    number = {"wave": 2, "point at": 0}[clip.label]
    write_clip(path, clip.skeleton, number, clip.split)
  with pytest.raises(errors.DataError, match="label is 0.*with --names FILE"):
    convert(raw, layout(), tmp_path / "out")
  names = tmp_path / "names.txt"
  names.write_text("point at\nsit\nwave\n")
  convert(raw, layout(), tmp_path / "out", "--names", names)
  out = capsys.readouterr().out
  assert "notice  no training clip of 'sit'" in out
  assert "notice  no test clip of 'sit'" in out
  info = tfds.builder_from_directory(tmp_path / "out").info
  assert info.features["label"].names == ["point at", "sit", "wave"]


def test_classes_in_natural_order_and_a_val_split(raw, layout, tmp_path):
  import tensorflow_datasets as tfds

  for i, path in enumerate(sorted(raw.rglob("clip_*"))):
    clip = read(path, layout())
    split = "val" if i % 4 == 1 else clip.split
    write_clip(path, clip.skeleton, ("0", "1", "10", "2")[i % 4], split)
  convert(raw, layout(), tmp_path / "out")
  info = tfds.builder_from_directory(tmp_path / "out").info
  assert info.features["label"].names == ["0", "1", "2", "10"]
  assert info.splits["val"].num_examples == 10


def test_persons_and_gaps(raw, layout, tmp_path):
  clip = make_clip(0, num_frames=30, persons=12)
  clip[:, 7] *= 100
  clip[9, 7, 3] = np.nan
  write_clip(tmp_path / "many.npz", clip)
  with pytest.raises(errors.DataError, match="--max_persons"):
    read(tmp_path / "many.npz", layout())
  found = read(tmp_path / "many.npz", layout(), max_persons=1, fill_gaps=1)
  expected = clip[:, 7:8].copy()
  expected[9, 0, 3] = (expected[8, 0, 3] + expected[10, 0, 3]) / 2
  expected -= expected[0, 0, 0]
  np.testing.assert_allclose(found.skeleton, expected, rtol=1e-4, atol=1e-4)
  assert "that move least are left out" in found.notes[0]
  for option, message in (
    ("--max_persons=0", "0 is below 1"),
    ("--fill_gaps=-1", "-1 is below 0"),
    ("--fill_gaps=x", "'x' is no whole number"),
  ):
    with pytest.raises(errors.ConfigError, match=message):
      convert(raw, layout(), tmp_path / "out", option)


def test_frames_without_a_joint_of_the_layout(layout, tmp_path):
  """Joints are filled, then computed, then frames without any are dropped."""
  path = layout(
    computed={"upper arm": ["shoulder", "elbow"]},
    keep=["upper arm", "wrist"],
    bones=[["wrist", "upper arm"]],
    center="upper arm",
  )
  clip = make_clip(0)
  clip[2, 0, 0] = np.nan  # Filled.
  clip[4:7, 0, :3] = np.nan  # The hand is seen, which is not kept.
  write_clip(tmp_path / "a.npz", clip)
  options = {"fill_gaps": 1, "empty_frames": "drop"}
  found = read(tmp_path / "a.npz", path, **options)
  clip[2, 0, 0] = (clip[1, 0, 0] + clip[3, 0, 0]) / 2
  upper = (clip[:, :, 0] + clip[:, :, 1]) / 2
  expected = np.stack([upper, clip[:, :, 2]], axis=2)[[0, 1, 2, 3, 7, 8]]
  expected -= expected[0, 0, 0]
  np.testing.assert_allclose(found.skeleton, expected, atol=1e-6)
  clip[:, 0, 1:3] = np.nan
  write_clip(tmp_path / "a.npz", clip)
  with pytest.raises(errors.DataError, match="no joint that the layout keeps"):
    read(tmp_path / "a.npz", path, **options)


def test_segments_of_recordings(raw, layout, tmp_path, capsys):
  clip = make_clip(0, num_frames=30)
  table = tmp_path / "table.csv"
  lines = ["clip_01.json,3,4,wave,train", "clip_02.json,0,8,wave,test"]
  lines += ["long.json,5,9,turn,train", "long.json,20,29,wave,test"]
  table.write_text("\n".join(["file,first,last,label,split", *lines]))
  with pytest.raises(errors.DataError) as error:
    convert(raw, layout(), tmp_path / "out", "--segments", table)
  assert "long: no such file, but 2 segments of it" in str(error.value)
  (raw / "long.json").write_text(json.dumps({"skeleton": clip.tolist()}))
  convert(raw, layout(), tmp_path / "out", "--segments", table)
  out = capsys.readouterr().out
  assert "clips   4 of 2 classes" in out
  assert "left    38 other files (38 without a segment)" in out
  clips = input_pipeline.load(tmp_path / "out", "test")
  assert [*clips.names] == ["clip_02_000000_000008", "long_000020_000029"]
  expected = clip[20:] - clip[20, 0, 0]
  np.testing.assert_allclose(clips.skeletons[1], expected, atol=1e-6)
  table.write_text(table.read_text().replace("20,29", "20,30"))
  with pytest.raises(errors.DataError) as error:
    convert(raw, layout(), tmp_path / "out", "--segments", table, "--overwrite")
  message = "segment long_000020_000030: last is 30, but long has 30 frames"
  assert message in str(error.value)


def test_recordings_like_those_of_another_set(raw, layout, tmp_path, capsys):
  """Classes, persons, layout and options of the set; test clips alone."""
  write_clip(raw / "two.npz", make_clip(99, persons=2))
  convert(raw, layout(), tmp_path / "set", "--fill_gaps=2")
  new = tmp_path / "new"
  new.mkdir()
  clip = make_clip(5)
  clip[4, 0, 1] = np.nan
  np.savez(new / "a.npz", skeleton=clip, label="wave")
  capsys.readouterr()

  def convert_like(out, *args):
    args = ["--raw", new, "--like", tmp_path / "set", "--out", out, *args]
    custom.main([str(arg) for arg in args])

  convert_like(tmp_path / "out")
  out = capsys.readouterr().out
  assert "--mode=evaluate --workdir RUN --config.data.dir=" in out
  assert "next" not in out  # Which run is not known.
  clips = input_pipeline.load(tmp_path / "out", "test")
  train_clips = input_pipeline.load(tmp_path / "set", "train")
  assert clips.class_names == train_clips.class_names == ("point at", "wave")
  assert clips.metadata == train_clips.metadata
  (found,) = clips.skeletons
  assert found.shape == (9, 2, 4, 3) and [*clips.labels] == [1]
  assert found[4, 0, 1].all()  # The gap is filled as there.
  write_clip(new / "b.npz", make_clip(0, persons=3))
  write_clip(new / "c.npz", make_clip(0), label="jump")
  np.savez(new / "d.npz", skeleton=clip)
  with pytest.raises(errors.DataError) as error:
    convert_like(tmp_path / "out", "--overwrite")
  for message in (
    "b: 3 persons, but --like has 2; add --max_persons 2",
    "c.npz: label is 'jump', which is no known class",
    "d.npz: label is missing",
  ):
    assert message in str(error.value)
  (new / "c.npz").unlink()
  (new / "d.npz").unlink()
  convert_like(tmp_path / "out", "--overwrite", "--max_persons=2")
  with pytest.raises(errors.ConfigError, match="leave out --names"):
    convert_like(tmp_path / "out", "--names=x")
  with pytest.raises(errors.DataError, match="no data set"):
    custom.main(["--raw", str(new), "--like", str(new)])
  with pytest.raises(errors.ConfigError, match="--layout --like is required"):
    custom.main(["--raw", str(new)])


def test_recordings_without_labels_are_for_predict(raw, layout, tmp_path):
  convert(raw, layout(), tmp_path / "set")
  new, out = tmp_path / "my new", tmp_path / "out"
  new.mkdir()
  np.savez(new / "a.npz", skeleton=make_clip(0))
  (new / "b.json").write_text(json.dumps({"skeleton": make_clip(1).tolist()}))
  args = ["--raw", new, "--like", tmp_path / "set", "--out", out]
  args = [str(arg) for arg in args]
  with pytest.raises(
    errors.DataError, match="has a label: there is nothing"
  ) as error:
    custom.main(args)
  message = str(error.value)
  assert "\n" not in message and not out.exists()
  assert f"sgcl_jax.predict --checkpoint RUN '{new}'" in message
  write_clip(new / "c.npz", make_clip(2))  # It alone can be evaluated.
  with pytest.raises(errors.DataError, match="2 files are broken"):
    custom.main(args)
  custom.main([*args, "--skip_broken"])
  assert input_pipeline.load(out, "train").names == ["c"]


@pytest.mark.parametrize("stored", [{"cut": 3}, ["keep"], 3])
def test_options_of_another_version_are_named(stored):
  """Of a data set (--like), and of a checkpoint (predict)."""
  with pytest.raises(errors.DataError, match="another version.*has drop_unsee"):
    like.make_options(skeletons.NTU, {like.METADATA: stored}, "the model")
  assert like.make_options(skeletons.NTU, {}, "").empty_frames == "keep"
  with pytest.raises(errors.ConfigError, match="a name or a text, not 3"):
    skeletons.get(3)


def test_what_looks_like_another_mistake_is_noticed(layout, tmp_path, capsys):
  """Scores in 3D; joints that are 0; one line for all of them."""
  raw = tmp_path / "raw"
  raw.mkdir()
  for i in range(3):
    clip = 100 * make_clip(i)
    clip[..., 2] = 0.5
    clip[:, 0, 1] = clip[:, 0, 2] = clip[0, 0, 3] = 0
    write_clip(raw / f"{i}.npz", clip, split="test" if i else "train")
  convert(raw, layout(), tmp_path / "out")
  lines = capsys.readouterr().out.splitlines()
  notices = [line[8:] for line in lines if line.startswith("notice")]
  zero, position = "at exactly zero in", "taken for a position (absent is NaN)"
  assert notices == [
    f"3 clips: {reader.SCORES}",
    f"3 clips: 'elbow', 'wrist' {zero} all frames, {position}",
    f"3 clips: 'hand' {zero} some frames, {position}",
  ]


@pytest.mark.parametrize("module", [ctrgcn_custom, agcn_custom, infogcn_custom])
def test_the_configs_take_the_layout_of_the_data(
  module, raw, layout, tmp_path, capsys
):
  convert(raw, layout(), tmp_path / "out")
  config = module.get_config()
  config.data.dir = str(tmp_path / "out")
  parts = experiment.make(config)
  assert (parts.source.num_classes, parts.source.num_persons) == (2, 1)
  assert parts.layout.name == "arm"
  shapes = state.variable_shapes(parts.model, parts.clip)["params"]["head"]
  assert shapes["kernel"].shape[1] == 2
  assert len(parts.source.load_train()) == 32


def test_a_run_and_its_evaluation(raw, layout, tmp_path):
  for i in range(40, 44):
    write_clip(raw / f"clip_{i}.npz", make_clip(i), split="val")
  convert(raw, layout(), tmp_path / "out")

  def config(test_split="test"):
    config = ctrgcn_custom.get_config()
    fields = {**TINY, "data.dir": str(tmp_path / "out"), "optim.num_epochs": 1}
    fields |= {"contrast.num_hard_negatives": 4, "data.test_split": test_split}
    fields |= {"contrast.num_random_negatives": 4}
    config.update_from_flattened_dict(fields)
    return experiment.make(config)

  summary = train.run(config(), tmp_path / "run")
  assert summary["num_clips"] == 8
  assert evaluate.run(config(), tmp_path / "run") == summary
  validated = evaluate.run(config("val"), tmp_path / "run")
  assert validated["num_clips"] == 4
  assert validated["scores"].startswith("evaluations/out_val_joint_")
  text = json.loads((tmp_path / "run" / "config.json").read_text())["skeleton"]
  assert skeletons.get(text).joints == tuple(ARM["joints"])
  for path in raw.rglob("clip_*"):  # The same clips under other names.
    _, clip, label, split, _ = read(path, layout())
    write_clip(path, clip, {"wave": "a", "point at": "b"}[label], split)
  convert(raw, layout(), tmp_path / "out", "--overwrite")
  with pytest.raises(errors.WorkdirError, match="point at, wave, not a, b"):
    evaluate.run(config(), tmp_path / "run")


def test_missing_data_name_the_command():
  config = ctrgcn_custom.get_config()
  config.data.dir = "/absent"
  with pytest.raises(errors.DataError, match="data_prep.custom --raw DIR"):
    experiment.make(config)


def test_the_guide_shows_layouts_that_parse():
  guide = pathlib.Path(__file__).parents[2] / "docs" / "CUSTOM_DATA.md"
  blocks = guide.read_text().split("```json\n")[1:]
  arm, body = (
    skeletons.parse(block.split("```")[0], "guide") for block in blocks
  )
  assert arm.dimensions == body.dimensions == 2
  assert (body.num_joints, body.num_recorded) == (15, 17)
