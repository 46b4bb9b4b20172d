# SPDX-License-Identifier: Apache-2.0
"""The converters of NTU RGB+D 60 and 120: splits, damage, kills, archives."""

import concurrent.futures
import gzip
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

from data_prep import ntu60, ntu120, records
from data_prep.ntu import convert, shards
from sgcl_jax import errors, splits
from tests.data_prep.ntu import raw_text
from tests.data_prep.ntu.raw_text import make_frames, make_joints, make_text

# name -> cell of NTU RGB+D 60
FILES = {
  "S001C001P001R001A060": "xsub_train_xview_test",
  "S001C002P001R001A001": "xsub_train_xview_train",
  "S017C003P040R002A007": "xsub_test_xview_train",
  "S001C001P003R001A001": "xsub_test_xview_test",
}
BAD = "S001C002P003R001A058"


def write_raw(root):
  for i, name in enumerate(FILES):
    path = root / ("nested" if i % 2 else "") / f"{name}.skeleton"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_text(make_frames(make_joints(i, 12 + i))))


@pytest.fixture
def raw(tmp_path):
  write_raw(tmp_path / "raw")
  return tmp_path / "raw"


def run(raw, out, *args, module=ntu60):
  module.main(["--raw", str(raw), "--out", str(out), "--workers=1", *args])


def read(out, split=None):
  """Returns name -> clip of a data set, or of one split."""
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(out)
  return {
    clip["name"].decode(): clip
    for cell in builder.info.splits
    if split is None or split in splits.get_splits(cell)
    for clip in tfds.as_numpy(builder.as_dataset(split=cell))
  }


def read_files(out):
  """Returns what a data set consists of, but its report, which has paths."""
  return {
    path.name: path.read_bytes()
    for path in out.iterdir()
    if path.name != "report.json"
  }


def read_report(out):
  return json.loads((out / "report.json").read_text())


def test_converts(raw, tmp_path, capsys):
  import tensorflow_datasets as tfds

  for name in ("S018C001P001R001A001", "S001C001P001R001A061"):
    (raw / f"{name}.skeleton").touch()  # NTU RGB+D 120 alone.
  (raw / "S001C002P005R002A008.skeleton").touch()  # Listed as incomplete.
  (raw / "._S001C001P001R001A060.skeleton").touch()
  run(raw, tmp_path / "out")
  builder = tfds.builder_from_directory(tmp_path / "out")
  assert tuple(builder.info.features["label"].names) == ntu60.ACTIONS
  assert set(builder.info.splits) == set(FILES.values())
  for i, (name, cell) in enumerate(FILES.items()):
    (clip,) = tfds.as_numpy(builder.as_dataset(split=cell))
    assert clip["name"].decode() == name
    assert clip["label"] == int(name[-3:]) - 1
    joints = make_joints(i, 12 + i)
    np.testing.assert_array_equal(clip["skeleton"][:, 0], joints - joints[0, 1])
    assert not clip["skeleton"][:, 1].any()
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["xsub_train", "2"] in lines
  assert ["left", "2", "of", "NTU", "RGB+D", "120", "alone"] in lines
  assert lines[-1][-2] == "configs/ctrgcn_ntu60.py"
  assert any(line[:4] == ["notice", "the", "official", "set"] for line in lines)
  report = read_report(tmp_path / "out")
  assert report["clips"] == 4 and not report["complete"]
  assert report["splits"]["xview_test"] == 2
  assert report["classes"]["drink water"] == 2
  assert report["classes"]["clapping"] == 0
  assert report["listed_as_incomplete"] == ["S001C002P005R002A008"]
  assert report["of_a_larger_set"] == 2
  assert report["broken"] == [] and report["unusual"] == {}
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw"]


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
  run(tmp_path / "raw", tmp_path / "out", module=module)
  clips = read(tmp_path / "out")
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
      split = read(tmp_path / "out", f"{ours}_{part}")
      assert set(split) == {names[row] for row in rows}
      labels = [split[names[row]]["label"] for row in rows]
      np.testing.assert_array_equal(
        labels, expected[f"{key}/{theirs}/{part}_label"]
      )


