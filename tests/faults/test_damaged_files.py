# SPDX-License-Identifier: Apache-2.0
"""Damaged data sets, logs and summaries: one line each, nothing silent."""

import json
import shutil

import numpy as np
import pytest

from sgcl_jax import errors, evaluate, input_pipeline
from sgcl_jax.dataset import data_files
from sgcl_jax.runs import record, workdir

NUM_FLIPS = 12  # In each file.


def load(data):
  return input_pipeline.load(data, "train").digest(content=True)


def make_damaged(content, rng):
  """Yields the content with one bit flipped, cut, empty and missing."""
  for bit in rng.integers(len(content) * 8, size=NUM_FLIPS):
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << int(bit % 8)
    yield bytes(flipped)
  yield from (content[: len(content) // 2], b"", None)


def write(path, content):
  if content is None:
    path.unlink()
  else:
    path.write_bytes(content)


@pytest.mark.parametrize("is_old", [False, True], ids=["", "no checksums"])
def test_no_damage_to_a_data_set_is_silent(tmp_path, tiny_data, is_old):
  """Without checksums, class names and metadata cannot be told."""
  data = shutil.copytree(tiny_data, tmp_path / "data")
  expected = load(data)
  if is_old:
    (data / data_files.CHECKSUMS).unlink()
  rng = np.random.default_rng(0)
  for path in sorted(data.iterdir()):
    if path.name.startswith("tiny-test"):
      continue
    content = path.read_bytes()
    for damaged in make_damaged(content, rng):
      write(path, damaged)
      try:
        found = load(data)
      except errors.DataError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
      else:
        unknown = path.name.endswith(".labels.txt") or path.name in (
          "metadata.json",
          "dataset_info.json",
        )
        assert found == expected or (is_old and unknown), path
      path.write_bytes(content)


def test_a_changed_file_is_named(tmp_path, tiny_data):
  data = shutil.copytree(tiny_data, tmp_path / "data")
  labels = data / "label.labels.txt"
  labels.write_text(labels.read_text().replace("class 3", "class three"))
  with pytest.raises(errors.DataError, match="label.labels.txt is damaged, or"):
    load(data)
  labels.unlink()
  with pytest.raises(errors.DataError, match="label.labels.txt is missing"):
    load(data)


def make_log(path, num_steps):
  recorder = record.Recorder(path, 0, 0)
  for step in range(1, num_steps + 1):
    recorder.write("train", step, 1, loss=1.0)
  recorder.write("test", num_steps, 1, top1=50.0)
  recorder.close()
  return path / record.NAME


def test_a_damaged_log_is_one_line(tmp_path, capsys):
  path = make_log(tmp_path, 4)
  content = path.read_bytes()
  lines = content.splitlines(keepends=True)
  for damaged in (lines[1][:9] + b"\n", b"\xff" + lines[1][1:], b"[]\n"):
    path.write_bytes(b"".join([lines[0], damaged, *lines[2:]]))
    with pytest.raises(
      errors.WorkdirError, match="metrics.jsonl, line 2 is damaged: what it"
    ):
      record.Recorder(tmp_path, 4, 1)
    assert evaluate.best_on_test(tmp_path, 1) is None
    assert "best_epoch_on_test is left out" in capsys.readouterr().err
  path.write_bytes(content)
  assert evaluate.best_on_test(tmp_path, 1) == {"epoch": 1, "top1": 50.0}


def test_a_log_with_gaps_is_noticed(tmp_path, capsys):
  path = make_log(tmp_path, 4)
  record.Recorder(tmp_path, 4, 1).close()
  assert capsys.readouterr().err == ""
  path.write_text("".join(path.read_text().splitlines(keepends=True)[2:]))
  record.Recorder(tmp_path, 4, 1).close()
  assert "no line for 2 of 4 steps" in capsys.readouterr().err
  path.unlink()
  record.Recorder(tmp_path, 4, 1).close()
  assert "no line for 4 of 4 steps" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_a_damaged_summary_is_one_line(tmp_path, text):
  (tmp_path / workdir.SUMMARY).write_text(text)
  with pytest.raises(
    errors.WorkdirError, match="summary.json is damaged .* evaluate again"
  ):
    workdir.read_summary(tmp_path)
  (tmp_path / workdir.SUMMARY).write_text(json.dumps({"top1": 1.0}))
  assert workdir.read_summary(tmp_path) == {"top1": 1.0}
