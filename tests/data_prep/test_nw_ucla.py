# SPDX-License-Identifier: Apache-2.0
"""Tests of the NW-UCLA converter."""

import collections
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from data_prep import nw_ucla, ucla_files
from sgcl_jax import errors

REPO = pathlib.Path(__file__).resolve().parents[2]
ARCHIVE = REPO.parent / "shared" / "data" / "nw_ucla" / nw_ucla.ARCHIVE

NAMES = (
  "a01_s01_e00_v01",
  "a01_s01_e00_v03",
  "a08_s02_e01_v02",
  "a12_s10_e04_v03",
)
BAD = "a02_s01_e00_v01"


def make_content(name, num_frames=3):
  rng = np.random.default_rng(sum(name.encode()))
  skeletons = rng.normal(size=(num_frames, 20, 3)).round(6).tolist()
  return {"file_name": name, "skeletons": skeletons}


def make_files(**more):
  """Returns file name -> text of a small sound set, and `more`."""
  files = {
    name: json.dumps(make_content(name, num_frames))
    for num_frames, name in enumerate(NAMES, 1)
  }
  return {f"{name}.json": text for name, text in (files | more).items()}


def write_tree(root, files):
  root.mkdir(parents=True, exist_ok=True)
  for name, text in files.items():
    (root / name).write_text(text)


def write_archive(path, files):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".zip":
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
      for name, text in files.items():
        archive.writestr(f"all_sqe/{name}", text)
    return
  with tarfile.open(path, "w:xz") as archive:
    for name, text in files.items():
      info = tarfile.TarInfo(f"all_sqe/{name}")
      info.size = len(text.encode())
      archive.addfile(info, io.BytesIO(text.encode()))


def convert(tmp_path, raw, **kwargs):
  nw_ucla.convert(raw, tmp_path / "out", **kwargs)


def spoil(change):
  content = make_content(BAD)
  change(content)
  return json.dumps(content)


def set_value(value):
  return spoil(lambda content: content["skeletons"][1][4].__setitem__(2, value))


BROKEN = {
  "truncated": (json.dumps(make_content(BAD))[:-9], "not JSON"),
  "empty": ("", "not JSON"),
  "list": ("[]", "not a JSON object"),
  "nested": ("[" * 100000, "not JSON"),
  "no_key": ('{"file_name": "x"}', "no key 'skeletons'"),
  "joints": (
    spoil(lambda c: c["skeletons"][1].pop()),
    "frame 1 has 19 joints, not 20",
  ),
  "columns": (
    spoil(lambda c: c["skeletons"][2][5].append(0.0)),
    "frame 2, joint 5 has 4 columns, not 3",
  ),
  "no_frames": (spoil(lambda c: c.update(skeletons=[])), "no frame"),
  "no_list": (spoil(lambda c: c.update(skeletons=3)), "not a list"),
  "frame": (spoil(lambda c: c["skeletons"].append(None)), "frame 3 has 0"),
  "joint": (spoil(lambda c: c["skeletons"][0].__setitem__(3, 1.5)), "joint 3"),
  "string": (set_value("1.0"), "frame 1, joint 4 has '1.0', not a number"),
  "null": (set_value(None), "None, not a number"),
  "bool": (set_value(True), "True, not a number"),
  "nan": (set_value(float("nan")), "frame 1, joint 4 is not finite"),
  "inf": (set_value(float("inf")), "frame 1, joint 4 is not finite"),
  "overflow": (set_value(1e300), "frame 1, joint 4 is not finite"),
  "huge": (set_value(10**400), "too large"),
  "file_name": (
    spoil(lambda c: c.update(file_name=NAMES[0])),
    f"its file_name is '{NAMES[0]}'",
  ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_reports_a_broken_file(kind):
  text, message = BROKEN[kind]
  with pytest.raises(errors.DataError) as error:
    nw_ucla.parse_clip(BAD, text.encode())
  assert message in str(error.value)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("a07_s01_e00_v01", "unknown class a07"),
    ("a10_s01_e00_v01", "unknown class a10"),
    ("a01_s01_e00_v04", "unknown camera v04"),
    ("a01_s01_e00_v01 (1)", "not of the form"),
    ("notes", "not of the form"),
  ],
)
def test_reports_an_unknown_name(name, message):
  data = json.dumps(make_content(name)).encode()
  with pytest.raises(errors.DataError, match=message):
    nw_ucla.parse_clip(name, data)