def test_a_lone_person_is_repeated_or_not(raw, tmp_path):
  for option, repeated in (([], True), (["--lone_person=zeros"], False)):
    run(raw, tmp_path / "out", "--overwrite", *option, module=ntu120)
    for clip in read(tmp_path / "out").values():
      first, second = np.moveaxis(clip["skeleton"], 1, 0)
      np.testing.assert_array_equal(second, first if repeated else 0 * first)


def test_broken_files_are_left_out_and_told(raw, tmp_path, capsys):
  broken = {
    name: data for name, (data, _) in raw_text.BROKEN.items() if name != "zeros"
  }
  for i, data in enumerate(broken.values()):
    (raw / f"S001C003P009R001A{i + 10:03}.skeleton").write_bytes(data)
  (raw / "notes.skeleton").touch()
  (raw / "x").mkdir()
  (raw / "x" / "S001C001P001R001A060.skeleton").touch()  # A second one.
  (raw / f"{BAD}.skeleton").symlink_to(tmp_path / "nowhere")
  with pytest.raises(errors.DataError) as error:
    run(raw, tmp_path / "out")
  message = str(error.value)
  assert f"{len(broken) + 3} files are broken" in message
  assert f"the others are in {tmp_path / 'out'}" in message
  report = read_report(tmp_path / "out")
  assert len(report["broken"]) == len(broken) + 3
  text = "\n".join(report["broken"])
  for i, name in enumerate(broken):
    expected = raw_text.BROKEN[name][1]
    assert f"A{i + 10:03}.skeleton: {expected}" in text
  assert "the name notes is not" in text
  assert "another file of this name" in text
  assert f"{BAD}.skeleton: cannot be read" in text
  assert set(read(tmp_path / "out")) == set(FILES)


def test_nothing_sound_leaves_nothing(tmp_path):
  (tmp_path / "raw").mkdir()
  (tmp_path / "raw" / f"{BAD}.skeleton").touch()
  with pytest.raises(errors.DataError, match="nothing was written"):
    run(tmp_path / "raw", tmp_path / "out")
  assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_archives_are_read_in_place(raw, tmp_path):
  """As the official ones: two archives, a folder in the first."""
  run(raw, tmp_path / "files")
  archives = tmp_path / "archives"
  archives.mkdir()
  for i, (name, path) in enumerate(
    sorted((path.stem, path) for path in raw.rglob("*.skeleton"))
  ):
    target = archives / f"{i % 2}.zip"
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
      folder = "" if i % 2 else "nturgb+d_skeletons/"
      archive.write(path, f"{folder}{name}.skeleton")
  run(archives, tmp_path / "folder")
  assert read_files(tmp_path / "folder") == read_files(tmp_path / "files")
  ntu60.main(
    ["--raw", *map(str, sorted(archives.iterdir())), "--workers=1"]
    + ["--out", str(tmp_path / "both")]
  )
  assert read_files(tmp_path / "both") == read_files(tmp_path / "files")


def test_copies_hidden_files_and_links(raw, tmp_path, capsys):
  """An archive beside its files, macOS's leftovers, a linked directory."""
  run(raw, tmp_path / "plain")
  linked = tmp_path / "elsewhere"
  (raw / "nested").rename(linked)
  (raw / "link").symlink_to(linked)
  (linked / "back").symlink_to(raw)
  with zipfile.ZipFile(raw / "all.zip", "w") as archive:
    archive.mkdir("odd.skeleton")
    for path in raw.glob("*.skeleton"):
      archive.write(path, path.name)
  (raw / "._all.zip").write_bytes(b"no archive")
  (raw / "odd.skeleton").mkdir()
  capsys.readouterr()
  run(raw, tmp_path / "out")
  assert "left    2 copies of the same files" in capsys.readouterr().out
  assert read_files(tmp_path / "out") == read_files(tmp_path / "plain")


def test_an_out_that_is_a_link(raw, tmp_path):
  (tmp_path / "disk").mkdir()
  (tmp_path / "out").symlink_to(tmp_path / "disk" / "set")
  run(raw, tmp_path / "out")
  run(raw, tmp_path / "out", "--overwrite")
  assert (tmp_path / "out").is_symlink()
  assert len(read(tmp_path / "disk" / "set")) == 4
  assert [path.name for path in (tmp_path / "disk").iterdir()] == ["set"]


