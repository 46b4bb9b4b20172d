# SPDX-License-Identifier: Apache-2.0
"""Raw input that is no file, inflates, lies about its size, or has odd names.

docs/SECURITY.md states what these tests hold the readers to.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import pathlib
import re
import signal
import socket
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from data_prep import custom, ntu60, nw_ucla, ucla_files, walk
from data_prep.clips import clip_file, labels, reader, segments
from data_prep.held import annotations, clips, npz, pickles
from data_prep.ntu import convert, raw_files, raw_set, shards, skeleton_file
from sgcl_jax import command, errors, predict, skeletons
from sgcl_jax.dataset import naming, regular_file
from sgcl_jax.terminal import wording
from tests.data_prep.ntu import raw_text

ROOT = pathlib.Path(__file__).parents[2]
NAME = "S001C001P001R001A001"
UCLA_NAME = "a01_s01_e00_v01"


def read_ntu(path):
  (file,) = raw_files.find([path], collections.Counter())
  return raw_files.read(file)


def read_ucla(path):
  source = ucla_files.find_source(path)
  return [read() for _, read in ucla_files.read(source, collections.Counter())]


READERS = {
  "ntu.skeleton": read_ntu,
  "ntu.zip": read_ntu,
  "ucla.json": lambda path: read_ucla(path.parent),
  "ucla.zip": read_ucla,
  "clip.json": clip_file.load,
  "clip.npz": clip_file.load,
  "pyskl.pkl": pickles.load,
  "ctrgcn.npz": npz.Reader,
  "names.txt": naming.read,
  "segments.csv": segments.read,
  "layout.json": skeletons.read,
  "predict.skeleton": lambda path: predict.read_clip(path, None),
  "predict.json": lambda path: predict.read_clip(path, None),
}


@contextlib.contextmanager
def limited(seconds=5):
  """Ends what hangs, such as an open of a pipe that nobody writes to."""

  def expire(*_):
    pytest.fail("it hangs")

  handler = signal.signal(signal.SIGALRM, expire)
  signal.alarm(seconds)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@contextlib.contextmanager
def little_memory(most=2**25):
  """Fails if Python allocates more than so many bytes at a time."""
  tracemalloc.start()
  try:
    yield
    assert tracemalloc.get_traced_memory()[1] < most
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket"])
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files(tmp_path, monkeypatch, name, kind):
  monkeypatch.chdir(tmp_path)  # The name of a socket has to be short.
  if kind == "a named pipe":
    os.mkfifo(name)
  elif kind == "a device":
    os.symlink("/dev/zero", name)
  else:
    with socket.socket(socket.AF_UNIX) as server:
      server.bind(name)
  with limited(), pytest.raises(errors.UserError) as error:
    READERS[name](tmp_path / name)
  message = str(error.value)
  assert f"{kind}, not a regular file" in message or (
    "is no file" in message or f"is not {ucla_files.ARCHIVE}" in message
  )


def test_a_link_to_a_file_is_followed(tmp_path):
  (tmp_path / "a").write_bytes(b"\xef\xbb\xbfx\r\ny")
  (tmp_path / "b").symlink_to("a")
  assert regular_file.read_utf8(tmp_path / "b") == "x\ny"
  with pytest.raises(errors.DataError, match="is a directory, not a regular"):
    regular_file.read(tmp_path, 9)


def test_a_file_of_more_than_its_limit(tmp_path):
  (tmp_path / "a").write_bytes(bytes(2**20 + 1))
  with pytest.raises(errors.DataError, match="is larger than 1 MiB, the limit"):
    regular_file.read(tmp_path / "a", 2**20)
  assert len(regular_file.read(tmp_path / "a", 2**20 + 1)) == 2**20 + 1


def write_zip(path, name, content, claim=None):
  """Writes a zip archive whose directory may claim another size."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr(name, content)
  if claim is not None:
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02")
    data[start + 16 : start + 20] = struct.pack("<I", zlib.crc32(bytes(claim)))
    data[start + 24 : start + 28] = struct.pack("<I", claim)
    path.write_bytes(data)


