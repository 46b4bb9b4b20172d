# SPDX-License-Identifier: Apache-2.0
"""Finding and reading raw files, in directories and archives."""

import zipfile

import pytest

from data_prep import ntu60
from data_prep.ntu import raw_files
from sgcl_jax import errors
from tests.data_prep.ntu import conversion


def test_archives_are_read_in_place(raw, tmp_path):
  """As the official ones: two archives, a folder in the first."""
  conversion.run(raw, tmp_path / "files")
  archives = tmp_path / "archives"
  archives.mkdir()
  for i, (name, path) in enumerate(
    sorted((path.stem, path) for path in raw.rglob("*.skeleton"))
  ):
    target = archives / f"{i % 2}.zip"
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
      folder = "" if i % 2 else "nturgb+d_skeletons/"
      archive.write(path, f"{folder}{name}.skeleton")
  conversion.run(archives, tmp_path / "folder")
  assert conversion.read_files(tmp_path / "folder") == conversion.read_files(
    tmp_path / "files"
  )
  ntu60.main(
    ["--raw", *map(str, sorted(archives.iterdir())), "--workers=1"]
    + ["--out", str(tmp_path / "both")]
  )
  assert conversion.read_files(tmp_path / "both") == conversion.read_files(
    tmp_path / "files"
  )


def test_copies_hidden_files_and_links(raw, tmp_path, capsys):
  """An archive beside its files, macOS's leftovers, a linked directory."""
  conversion.run(raw, tmp_path / "plain")
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
  for path in linked.glob("*.skeleton"):  # As Windows may write it.
    path.rename(path.with_suffix(".SKELETON"))
  (raw / "all.zip").rename(raw / "all.ZIP")
  (raw / "readme.txt").touch()
  capsys.readouterr()
  conversion.run(raw, tmp_path / "out")
  out = capsys.readouterr().out
  assert "left    2 copies of the same files" in out
  assert "left    2 other files (1 .txt, 1 hidden)" in out
  assert conversion.read_files(tmp_path / "out") == conversion.read_files(
    tmp_path / "plain"
  )


def test_a_damaged_member_is_reported(raw, tmp_path):
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
    conversion.run(archive, tmp_path / "out")
  assert f"{archive}/{info.filename}: cannot be read" in str(error.value)
  assert len(conversion.read(tmp_path / "out")) == 3
  archive.write_bytes(data[:-30])
  with pytest.raises(errors.DataError, match="cannot be opened as a .zip"):
    conversion.run(archive, tmp_path / "other")


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_refuses_what_holds_no_clips(tmp_path, name):
  (tmp_path / "empty").mkdir()
  with pytest.raises(errors.DataError, match=f"{name}.*--raw"):
    conversion.run(tmp_path / name, tmp_path / "out")


def test_a_raw_file_is_named_with_its_archive():
  file = raw_files.RawFile("a.zip", "x/S001C001P001R001A060.skeleton", 1, 2)
  assert str(file) == "a.zip/x/S001C001P001R001A060.skeleton"
  assert file.stem == "S001C001P001R001A060"