@pytest.mark.parametrize("packed", [False, True])
def test_reports_all_broken_files_at_once(tmp_path, packed):
  files = make_files(
    **{
      BAD: BROKEN["joints"][0],
      "a02_s01_e00_v02": "{",
      "a07_s01_e00_v01": "{}",
    }
  )
  raw = tmp_path / nw_ucla.ARCHIVE if packed else tmp_path / "raw"
  (write_archive if packed else write_tree)(raw, files)
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(errors.DataError) as error:
    convert(tmp_path, raw, allow_incomplete=True)
  lines = str(error.value).splitlines()
  assert len(lines) == 5
  assert "3 files are broken" in lines[0]
  for line, name in zip(
    lines[1:4], (BAD, "a02_s01_e00_v02", "a07_s01_e00_v01"), strict=True
  ):
    assert f"{name}.json: " in line
  assert "again" in lines[4]
  assert sorted(tmp_path.rglob("*")) == before


def test_reports_duplicates(tmp_path):
  write_tree(tmp_path / "raw" / "1", make_files())
  write_tree(tmp_path / "raw" / "2", dict([*make_files().items()][:1]))
  with pytest.raises(
    errors.DataError, match="2/a01.*: another file of this name, after .*1/a01"
  ):
    convert(tmp_path, tmp_path / "raw", allow_incomplete=True)


@pytest.mark.parametrize("kept", [0, 10, 0.1, 0.5, 0.9, -40, -1])
@pytest.mark.parametrize("name", [nw_ucla.ARCHIVE, ucla_files.ZIP])
def test_reports_a_truncated_archive(tmp_path, name, kept):
  path = tmp_path / name
  write_archive(path, make_files())
  data = path.read_bytes()
  path.write_bytes(data[: int(kept * len(data)) if 0 < kept < 1 else kept])
  with pytest.raises(errors.DataError, match="archive is damaged"):
    convert(tmp_path, path, allow_incomplete=True)
  assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", [nw_ucla.ARCHIVE, ucla_files.ZIP])
def test_reports_a_flipped_byte(tmp_path, name, position):
  path = tmp_path / name
  write_archive(path, make_files())
  data = bytearray(path.read_bytes())
  data[int(position * len(data))] ^= 0xFF
  path.write_bytes(data)
  with pytest.raises(errors.DataError, match="archive is damaged"):
    convert(tmp_path, path, allow_incomplete=True)


@pytest.mark.parametrize(
  "form", ["archive", "zip", "beside", "zip_beside", "flat", "nested"]
)
def test_converts(tmp_path, form, monkeypatch, capsys):
  import tensorflow_datasets as tfds

  files = make_files()
  # What macOS packs beside each file.
  files["._a01_s01_e00_v01.json"] = "\x00\x05\x16\x07"
  raw = tmp_path / "raw"
  if form in ("archive", "zip", "beside", "zip_beside"):
    archive = raw / (ucla_files.ZIP if "zip" in form else nw_ucla.ARCHIVE)
    write_archive(archive, files)
    raw = raw if "beside" in form else archive
  else:
    write_tree(raw / ("all_sqe" if form == "nested" else ""), files)
  monkeypatch.setattr(nw_ucla, "NUM_CLIPS", {"train": 2, "test": 2})
  convert(tmp_path, raw)

  builder = tfds.builder_from_directory(tmp_path / "out")
  assert builder.name == "nw_ucla"
  names = builder.info.features["label"].names
  assert names == list(nw_ucla.CLASSES.values())
  found = {}
  for split in ("train", "test"):
    dataset = tfds.as_numpy(builder.as_dataset(split=split))
    found[split] = {clip["name"].decode(): clip for clip in dataset}
  assert list(found["train"]) == [NAMES[0], NAMES[2]]
  assert list(found["test"]) == [NAMES[1], NAMES[3]]
  for num_frames, (name, label) in enumerate(
    zip(NAMES, (0, 0, 6, 9), strict=True), 1
  ):
    clip = (found["train"] | found["test"])[name]
    assert clip["label"] == label
    assert clip["skeleton"].shape == (num_frames, 1, 20, 3)
    expected = np.float32(make_content(name, num_frames)["skeletons"])
    np.testing.assert_array_equal(clip["skeleton"][:, 0], expected)
  printed = capsys.readouterr().out
  assert "2 train, 2 test" in printed
  assert "1 shortest, 2.5 median, 4 longest" in printed
  assert "--config ctrgcn_ucla" in printed
  assert "notice" not in printed


