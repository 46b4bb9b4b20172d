# SPDX-License-Identifier: Apache-2.0
"""Which files a converter takes, and what it says of the others."""

import collections

import pytest

from data_prep import ctrgcn_npz, custom, ntu60, nw_ucla, pyskl, walk
from sgcl_jax import errors


@pytest.fixture
def root(tmp_path):
  root = tmp_path / "root"
  for name in ("a.npz", "b.NPZ", "c.txt", ".d.npz", "in/e.Json", ".git/f.npz"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "elsewhere" / "g.npz").touch()
  (tmp_path / "elsewhere" / "README").touch()
  (root / "link").symlink_to(tmp_path / "elsewhere")
  (root / "link" / "back").symlink_to(root)
  (root / "dir.npz").mkdir()
  return root


def test_linked_folders_and_any_case(root):
  passed = collections.Counter()
  found = walk.files(root, (".npz", ".json"), passed)
  names = [str(path.relative_to(root)) for path in found]
  assert names == ["a.npz", "b.NPZ", "in/e.Json", "link/g.npz"]
  assert passed == {".txt": 1, "hidden": 1, "without a suffix": 1}
  text = "3 other files (1 .txt, 1 hidden, 1 without a suffix)"
  assert walk.describe(passed) == text


def test_a_file_is_taken_whatever_its_name(root):
  passed = collections.Counter()
  assert [*walk.files(root / "c.txt", (".npz",), passed)] == [root / "c.txt"]
  assert not passed


def test_one_file():
  assert walk.describe(collections.Counter([".txt"])) == "1 other file (1 .txt)"


@pytest.mark.parametrize("module", [ctrgcn_npz, custom, ntu60, nw_ucla, pyskl])
def test_a_misspelt_raw_comes_before_an_out_that_is_taken(module, tmp_path):
  """Another --out, or --overwrite, would not put it right."""
  for name in ("my_clips", "out"):
    (tmp_path / name).mkdir()
  args = ["--raw", f"{tmp_path}/my_clip", "--out", f"{tmp_path}/out"]
  args += ["--layout", "coco17"] if module is custom else []
  near = f"/my_clip does not exist: did you mean {tmp_path}/my_clips[?] --raw"
  with pytest.raises(errors.DataError, match=near):
    module.main(args)
  with pytest.raises(errors.DataError, match="none/x does not exist: --raw is"):
    module.main(["--raw", f"{tmp_path}/none/x", *args[2:]])