@pytest.mark.parametrize("claim", [None, 1000])
@pytest.mark.parametrize(
  ("read", "member"),
  [(read_ntu, f"{NAME}.skeleton"), (read_ucla, f"{UCLA_NAME}.json")],
)
def test_a_zip_member_inflates_to_its_limit(tmp_path, read, member, claim):
  """With a false claim nothing is inflated beyond it."""
  path = tmp_path / "a.zip"
  write_zip(path, member, bytes(2**27), claim)
  assert path.stat().st_size < 2**20
  with little_memory():
    if claim is None:
      with pytest.raises(errors.DataError, match="is larger than 64 MiB"):
        read(path)
    else:
      assert b"".join(read(path) if read is read_ucla else [read(path)]) == (
        bytes(claim)
      )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_without_a_limit_are_refused(tmp_path, method):
  for name, read in (("ntu.zip", read_ntu), ("clip.npz", clip_file.load)):
    path = tmp_path / name
    member = "x.npy" if name == "clip.npz" else f"{NAME}.skeleton"
    with zipfile.ZipFile(path, "w", method) as file:
      file.writestr(member, bytes(2**25))
    with (
      little_memory(2**20),
      pytest.raises(errors.DataError, match="pack it again with deflate"),
    ):
      read(path)


def write_tar(path, headers, size):
  """Writes zeros as one member of a `.tar.xz`."""
  info = tarfile.TarInfo(f"{UCLA_NAME}.json")
  info.size, info.pax_headers = size, headers
  with tarfile.open(path, "w:xz", format=tarfile.PAX_FORMAT) as file:
    file.addfile(info, io.BytesIO(bytes(size)))


def test_an_archive_inflates_to_its_limit(tmp_path, monkeypatch):
  path = tmp_path / ucla_files.ARCHIVE
  monkeypatch.setattr(ucla_files, "FILE_BYTES", 2**20)
  monkeypatch.setattr(ucla_files, "ARCHIVE_BYTES", 2**23)
  write_tar(path, {}, 2**21)
  with pytest.raises(errors.DataError, match="^is larger than 1 MiB"):
    read_ucla(path)
  message = f"{path} inflates to more than 8 MiB"
  for headers, size in (({}, 2**24), ({"comment": "x" * 2**24}, 9)):
    write_tar(path, headers, size)
    with little_memory(), pytest.raises(errors.DataError, match=message):
      nw_ucla.read_clips(path, collections.Counter())
  (tmp_path / "a").mkdir()
  write_zip(tmp_path / "a" / "a.zip", "a.txt", bytes(2**24))
  with pytest.raises(errors.DataError, match="inflates to more than 8 MiB"):
    read_ucla(tmp_path / "a" / "a.zip")


def make_header(shape, descr="<f4"):
  file = io.BytesIO()
  header = {"descr": descr, "fortran_order": False, "shape": shape}
  np.lib.format.write_array_header_1_0(file, header)
  return file.getvalue()


LIES = {
  "terabytes": (make_header((10**9, 1, 17, 3)), "204,000,000,000 bytes"),
  "overflow": (make_header((2**62, 4, 17, 3)), "skeleton claims the shape"),
  "negative": (make_header((-1, 4, 17, 3)), "skeleton claims the shape"),
  "one": (make_header((2,)) + bytes(7), "8 bytes, but the file holds 7"),
  "header": (
    b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31),
    "skeleton claims a header of 2,147,483,648 bytes",
  ),
  "no_header": (b"\x93NUMPY\x01\x00", "cannot be read|is damaged"),
}


@pytest.mark.parametrize("kind", LIES)
def test_an_array_that_claims_more_than_the_file_holds(tmp_path, kind):
  data, message = LIES[kind]
  path = tmp_path / "a.npz"
  write_zip(path, "skeleton.npy", data)
  with little_memory(2**20), pytest.raises(errors.DataError, match=message):
    clip_file.load(path)
  with (
    contextlib.closing(npz.Reader(path)) as held,
    little_memory(2**20),
    pytest.raises(errors.DataError, match=re.escape(str(path))) as error,
  ):
    held.describe("skeleton")
  assert re.search(message, str(error.value))