def test_follows_links_and_counts_what_it_passes_over(tmp_path, capsys):
  files = make_files()
  write_tree(tmp_path / "elsewhere", dict([files.popitem()]))
  files = {name.replace(".json", ".JSON"): x for name, x in files.items()}
  write_tree(tmp_path / "raw", {**files, "readme.txt": ""})
  (tmp_path / "raw" / "link").symlink_to(tmp_path / "elsewhere")
  convert(tmp_path, tmp_path / "raw", allow_incomplete=True)
  out = capsys.readouterr().out
  assert "clips   2 train, 2 test" in out
  assert "left    1 other file (1 .txt)" in out


def test_refuses_an_incomplete_set(tmp_path, capsys):
  write_tree(tmp_path / "raw", make_files())
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(errors.DataError) as error:
    convert(tmp_path, tmp_path / "raw")
  for text in ("2 train, 2 test", "1,020 train, 464 test", "--allow_incomp"):
    assert text in str(error.value)
  assert sorted(tmp_path.rglob("*")) == before
  convert(tmp_path, tmp_path / "raw", allow_incomplete=True)
  assert "notice" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["absent", "empty", "all_sqe.rar"])
def test_refuses_what_holds_no_clips(tmp_path, name):
  (tmp_path / "empty").mkdir()
  (tmp_path / "all_sqe.rar").touch()
  with pytest.raises(errors.DataError, match=f"{name}.*--raw"):
    convert(tmp_path, tmp_path / name)


def test_refuses_an_existing_destination_before_reading(tmp_path):
  for name in ("out", "empty"):  # Reading would find the second one empty.
    (tmp_path / name).mkdir()
  with pytest.raises(errors.DataError, match="--overwrite"):
    convert(tmp_path, tmp_path / "empty")


def test_command_fails_with_one_message(tmp_path):
  write_tree(tmp_path / "raw", make_files(**{BAD: "{"}))
  result = subprocess.run(
    [sys.executable, "-m", "data_prep.nw_ucla", "--raw", tmp_path / "raw"]
    + ["--out", tmp_path / "out"],
    cwd=REPO,
    check=False,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 1
  assert result.stderr.startswith("error: 1 file is broken")
  assert f"{BAD}.json: it is not JSON" in result.stderr
  assert "Traceback" not in result.stderr
  assert not result.stdout
  assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.fixture(scope="module")
def official_clips():
  if not ARCHIVE.exists():
    pytest.skip(f"NW-UCLA is not here: {ARCHIVE}")
  return nw_ucla.read_clips(ARCHIVE, collections.Counter())


def test_reads_the_official_set(official_clips):
  pairs = official_clips
  splits = [split for split, _ in pairs]
  assert (splits.count("train"), splits.count("test")) == (1020, 464)
  assert len({clip.name for _, clip in pairs}) == 1484
  assert {clip.label for _, clip in pairs} == set(range(10))
  lengths = [len(clip.skeleton) for _, clip in pairs]
  assert (min(lengths), max(lengths)) == (1, 201)


def test_test_clips_that_are_copies_of_training_clips(official_clips):
  """A fact about the official archive, which README.md states."""
  clips = {clip.name: clip for _, clip in official_clips}
  copies = [
    name
    for name, clip in clips.items()
    if name.endswith("v03")
    and name[:-1] + "2" in clips
    and np.array_equal(clip.skeleton, clips[name[:-1] + "2"].skeleton)
  ]
  assert len(copies) == 95
  assert {name[:3] for name in copies} == {"a02", "a03"}


def test_agrees_with_the_reference(golden, official_clips):
  reference = golden("G_feeders.npz")
  clips = {clip.name: (split, clip) for split, clip in official_clips}
  for split, key in (("train", "train"), ("test", "val")):
    names = [str(name) for name in reference[f"ucla/{key}/file"]]
    labels = reference[f"ucla/{key}/label"]
    for name, label in zip(names, labels, strict=True):
      assert clips[name][0] == split
      assert clips[name][1].label == label
      np.testing.assert_array_equal(
        clips[name][1].skeleton[:, 0],
        reference[f"ucla/raw/{name}"].astype(np.float32),
      )
    histogram = np.bincount(
      [clip.label for other, clip in clips.values() if other == split]
    )
    np.testing.assert_array_equal(
      histogram, reference[f"ucla/{key}/label_histogram"]
    )
