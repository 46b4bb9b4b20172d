# SPDX-License-Identifier: Apache-2.0
"""The converters of NTU RGB+D 60 and 120: splits, damage, resumption."""

import gzip
import subprocess
import sys

import numpy as np
import pytest

from data_prep import ntu60, ntu120, records
from data_prep.ntu import convert, shards
from sgcl_jax import errors
from sgcl_jax.dataset import splits
from sgcl_jax.runs import files
from tests.data_prep.ntu import conversion, raw_text
from tests.data_prep.ntu.raw_text import make_frames, make_joints, make_text


def test_converts(raw, tmp_path, capsys):
  import tensorflow_datasets as tfds

  for name in ("S018C001P001R001A001", "S001C001P001R001A061"):
    (raw / f"{name}.skeleton").touch()  # NTU RGB+D 120 alone.
  (raw / "S001C002P005R002A008.skeleton").touch()  # Listed as incomplete.
  (raw / "._S001C001P001R001A060.skeleton").touch()
  conversion.run(raw, tmp_path / "out")
  builder = tfds.builder_from_directory(tmp_path / "out")
  assert tuple(builder.info.features["label"].names) == ntu60.ACTIONS
  assert set(builder.info.splits) == set(conversion.FILES.values())
  for i, (name, cell) in enumerate(conversion.FILES.items()):
    (clip,) = tfds.as_numpy(builder.as_dataset(split=cell))
    assert clip["name"].decode() == name
    assert clip["label"] == int(name[-3:]) - 1
    joints = make_joints(i, 12 + i)
    np.testing.assert_array_equal(clip["skeleton"][:, 0], joints - joints[0, 1])
    assert not clip["skeleton"][:, 1].any()
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["xsub_train", "2"] in lines
  assert ["left", "2", "of", "NTU", "RGB+D", "120", "alone"] in lines
  assert lines[-1][4:6] == ["--config", "ctrgcn_ntu60"]
  assert any(line[:4] == ["notice", "the", "official", "set"] for line in lines)
  report = conversion.read_report(tmp_path / "out")
  assert report["clips"] == 4 and not report["complete"]
  assert report["splits"]["xview_test"] == 2
  assert report["classes"]["drink water"] == 2
  assert report["classes"]["clapping"] == 0
  assert report["listed_as_incomplete"] == ["S001C002P005R002A008"]
  assert report["of_a_larger_set"] == 2
  assert report["broken"] == [] and report["unusual"] == {}
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw"]