def test_the_arrays_of_a_clip_share_a_limit(tmp_path, monkeypatch):
  monkeypatch.setattr(clip_file, "MOST_BYTES", 2**20)
  np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**16), b=np.zeros(2**16))
  with pytest.raises(errors.DataError, match="inflates to more than 1 MiB"):
    clip_file.load(tmp_path / "a.npz")


def test_classes_beyond_reason():
  for count in (10**12, clips.MAX_CLASSES + 1):
    with limited(), pytest.raises(errors.DataError, match="are they labels"):
      clips.make_class_names(None, count)


def test_a_pickle_that_asks_for_a_large_table(tmp_path):
  """A memo of 2**29 places takes 4 GiB."""
  path = tmp_path / "a.pkl"
  path.write_bytes(b"\x80\x02Nr" + struct.pack("<I", 2**28) + b".")
  with pytest.raises(errors.DataError, match="does not fit into memory"):
    pickles.load(path)


def test_lists_of_unequal_lengths_in_an_annotation():
  cyclic = []
  cyclic.append(cyclic)
  for value in ([[1, 2], [3]], cyclic):
    for key in ("keypoint", "keypoint_score"):
      annotation = {"frame_dir": "a", "label": 0, "keypoint": [1], key: value}
      problem = annotations._find_problem(annotation, set())
      assert problem == f"{key} is no array: its rows have unequal lengths"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", ["longer", "same size", "gone"])
def test_a_file_that_changes_after_the_plan(tmp_path, packed, change):
  text = raw_text.make_text(raw_text.make_frames(raw_text.make_joints(0)))
  path = tmp_path / (f"{NAME}.zip" if packed else f"{NAME}.skeleton")

  def write(text):
    if packed:
      write_zip(path, f"{NAME}.skeleton", text)
    else:
      path.write_bytes(text)

  write(text)
  (file,) = raw_files.find([path], collections.Counter())
  assert raw_files.read(file) == text
  if change == "gone":
    path.unlink()
  else:
    write(text + b" " if change == "longer" else text)
    os.utime(path, ns=(0, file.modified + 1))
  message = "cannot be read" if change == "gone" else "was changed after"
  raw_files._open.cache_clear()
  with pytest.raises(errors.DataError, match=message):
    shards.read_clip(file, "zeros", None)


@pytest.fixture
def plan(tmp_path):
  """A function that returns all shards of a small set, and those done."""
  raw, work = tmp_path / "raw", tmp_path / "work"
  raw.mkdir()
  work.mkdir()
  for action in (1, 2):
    name = f"S001C001P001R001A{action:03}"
    text = raw_text.make_text(
      raw_text.make_frames(raw_text.make_joints(action))
    )
    (raw / f"{name}.skeleton").write_bytes(text)

  def make():
    found = raw_set.find(ntu60.NTU60, [raw])
    return convert._plan(
      ntu60.NTU60, found.files, work, convert.Options("zeros")
    )

  return make


@pytest.mark.parametrize(
  "change", ["records", "shorter", "label", "nested", "no seal", "list"]
)
def test_a_finished_shard_is_verified(plan, capsys, change):
  (part,), done = plan()
  assert not done
  result = shards.write(part)
  assert plan()[1] == {part: result}
  capsys.readouterr()
  if change in ("records", "shorter"):
    data = bytearray(part.path.read_bytes())
    data[200] ^= 1
    part.path.write_bytes(data if change == "records" else data[:-1])
  else:
    text = part.result_path.read_text()
    new = {
      "label": text.replace('"labels": [\n    0,', '"labels": [\n    5,'),
      "nested": "[" * 100_000,
      "no seal": text.replace('"seal"', '"other"'),
      "list": "[]",
    }[change]
    assert new != text
    part.result_path.write_text(new)
  assert plan()[1] == {} and not part.path.exists()
  said = capsys.readouterr().out
  assert said == "made again: 1 finished shard, damaged since\n"
  assert shards.write(part) == result


ODD = {"\x1b[31m": "\\x1b[31m", "\n": "\\n", "\u202e": "\\u202e"}
ODD[os.fsdecode(b"\xe4")] = "\\xe4"


