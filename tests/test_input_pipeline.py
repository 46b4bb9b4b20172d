# SPDX-License-Identifier: Apache-2.0
"""Clips, their order, and damaged data sets."""

import dataclasses
import hashlib
import json
import shutil
import struct
import tracemalloc

import numpy as np
import pytest

from data_prep import records
from data_prep import tfrecord as writer
from sgcl_jax import errors, input_pipeline
from sgcl_jax.dataset import data_files, order, tfrecord


def copy_data(data, tmp_path):
  copy = tmp_path / "data"
  shutil.copytree(data, copy)
  return copy


def find_shard(data):
  """Returns the only file of the training split."""
  (path,) = data.glob("*train.tfrecord*")
  return path


@pytest.fixture
def clips(tiny_data):
  return input_pipeline.load(tiny_data, "train")


def test_whole_clips_are_read(tiny_data, clips):
  read = list(input_pipeline.read_clips(tiny_data, "train"))
  assert len(read) == len(clips) == 48
  assert clips.class_names == tuple(f"class {i}" for i in range(10))
  for i, clip in enumerate(sorted(read, key=lambda clip: clip["name"])):
    assert clip["name"] == clips.names[i] == f"train_{i:03}"
    assert clip["label"] == clips.labels[i] == i % 10
    np.testing.assert_array_equal(clip["skeleton"], clips.skeletons[i])
    assert clip["skeleton"].shape[1:] == (1, 20, 3)


def test_tensorflow_reads_what_is_read_here(tiny_data):
  import tensorflow_datasets as tfds

  ours = list(input_pipeline.read_clips(tiny_data, "train"))
  builder = tfds.builder_from_directory(tiny_data)
  theirs = list(tfds.as_numpy(builder.as_dataset(split="train")))
  assert len(ours) == len(theirs) == 48
  for clip, expected in zip(ours, theirs, strict=True):
    assert clip["name"] == expected["name"].decode()
    assert clip["label"] == expected["label"]
    assert clip["skeleton"].dtype == expected["skeleton"].dtype == np.float32
    np.testing.assert_array_equal(clip["skeleton"], expected["skeleton"])


def test_what_tensorflow_writes_is_read(tmp_path, tiny_data):
  import tensorflow as tf
  import tensorflow_datasets as tfds

  copy = copy_data(tiny_data, tmp_path)
  features = tfds.builder_from_directory(copy).info.features
  expected = list(input_pipeline.read_clips(copy, "train"))
  path = find_shard(copy)
  path.unlink()
  with tf.io.TFRecordWriter(str(path)) as file:
    for clip in expected:
      file.write(features.serialize_example(features.encode_example(clip)))
  found = list(input_pipeline.read_clips(copy, "train"))
  assert len(found) == 48
  for clip, other in zip(found, expected, strict=True):
    assert clip.keys() == other.keys()
    assert (clip["name"], clip["label"]) == (other["name"], other["label"])
    np.testing.assert_array_equal(clip["skeleton"], other["skeleton"])


def test_shards_are_read_in_order(tmp_path):
  rng = np.random.default_rng(0)
  about = records.Description("toy", ["a"], num_persons=1, num_joints=5)
  pairs = [
    ("train", writer.Clip(f"{i:02}", 0, rng.random((10, 1, 5, 3), np.float32)))
    for i in range(7)
  ]
  records.write_dataset(tmp_path / "toy", pairs, about, shard_bytes=1500)
  assert len(list((tmp_path / "toy").glob("*.tfrecord-*"))) == 4
  clips = input_pipeline.read_clips(tmp_path / "toy", "train")
  for clip, (_, expected) in zip(clips, pairs, strict=True):
    assert clip["name"] == expected.name
    np.testing.assert_array_equal(clip["skeleton"], expected.skeleton)