def test_paths_are_printed_as_they_were_given(
  raw, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  (raw / "S001C003P009R001A010.skeleton").touch()  # Broken.
  with pytest.raises(errors.DataError, match="the others are in out:"):
    ntu60.main(["--raw", "raw", "--out", "out", "--workers", "1"])
  lines = capsys.readouterr().out.splitlines()
  assert lines[-2] == "wrote   out (details: report.json)"
  assert "--config.data.dir=out --config.batch_size=" in lines[-1]


@pytest.mark.parametrize(
  ("module", "key", "protocols"),
  [
    (ntu60, "ntu60", {"CS": "xsub", "CV": "xview"}),
    (ntu120, "ntu120", {"CSub": "xsub", "CSet": "xset"}),
  ],
)
def test_equals_the_reference(golden, tmp_path, module, key, protocols):
  """Raw files to clips, labels and both protocols' splits, to the bit."""
  expected = golden("H_ntu_raw.npz")
  names = [str(name) for name in expected[f"{key}/names"]]
  (tmp_path / "raw").mkdir()
  for path in raw_text.GOLDEN.glob("*.gz"):
    (tmp_path / "raw" / path.stem).write_bytes(
      gzip.decompress(path.read_bytes())
    )
  conversion.run(tmp_path / "raw", tmp_path / "out", module=module)
  cells = conversion.read_cells(tmp_path / "out")
  clips = {name: clip for cell in cells.values() for name, clip in cell.items()}
  assert sorted(clips) == sorted(names)
  stored = [name for name in names if f"{key}/aligned/{name}" in expected]
  assert len(stored) == 4
  for name in stored:
    found = clips[name]["skeleton"].reshape(len(clips[name]["skeleton"]), -1)
    aligned = expected[f"{key}/aligned/{name}"]
    np.testing.assert_array_equal(found, aligned[: len(found)], name)
    assert not aligned[len(found) :].any()
  for theirs, ours in protocols.items():
    for part in ("train", "test"):
      rows = expected[f"{key}/{theirs}/{part}_index"]
      split = {}
      for cell in splits.find_cells(f"{ours}_{part}", cells):
        split |= cells[cell]
      assert set(split) == {names[row] for row in rows}
      labels = [split[names[row]]["label"] for row in rows]
      np.testing.assert_array_equal(
        labels, expected[f"{key}/{theirs}/{part}_label"]
      )


def test_a_lone_person_is_repeated_or_not(raw, tmp_path):
  for option, repeated in (([], True), (["--lone_person=zeros"], False)):
    conversion.run(raw, tmp_path / "out", "--overwrite", *option, module=ntu120)
    for clip in conversion.read(tmp_path / "out").values():
      first, second = np.moveaxis(clip["skeleton"], 1, 0)
      np.testing.assert_array_equal(second, first if repeated else 0 * first)


def test_broken_files_are_left_out_and_reported(raw, tmp_path, capsys):
  broken = {
    name: data for name, (data, _) in raw_text.BROKEN.items() if name != "zeros"
  }
  for i, data in enumerate(broken.values()):
    (raw / f"S001C003P009R001A{i + 10:03}.skeleton").write_bytes(data)
  (raw / "notes.skeleton").touch()
  (raw / "x").mkdir()
  (raw / "x" / "S001C001P001R001A060.skeleton").touch()  # A second one.
  (raw / f"{conversion.BAD}.skeleton").symlink_to(tmp_path / "nowhere")
  with pytest.raises(errors.DataError) as error:
    conversion.run(raw, tmp_path / "out")
  message = str(error.value)
  assert f"{len(broken) + 3} files are broken" in message
  assert f"the others are in {tmp_path / 'out'}" in message
  report = conversion.read_report(tmp_path / "out")
  assert len(report["broken"]) == len(broken) + 3
  text = "\n".join(report["broken"])
  for i, name in enumerate(broken):
    expected = raw_text.BROKEN[name][1]
    assert f"A{i + 10:03}.skeleton: {expected}" in text
  assert "the name notes is not" in text
  assert "another file of this name" in text
  assert f"{conversion.BAD}.skeleton: cannot be read" in text
  assert set(conversion.read(tmp_path / "out")) == set(conversion.FILES)


def test_nothing_sound_leaves_nothing(tmp_path):
  (tmp_path / "raw").mkdir()
  (tmp_path / "raw" / f"{conversion.BAD}.skeleton").touch()
  with pytest.raises(errors.DataError, match="nothing was written"):
    conversion.run(tmp_path / "raw", tmp_path / "out")
  assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_out_that_is_a_link(raw, tmp_path):
  (tmp_path / "disk").mkdir()
  (tmp_path / "out").symlink_to(tmp_path / "disk" / "set")
  conversion.run(raw, tmp_path / "out")
  conversion.run(raw, tmp_path / "out", "--overwrite")
  assert (tmp_path / "out").is_symlink()
  assert len(conversion.read(tmp_path / "disk" / "set")) == 4
  assert [path.name for path in (tmp_path / "disk").iterdir()] == ["set"]


def test_processes_and_shards_do_not_matter(raw, tmp_path, monkeypatch):
  monkeypatch.setattr(convert, "CLIPS_PER_SHARD", 3)
  for i in range(20):
    name = f"S001C001P001R001A{i + 1:03}"
    text = make_text(make_frames(make_joints(i)))
    (raw / f"{name}.skeleton").write_bytes(text)
  conversion.run(raw, tmp_path / "one")
  conversion.run(raw, tmp_path / "three", "--workers=3")
  files = conversion.read_files(tmp_path / "one")
  assert files == conversion.read_files(tmp_path / "three")
  assert sum("xsub_train_xview_test" in name for name in files) == 7
  assert len(conversion.read(tmp_path / "one")) == 24


def test_a_killed_conversion_goes_on(raw, tmp_path, monkeypatch, capsys):
  conversion.run(raw, tmp_path / "whole")
  finished = []

  def fail_later(shard):
    if len(finished) == 2:
      raise KeyboardInterrupt
    finished.append(shard.path.name)
    return write(shard)

  write = shards.write
  monkeypatch.setattr(shards, "write", fail_later)
  with pytest.raises(KeyboardInterrupt):
    conversion.run(raw, tmp_path / "out")
  assert not (tmp_path / "out").exists()
  made = []

  def record(shard):
    made.append(shard.path.name)
    return write(shard)

  monkeypatch.setattr(shards, "write", record)
  capsys.readouterr()
  conversion.run(raw, tmp_path / "out")
  assert "going on: 2 of 4 shards are done" in capsys.readouterr().out
  assert len(made) == 2 and not set(made) & set(finished)
  assert conversion.read_files(tmp_path / "out") == conversion.read_files(
    tmp_path / "whole"
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw", "whole"]


def test_a_kill_at_the_very_end_loses_nothing(raw, tmp_path, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  conversion.run(raw, tmp_path / "whole")
  places = (records, "_write_metadata"), (files, "move_into_place")
  for module, name in places:
    with monkeypatch.context() as patch:
      patch.setattr(module, name, interrupt)
      with pytest.raises(KeyboardInterrupt):
        conversion.run(raw, tmp_path / "out")
  monkeypatch.setattr(shards, "write", None)  # All shards are done.
  conversion.run(raw, tmp_path / "out")
  assert conversion.read_files(tmp_path / "out") == conversion.read_files(
    tmp_path / "whole"
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw", "whole"]


@pytest.mark.parametrize("change", ["option", "file"])
def test_another_plan_starts_again(raw, tmp_path, monkeypatch, capsys, change):
  def interrupt(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(records, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
      conversion.run(raw, tmp_path / "out")
  options = ["--lone_person=repeat"] if change == "option" else []
  if change == "file":
    path = raw / "S001C001P001R001A060.skeleton"
    path.write_bytes(make_text(make_frames(make_joints(9, 20))))
  capsys.readouterr()
  conversion.run(raw, tmp_path / "out", *options)
  assert "starting again" in capsys.readouterr().out
  conversion.run(raw, tmp_path / "fresh", *options)
  assert conversion.read_files(tmp_path / "out") == conversion.read_files(
    tmp_path / "fresh"
  )


def test_two_at_once_are_refused(raw, tmp_path):
  with (
    convert._claim(tmp_path / ".out.incomplete"),
    pytest.raises(errors.DataError, match="another process converts"),
  ):
    conversion.run(raw, tmp_path / "out")


WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class Finder:
  def find_spec(name, *args):
    if name.partition(".")[0] != "tensorflow":
      return PathFinder.find_spec(name, *args)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from data_prep import ntu60
ntu60.main(sys.argv[1:])
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
"""


def test_converting_needs_no_tensorflow(raw, tmp_path):
  out = tmp_path / "out"
  subprocess.run(
    [sys.executable, "-c", WITHOUT_TENSORFLOW, "--raw", raw, "--out", out]
    + ["--workers=1"],
    cwd=raw_text.ROOT,
    check=True,
  )
  clips = conversion.read(out)  # With TensorFlow.
  assert set(clips) == set(conversion.FILES)


def test_parsing_needs_no_tensorflow():
  code = (
    "import sys, data_prep.ntu60, data_prep.ntu120, data_prep.nw_ucla;"
    "assert 'tensorflow' not in sys.modules and 'jax' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], cwd=raw_text.ROOT, check=True)


@pytest.mark.parametrize("alignment", [None, "own", "released"])
def test_the_metadata_tell_how_new_clips_are_prepared(alignment):
  options = convert.Options("repeat", alignment)
  metadata = dict(convert._describe(ntu60.NTU60, options).metadata)
  assert metadata.pop("alignment", "own") == (alignment or "own")
  assert metadata == {"aligned": bool(alignment), "lone_person": "repeat"}


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_processes_that_makes_no_sense(tmp_path, workers):
  with pytest.raises(errors.ConfigError, match=f"--workers={workers} is less"):
    conversion.run(tmp_path, tmp_path / "out", f"--workers={workers}")
