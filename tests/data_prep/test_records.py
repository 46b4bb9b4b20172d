# SPDX-License-Identifier: Apache-2.0
"""Tests of the TFRecord writer."""

import numpy as np
import pytest

from data_prep import records, tfrecord
from sgcl_jax import errors

CLASSES = ("walk", "sit down", "carry")


def make_clip(name, label=0, num_frames=4, shape=(2, 5, 3)):
  rng = np.random.default_rng(sum(name.encode()))
  skeleton = rng.normal(size=(num_frames, *shape)).astype(np.float32)
  return tfrecord.Clip(name, label, skeleton)


def write(out, clips, **kwargs):
  about = records.Description("toy", CLASSES, num_persons=2, num_joints=5)
  return records.write_dataset(out, clips, about, **kwargs)


def read(out):
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(out)
  return builder, {
    split: list(tfds.as_numpy(builder.as_dataset(split=split)))
    for split in builder.info.splits
  }


def tree(root):
  return {
    path.relative_to(root): path.read_bytes() if path.is_file() else None
    for path in root.rglob("*")
  }


PAIRS = [
  ("test", make_clip("a", 2, 1)),
  ("train", make_clip("a_b", 0, 7)),
  ("test", make_clip("c", 1, 300)),
  ("train", make_clip("d", 1, 3)),
]


def test_reads_back_identically(tmp_path):
  out = tmp_path / "new" / "toy"
  assert write(out, iter(PAIRS)) == {"test": 2, "train": 2}
  builder, splits = read(out)
  assert builder.info.features["label"].names == list(CLASSES)
  assert builder.info.splits["train"].num_examples == 2
  assert builder.info.splits["train+test"].num_examples == 4
  for cell, examples in splits.items():
    clips = [clip for other, clip in PAIRS if other == cell]
    assert len(examples) == len(clips)
    for example, clip in zip(examples, clips, strict=True):
      assert example["name"].decode() == clip.name
      assert example["label"] == clip.label
      assert example["skeleton"].dtype == np.float32
      np.testing.assert_array_equal(example["skeleton"], clip.skeleton)


def test_encodes_as_protobuf_does():
  import tensorflow as tf

  for clip in (make_clip("a", 2, 1), make_clip("x" * 200, 119, 300)):
    values = clip.skeleton.ravel()
    example = tf.train.Example(
      features=tf.train.Features(
        feature={
          "label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[clip.label])
          ),
          "name": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[clip.name.encode()])
          ),
          "skeleton": tf.train.Feature(
            float_list=tf.train.FloatList(value=values)
          ),
        }
      )
    )
    expected = example.SerializeToString(deterministic=True)
    assert tfrecord.encode_clip(clip) == expected


def test_shards_by_size(tmp_path):
  pairs = [("train", make_clip(f"{i:02d}", 0, 10)) for i in range(7)]
  write(tmp_path / "toy", pairs, shard_bytes=3000)  # 1,200 bytes a clip.
  builder, splits = read(tmp_path / "toy")
  assert builder.info.splits["train"].shard_lengths == [2, 2, 2, 1]
  names = sorted(example["name"].decode() for example in splits["train"])
  assert names == [f"{i:02d}" for i in range(7)]


def test_equal_clips_make_equal_files(tmp_path):
  write(tmp_path / "1", PAIRS)
  write(tmp_path / "2", PAIRS)
  assert tree(tmp_path / "1") == tree(tmp_path / "2")


@pytest.mark.parametrize(
  ("clip", "message"),
  [
    (make_clip("a"), "a comes twice"),
    (make_clip("A"), "A comes after d"),
    (make_clip("z", label=3), "label 3 of 3 classes"),
    (make_clip("z", label=-1), "label -1"),
    (make_clip("z", num_frames=0), "shape"),
    (make_clip("z", shape=(1, 5, 3)), "shape"),
    (tfrecord.Clip("z", 0, np.ones((2, 2, 5, 3))), "float32"),
    (
      tfrecord.Clip("z", 0, np.full((1, 2, 5, 3), np.inf, np.float32)),
      "finite",
    ),
  ],
)
def test_refuses_a_bad_clip_and_leaves_nothing(tmp_path, clip, message):
  with pytest.raises(errors.DataError, match=message):
    write(tmp_path / "new" / "toy", [*PAIRS, ("train", clip)])
  assert not tree(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_leaves_nothing_after_any_error(tmp_path, error):
  def clips():
    yield from PAIRS
    raise error

  write(tmp_path / "toy", PAIRS[:1])
  before = tree(tmp_path)
  with pytest.raises(error):
    write(tmp_path / "other", clips())
  with pytest.raises(error):
    write(tmp_path / "toy", clips(), overwrite=True)
  assert tree(tmp_path) == before


def test_refuses_no_clips(tmp_path):
  with pytest.raises(errors.DataError, match="no clip"):
    write(tmp_path / "toy", [])
  assert not tree(tmp_path)


def test_refuses_an_existing_destination(tmp_path):
  write(tmp_path / "toy", PAIRS[:1])
  before = tree(tmp_path)
  with pytest.raises(errors.DataError, match="toy exists.*--overwrite"):
    write(tmp_path / "toy", PAIRS)
  assert tree(tmp_path) == before


def test_overwrites_a_data_set(tmp_path):
  write(tmp_path / "toy", PAIRS[:1])
  assert write(tmp_path / "toy", PAIRS, overwrite=True) == {
    "test": 2,
    "train": 2,
  }
  assert [path.name for path in tmp_path.iterdir()] == ["toy"]
  _, splits = read(tmp_path / "toy")
  assert {cell: len(examples) for cell, examples in splits.items()} == {
    "test": 2,
    "train": 2,
  }


@pytest.mark.parametrize("name", ["toy/thesis.tex", "toy"])
def test_never_overwrites_what_is_no_data_set(tmp_path, name):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  path.write_text("precious")
  with pytest.raises(errors.DataError, match="--out"):
    write(tmp_path / "toy", PAIRS, overwrite=True)
  assert path.read_text() == "precious"
