# SPDX-License-Identifier: Apache-2.0
"""A record that survives a kill, each step once."""

import pytest
from tensorboardX.proto import event_pb2

from sgcl_jax import errors
from sgcl_jax.runs import record


def test_a_record_holds_each_step_once(tmp_path):
  recorder = record.Recorder(tmp_path, 0, 0)
  for step in (1, 2, 3):
    recorder.write("train", step, 1, loss=1.0 / step)
  recorder.close()
  with (tmp_path / "record.jsonl").open("a") as file:
    file.write('{"step": 4, "loss"')
  recorder = record.Recorder(tmp_path, 2, 1)
  recorder.write("train", 3, 2, loss=0.5)
  recorder.write("test", 3, 2, top1=50.0)
  recorder.close()
  lines = record.read(tmp_path)
  assert [(line["step"], line["split"]) for line in lines] == [
    (1, "train"),
    (2, "train"),
    (3, "train"),
    (3, "test"),
  ]
  assert lines[2] == {"step": 3, "epoch": 2, "split": "train", "loss": 0.5}


def test_a_test_that_the_checkpoint_lacks_is_dropped(tmp_path):
  """A run may stop between the last step of an epoch and its test."""
  recorder = record.Recorder(tmp_path, 0, 0)
  recorder.write("train", 3, 1, loss=1.0)
  recorder.write("test", 3, 1, top1=50.0)
  recorder.close()
  record.Recorder(tmp_path, 3, 1).close()
  assert len(record.read(tmp_path)) == 2
  record.Recorder(tmp_path, 3, 0).close()
  assert [line["split"] for line in record.read(tmp_path)] == ["train"]


@pytest.mark.parametrize("damage", ["not JSON", "3", '{"step": 4}'])
def test_a_damaged_line_is_named(tmp_path, damage):
  recorder = record.Recorder(tmp_path, 0, 0)
  recorder.write("train", 1, 1, loss=1.0)
  recorder.close()
  path = tmp_path / record.NAME
  text = path.read_text() + f"{damage}\n"
  path.write_text(text)
  with pytest.raises(errors.WorkdirError, match="jsonl, line 2 is damaged"):
    record.read(tmp_path)
  with pytest.raises(errors.WorkdirError, match="jsonl, line 2 is damaged"):
    record.Recorder(tmp_path, 1, 1)
  assert path.read_text() == text


def test_tensorboard_reads_the_events(tmp_path):
  import tensorflow as tf

  recorder = record.Recorder(tmp_path, 0, 0)
  recorder.write("train", 7, 1, loss=0.25, accuracy=0.5)
  recorder.close()
  (path,) = tmp_path.glob("events.out.tfevents*")
  found = {}
  for item in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
    event = event_pb2.Event.FromString(item)
    for value in event.summary.value:
      found[value.tag] = (event.step, value.simple_value)
  assert found == {"train/loss": (7, 0.25), "train/accuracy": (7, 0.5)}


def test_no_record_is_empty(tmp_path):
  assert record.read(tmp_path) == []
