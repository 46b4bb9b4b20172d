# SPDX-License-Identifier: Apache-2.0
"""Files are replaced whole or not at all; a directory has one writer."""

import json

import pytest

from sgcl_jax import errors
from sgcl_jax.runs import files


def test_a_file_is_replaced_whole(tmp_path):
  path = tmp_path / "new" / "x.json"
  files.write_json(path, {"a": "é"})
  assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é"}
  files.write_text(path, "b")
  assert path.read_text() == "b"
  assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path):
  path = tmp_path / "x.npz"
  path.write_text("old")
  with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
    assert partial.suffix == ".npz" and partial.parent == tmp_path
    partial.write_text("half")
    raise KeyboardInterrupt
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def test_a_directory_has_one_writer(tmp_path):
  refusal = errors.WorkdirError("taken")
  with (
    files.claim(tmp_path, refusal),
    pytest.raises(errors.WorkdirError, match="taken"),
    files.claim(tmp_path, refusal),
  ):
    pass
  with files.claim(tmp_path, refusal):
    pass