def test_an_epoch_visits_every_clip_equally_often(clips):
  batches = list(
    input_pipeline.train_batches(
      clips, seed=0, epoch=0, repeats=2, batch_size=32
    )
  )
  index = np.concatenate([batch["index"] for batch in batches])
  np.testing.assert_array_equal(np.sort(index), np.arange(96))
  for batch in batches:
    rows = batch["index"] % 48
    np.testing.assert_array_equal(batch["label"], clips.labels[rows])
    np.testing.assert_array_equal(batch["position"], np.arange(32))
    for i, row in enumerate(rows):
      count = batch["num_frames"][i]
      np.testing.assert_array_equal(
        batch["skeleton"][i, :count], clips.skeletons[row]
      )
      assert not batch["skeleton"][i, count:].any()


def test_the_order_depends_on_seed_and_epoch_alone(clips):
  def order(seed, epoch):
    return [
      tuple(batch["index"])
      for batch in input_pipeline.train_batches(
        clips, seed=seed, epoch=epoch, repeats=1, batch_size=10
      )
    ]

  assert order(0, 0) == order(0, 0)
  assert len({tuple(order(s, e)) for s in (0, 1) for e in (0, 1)}) == 4
  assert len(order(0, 0)) == 4  # The last 8 clips are dropped.


def test_evaluation_sees_every_clip_once(clips):
  seen = []
  for rows, batch in input_pipeline.eval_batches(clips, 7):
    assert len(batch["label"]) == 7
    np.testing.assert_array_equal(
      batch["label"][: len(rows)], clips.labels[rows]
    )
    assert batch["num_frames"].min() >= 1
    seen += list(rows)
  assert seen == list(range(48))


@pytest.mark.parametrize("num", [2, 3])
def test_the_rows_of_processes_make_the_batch(clips, num):
  """Also where the last one has padding alone, and as long as the others'."""

  def join(batches):
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}

  shares = [slice(i * 6 // num, (i + 1) * 6 // num) for i in range(num)]
  order = {"seed": 3, "epoch": 1, "repeats": 1, "batch_size": 6, "first": 2}
  whole = list(input_pipeline.train_batches(clips, **order))
  parts = [input_pipeline.train_batches(clips, **order, rows=s) for s in shares]
  for batch, *own in zip(whole, *parts, strict=True):
    for key, value in join(own).items():
      np.testing.assert_array_equal(value, batch[key])
  whole = list(input_pipeline.eval_batches(clips, 6))
  parts = [input_pipeline.eval_batches(clips, 6, rows) for rows in shares]
  for (numbers, batch), *own in zip(whole, *parts, strict=True):
    assert all((other == numbers).all() for other, _ in own)
    for key, value in join([b for _, b in own]).items():
      np.testing.assert_array_equal(value, batch[key])


def test_protocols_are_sums_of_cells(tmp_path, make_data):
  data = make_data(
    {
      "xsub_train_xview_train": 3,
      "xsub_train_xview_test": 2,
      "xsub_test_xview_train": 1,
    }
  )
  for split, count in {
    "xsub_train": 5,
    "xsub_test": 1,
    "xview_train": 4,
    "xview_test": 2,
  }.items():
    assert len(input_pipeline.load(data, split)) == count


def test_a_part_without_its_protocol_is_refused(make_data):
  data = make_data({"xsub_train_xview_train": 1, "xsub_train_xview_test": 1})
  for split in ("train", "xsub", "xset_train"):
    with pytest.raises(errors.DataError, match=f"no split '{split}'"):
      input_pipeline.load(data, split)


def test_a_foreign_or_cut_description_is_named(tmp_path, tiny_data):
  copy = copy_data(tiny_data, tmp_path)
  path = copy / "dataset_info.json"
  path.write_text(path.read_text()[:50])
  with pytest.raises(errors.DataError, match="dataset_info.json is damaged"):
    input_pipeline.load(copy, "train")
  (copy / data_files.CHECKSUMS).unlink()  # As in older data sets.
  with pytest.raises(errors.DataError, match=f"{copy} is damaged"):
    input_pipeline.load(copy, "train")


def test_missing_data_and_splits_are_named(tmp_path, tiny_data):
  with pytest.raises(errors.DataError, match="no data set in .*absent"):
    input_pipeline.load(tmp_path / "absent", "train")
  with pytest.raises(
    errors.DataError, match="no split 'xset_train'; it has test, train"
  ):
    input_pipeline.load(tiny_data, "xset_train")


@pytest.mark.parametrize("damage", ["cut", "cut_between", "flip", "remove"])
def test_a_damaged_file_is_named(tmp_path, tiny_data, damage):
  copy = copy_data(tiny_data, tmp_path)
  path = find_shard(copy)
  content = path.read_bytes()
  if damage == "cut":
    path.write_bytes(content[:-100])
  elif damage == "cut_between":
    length = int.from_bytes(content[:8], "little")
    path.write_bytes(content[: length + 16])  # The first record alone.
  elif damage == "flip":
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 255])
    path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
  else:
    path.unlink()
  with pytest.raises(errors.DataError) as caught:
    input_pipeline.load(copy, "train")
  message = str(caught.value)
  assert path.name in message and "convert the raw files again" in message
  assert "\n" not in message