def test_a_damaged_member_is_told(raw, tmp_path):
  archive = tmp_path / "a.zip"
  with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
    for path in sorted(raw.rglob("*.skeleton")):
      file.write(path, path.name)
  with zipfile.ZipFile(archive) as file:
    info = file.infolist()[1]
  data = bytearray(archive.read_bytes())
  data[info.header_offset + 200] ^= 255
  archive.write_bytes(data)
  with pytest.raises(errors.DataError) as error:
    run(archive, tmp_path / "out")
  assert f"{archive}/{info.filename}: cannot be read" in str(error.value)
  assert len(read(tmp_path / "out")) == 3
  archive.write_bytes(data[:-30])
  with pytest.raises(errors.DataError, match="cannot be opened as a .zip"):
    run(archive, tmp_path / "other")


def test_processes_and_shards_do_not_matter(raw, tmp_path, monkeypatch):
  monkeypatch.setattr(convert, "CLIPS_PER_SHARD", 3)
  for i in range(20):
    name = f"S001C001P001R001A{i + 1:03}"
    text = make_text(make_frames(make_joints(i)))
    (raw / f"{name}.skeleton").write_bytes(text)
  run(raw, tmp_path / "one")
  run(raw, tmp_path / "three", "--workers=3")
  files = read_files(tmp_path / "one")
  assert files == read_files(tmp_path / "three")
  assert sum("xsub_train_xview_test" in name for name in files) == 7
  assert len(read(tmp_path / "one")) == 24


def test_a_killed_conversion_goes_on(raw, tmp_path, monkeypatch, capsys):
  run(raw, tmp_path / "whole")
  finished = []

  def fail_later(shard):
    if len(finished) == 2:
      raise KeyboardInterrupt
    finished.append(shard.path.name)
    return write(shard)

  write = shards.write
  monkeypatch.setattr(shards, "write", fail_later)
  with pytest.raises(KeyboardInterrupt):
    run(raw, tmp_path / "out")
  assert not (tmp_path / "out").exists()
  made = []

  def record(shard):
    made.append(shard.path.name)
    return write(shard)

  monkeypatch.setattr(shards, "write", record)
  capsys.readouterr()
  run(raw, tmp_path / "out")
  assert "going on: 2 of 4 shards are done" in capsys.readouterr().out
  assert len(made) == 2 and not set(made) & set(finished)
  assert read_files(tmp_path / "out") == read_files(tmp_path / "whole")
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw", "whole"]


def test_a_kill_at_the_very_end_loses_nothing(raw, tmp_path, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  run(raw, tmp_path / "whole")
  for name in ("_write_metadata", "_move_into_place"):
    with monkeypatch.context() as patch:
      patch.setattr(records, name, interrupt)
      with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "out")
  monkeypatch.setattr(shards, "write", None)  # All shards are done.
  run(raw, tmp_path / "out")
  assert read_files(tmp_path / "out") == read_files(tmp_path / "whole")
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw", "whole"]