@pytest.mark.parametrize("odd", ODD)
def test_odd_names_are_shown_escaped_and_refused(tmp_path, odd):
  options = reader.Options(skeletons.get("coco17"))
  (tmp_path / f"x{odd}.json").write_text('{"skeleton": []}')
  (line,) = reader.read_all(tmp_path, options).problems
  shown = f"x{ODD[odd]}.json: the file's name"
  assert shown in line and line.isprintable()
  (tmp_path / f"x{odd}.skeleton").touch()
  with pytest.raises(errors.DataError):
    raw_set.find(ntu60.NTU60, [tmp_path])
  (tmp_path / f"{NAME}.skeleton").touch()
  (line,) = raw_set.find(ntu60.NTU60, [tmp_path]).problems
  assert f"the name x{ODD[odd]} is not" in line and line.isprintable()
  (tmp_path / f"{NAME}.skeleton").unlink()
  with pytest.raises(errors.DataError) as error:
    nw_ucla.read_clips(tmp_path, collections.Counter())
  assert (
    str(error.value)
    .splitlines()[1]
    .endswith(f"x{ODD[odd]}.json: its name is not of the form a01_s01_e00_v01")
  )
  passed = collections.Counter([f".{odd}"])
  assert walk.describe(passed).isprintable()


def test_no_message_reaches_the_terminal_with_control_characters(capsys):
  def fail():
    raise errors.DataError("a\x1b]0;b\x07\nc")

  with pytest.raises(SystemExit):
    command.run(fail)
  assert capsys.readouterr().err == "error: a\\x1b]0;b\\x07\nc\n"
  error = FileNotFoundError(2, "No such file", "a\nb")
  assert command.describe(error) == "a\\nb: no such file"


def test_values_of_files_are_cut_to_a_line():
  deep = []
  for _ in range(500):
    deep = [deep]
  table = np.zeros((3, 3))
  for value in (deep, "x" * 10**6, [*range(10**5)], {"a": "\x1b" * 999}, table):
    assert (
      len(wording.quote(value)) < 400 and wording.quote(value).isprintable()
    )
  with pytest.raises(errors.DataError) as error:
    nw_ucla._parse_skeletons([[[0.0, 0.0, deep]] * 20])
  assert len(str(error.value)) < 200
  layout = {"name": "a", "joints": ["b"], "bones": [], "center": "b"}
  for key in (*layout, "dimensions", "base", "root", "keep", "computed"):
    with pytest.raises(errors.ConfigError) as error:
      content = {"dimensions": 3, **layout, key: ["x" * 9999]}
      skeletons.parse(json.dumps(content), "arm.json")
    assert len(str(error.value)) < 400 and str(error.value).isprintable()


ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def test_digits_are_ascii():
  with pytest.raises(errors.DataError, match="the name"):
    skeleton_file.parse_name(NAME.translate(ARABIC))
  with pytest.raises(errors.DataError, match="its name is not of the form"):
    nw_ucla.parse_clip(UCLA_NAME.translate(ARABIC), b"")
  segment = segments.Segment(0, 0, "3".translate(ARABIC), None)
  assert segment.cut("a", {"skeleton": [1]})["label"] == "٣"
  assert (
    segments.Segment(0, 0, "3", None).cut("a", {"skeleton": [1]})["label"] == 3
  )
  with pytest.raises(argparse.ArgumentTypeError, match="no whole number"):
    custom._count(0)("٣")


def test_no_expression_takes_other_digits():
  for name in ("sgcl_jax", "data_prep", "configs", "launch"):
    for path in (ROOT / name).rglob("*.py"):
      assert not re.search(r"\\[dD]", path.read_text("utf-8")), path


def test_numbers_of_thousands_of_digits(tmp_path):
  long = "9" * 5000
  assert labels.sort([f"a{long}", "a10", "a2", "a02"]) == [
    "a02",
    "a2",
    "a10",
    f"a{long}",
  ]
  path = tmp_path / "segments.csv"
  path.write_text(f"file,first,last,label\na,0,{long},b\n")
  with pytest.raises(errors.DataError, match="line 2: last is '9"):
    segments.read(path)
  segment = segments.Segment(0, 0, long, None)
  assert segment.cut("a", {"skeleton": [1]})["label"] == long