@pytest.mark.parametrize("change", [-1, 1])
def test_the_metadata_count_the_clips(tmp_path, tiny_data, change):
  copy = copy_data(tiny_data, tmp_path)
  path = copy / "dataset_info.json"
  info = json.loads(path.read_text())
  for split in info["splits"]:
    if split["name"] == "train":
      split["shardLengths"] = [str(48 + change)]
  path.write_text(json.dumps(info))
  (copy / data_files.CHECKSUMS).unlink()
  what = {-1: "bytes follow the last of 47", 1: "ends after 48 of 49 records"}
  with pytest.raises(errors.DataError, match=what[change]) as caught:
    input_pipeline.load(copy, "train")
  assert find_shard(copy).name in str(caught.value)


def test_a_record_that_is_no_clip_is_named(tmp_path, tiny_data):
  copy = copy_data(tiny_data, tmp_path)
  path = find_shard(copy)
  frames = np.ones((3, 1, 20, 3), np.float32)
  clip = writer.encode_clip(writer.Clip("tiny", 0, frames))
  second = len(clip) + 16
  for payload in (
    b"no protobuf",
    b"",  # An example without features.
    clip.replace(b"label", b"lapel"),
    clip.replace(b"tiny", b"t\xffny"),
    writer.encode_clip(writer.Clip("tiny", 0, frames[:, :, :7])),
  ):
    path.write_bytes(frame(clip) + frame(payload))
    read = input_pipeline.read_clips(copy, "train")
    assert next(read)["name"] == "tiny"
    with pytest.raises(errors.DataError) as caught:
      next(read)
    message = str(caught.value)
    assert f"{path} is damaged at byte {second}: a record is not a" in message
    assert "convert the raw files again" in message and "\n" not in message


def frame(payload):
  length = struct.pack("<Q", len(payload))
  checksums = tfrecord.checksum(length), tfrecord.checksum(payload)
  return length + checksums[0] + payload + checksums[1]


def test_what_is_drawn_is_what_the_batches_hold(clips):
  fixed = {"seed": 3, "repeats": 2, "batch_size": 7}  # 5 of 96 are dropped.
  drawn = order.count_drawn(clips.labels, 11, num_epochs=2, **fixed)
  batches = [
    batch
    for epoch in range(2)
    for batch in input_pipeline.train_batches(clips, epoch=epoch, **fixed)
  ]
  labels = np.concatenate([batch["label"] for batch in batches])
  index = np.concatenate([batch["index"] for batch in batches])
  assert len(labels) == 2 * 91
  rows = np.unique(index) % len(clips)
  for ours, theirs in (
    (drawn.clips, clips.labels),
    (drawn.visits, labels),
    (drawn.rows, clips.labels[rows]),
  ):
    np.testing.assert_array_equal(ours, np.bincount(theirs, minlength=11))


def make_clips(lengths):
  rng = np.random.default_rng(0)
  return input_pipeline.Clips(
    names=np.array([f"{i:03}" for i in range(len(lengths))]),
    labels=np.arange(len(lengths), dtype=np.int32) % 10,
    skeletons=[rng.random((n, 1, 20, 3), np.float32) for n in lengths],
    class_names=tuple(map(str, range(10))),
    metadata={},
  )