@pytest.mark.parametrize("change", ["option", "file"])
def test_another_plan_starts_anew(raw, tmp_path, monkeypatch, capsys, change):
  def interrupt(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(records, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
      run(raw, tmp_path / "out")
  options = ["--lone_person=repeat"] if change == "option" else []
  if change == "file":
    path = raw / "S001C001P001R001A060.skeleton"
    path.write_bytes(make_text(make_frames(make_joints(9, 20))))
  capsys.readouterr()
  run(raw, tmp_path / "out", *options)
  assert "starting anew" in capsys.readouterr().out
  run(raw, tmp_path / "fresh", *options)
  assert read_files(tmp_path / "out") == read_files(tmp_path / "fresh")


def test_kill_9_with_workers(tmp_path):
  """The processes end with the one that started them, and the run goes on."""
  raw = tmp_path / "raw"
  raw.mkdir()
  text = make_text(make_frames(make_joints(0, 60)))
  names = [
    f"S{s:03}C001P001R001A{a:03}" for s in range(1, 15) for a in range(1, 61)
  ]
  for name in names:
    (raw / f"{name}.skeleton").write_bytes(text)
  command = [sys.executable, "-m", "data_prep.ntu60", "--raw", str(raw)]
  command += ["--out", str(tmp_path / "out"), "--workers=2"]
  process = subprocess.Popen(command, cwd=raw_text.ROOT)
  results = tmp_path / ".out.incomplete" / "results"
  while not list(results.glob("*.json")):
    assert process.poll() is None
    time.sleep(0.02)
  children = f"/proc/{process.pid}/task/{process.pid}/children"
  children = pathlib.Path(children).read_text().split()
  assert len(children) >= 2
  process.send_signal(signal.SIGKILL)
  process.wait()
  deadline = time.monotonic() + 30
  while any(map(is_alive, children)):
    assert time.monotonic() < deadline
    time.sleep(0.05)
  assert not (tmp_path / "out").exists()
  result = subprocess.run(
    command, cwd=raw_text.ROOT, capture_output=True, text=True, timeout=120
  )
  assert result.returncode == 0, result.stderr
  assert len(read(tmp_path / "out")) == len(names)


@pytest.fixture
def heeded_ctrl_c():
  """Where a shell's `&` had SIGINT ignored, a process started here heeds it."""
  handler = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("heeded_ctrl_c")
def test_ctrl_c_while_the_workers_start(tmp_path):
  """A terminal interrupts all processes at once; the first alone answers."""
  raw = tmp_path / "raw"
  raw.mkdir()
  original = tmp_path / "original"
  original.write_bytes(make_text(make_frames(make_joints(0, 60))))
  # 5,040 clips in several shards: seconds of work, even if this test is slow.
  for i, camera, repetition, action in itertools.product(
    range(1, 15), range(1, 4), range(1, 3), range(1, 61)
  ):
    name = f"S{i:03}C{camera:03}P{1 + i % 4:03}R{repetition:03}A{action:03}"
    os.link(original, raw / f"{name}.skeleton")
  command = [sys.executable, "-m", "data_prep.ntu60", "--raw", str(raw)]
  command += ["--out", str(tmp_path / "out"), "--workers=2"]
  process = subprocess.Popen(
    command,
    cwd=raw_text.ROOT,
    start_new_session=True,
    stderr=subprocess.PIPE,
    text=True,
  )
  children = f"/proc/{process.pid}/task/{process.pid}/children"
  while len(pathlib.Path(children).read_text().split()) < 3:
    assert process.poll() is None
    time.sleep(0.005)
  os.killpg(process.pid, signal.SIGINT)
  _, told = process.communicate(timeout=60)
  assert told == "interrupted; the same command goes on from here\n"
  assert process.returncode == 130


def test_ctrl_c_waits_for_the_workers(raw, tmp_path, monkeypatch):
  """Even if a thread of some library is the one that takes the signal."""
  started = []
  submit = concurrent.futures.ProcessPoolExecutor.submit

  def interrupt_and_submit(*args):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    started.append(submit(*args))
    return started[-1]

  monkeypatch.setattr(
    concurrent.futures.ProcessPoolExecutor, "submit", interrupt_and_submit
  )
  done = threading.Event()
  library = threading.Thread(target=done.wait)
  library.start()
  try:
    with pytest.raises(KeyboardInterrupt):
      run(raw, tmp_path / "out", "--workers=2")
  finally:
    done.set()
    library.join()
  assert len(started) == len(FILES)  # Each is the only one of its cell.


def is_alive(pid):
  try:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return text.rpartition(")")[2].split()[0] != "Z"


def test_two_at_once_are_refused(raw, tmp_path):
  with (
    convert._claim(tmp_path / ".out.incomplete"),
    pytest.raises(errors.DataError, match="another process converts"),
  ):
    run(raw, tmp_path / "out")


def test_a_worker_that_is_killed_is_told(raw, tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "write", kill_oneself)
  with pytest.raises(errors.DataError, match="a worker process was killed"):
    run(raw, tmp_path / "out", "--workers=2")


def kill_oneself(shard):
  os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_refuses_what_holds_no_clips(tmp_path, name):
  (tmp_path / "empty").mkdir()
  with pytest.raises(errors.DataError, match=f"{name}.*--raw"):
    run(tmp_path / name, tmp_path / "out")


def test_parsing_needs_no_tensorflow():
  code = (
    "import sys, data_prep.ntu60, data_prep.ntu120, data_prep.nw_ucla;"
    "assert 'tensorflow' not in sys.modules and 'jax' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], cwd=raw_text.ROOT, check=True)