def test_one_long_clip_pads_its_batch_alone(tiny):
  clips = make_clips([200, 5000, 30, 300, *[50] * 60])
  fixed = {"seed": 0, "epoch": 0, "repeats": 1, "batch_size": 8}
  lengths = []
  for batch in input_pipeline.train_batches(clips, **fixed):
    lengths.append(batch["skeleton"].shape[1])
    long = lengths[-1] == 5000
    assert long == (5000 in batch["num_frames"]) == (1 in batch["index"])
    for i, row in enumerate(batch["index"]):
      clip = clips.skeletons[row]
      assert batch["num_frames"][i] == len(clip)
      np.testing.assert_array_equal(batch["skeleton"][i, : len(clip)], clip)
      assert not batch["skeleton"][i, len(clip) :].any()
  assert sorted(lengths) == [313] * 7 + [5000]
  batches = [batch for _, batch in input_pipeline.eval_batches(clips, 8)]
  lengths = [batch["skeleton"].shape[1] for batch in batches]
  assert lengths == [5000] + [313] * 7
  (notice,) = tiny(batch_size=8).source.notices(clips, make_clips([300] * 10))
  assert "has 5,000 frames: batches are padded to 313 or 5,000" in notice


def test_clips_are_in_memory_once(tmp_path):
  about = records.Description("toy", ["a"], num_persons=2, num_joints=25)
  frames = np.random.default_rng(0).random((80, 2, 25, 3), np.float32)
  pairs = [("train", writer.Clip(f"{i:03}", 0, frames)) for i in range(400)]
  records.write_dataset(tmp_path / "toy", pairs, about)
  input_pipeline.read_dataset_info(tmp_path / "toy")  # Imports come first.
  tracemalloc.start()
  try:
    clips = input_pipeline.load(tmp_path / "toy", "train")
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  size = sum(clip.nbytes for clip in clips.skeletons)
  assert size == 400 * frames.nbytes
  assert size < peak < 1.2 * size


@pytest.mark.parametrize(
  "lengths, expected",
  [
    ([50, 300], [300]),  # NTU RGB+D.
    ([50, 1000], [1000]),
    ([50, 1100], [275, 1100]),
    ([900, 4000], [1000, 4000]),
    ([10, 300, 20_000], [313, 20_000]),
    ([4000, 4001], [4001]),
  ],
)
def test_batches_have_few_lengths(lengths, expected):
  clips = make_clips(lengths)
  assert clips.padded_lengths.tolist() == expected
  for i, length in enumerate(lengths):
    padded = clips.padded_frames(np.array([i]))
    assert padded == min(n for n in expected if n >= length)


def test_the_digest_is_of_all_frames_in_a_row():
  """Checkpoints store it: another order or form would be other data."""
  clips = make_clips([3, 1, 4])
  digest = hashlib.sha256(b"000 001 002")
  digest.update(np.array([0, 1, 2], "<i4"))
  digest.update(np.array([0, 3, 4, 8], "<i8"))
  digest.update(b"{}")
  assert clips.digest() == digest.hexdigest()
  digest.update(np.concatenate(clips.skeletons).astype("<f4"))
  digest.update(json.dumps(list(map(str, range(10)))).encode())
  assert clips.digest(content=True) == digest.hexdigest()


def test_lost_clips_and_empty_classes_are_noticed(clips, tiny):
  """More than a tenth of an epoch, or a class without a clip."""
  assert len(clips) == 48 and set(clips.labels) == set(range(10))

  def notices(repeats, batch_size, train=clips, test=clips):
    fields = {"data.repeats": repeats, "batch_size": batch_size}
    return tiny(**fields).source.notices(train, test)

  assert notices(1, 24) == notices(1, 44) == notices(5, 40) == []
  (lost,) = notices(1, 43)
  assert "drops 5 of 48 clips" in lost and "config.data.repeats" in lost
  few = dataclasses.replace(clips, labels=np.minimum(clips.labels, 8))
  assert notices(1, 24, test=few) == ["split test has no clip of class 9"]
  few = dataclasses.replace(clips, labels=np.minimum(clips.labels, 3))
  (message,) = notices(1, 24, train=few)
  assert message.endswith(
    "class 4, class 5, class 6, class 7, class 8 and 1 more"
  )
