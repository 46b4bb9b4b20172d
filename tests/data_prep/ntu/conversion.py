# SPDX-License-Identifier: Apache-2.0
"""Converts small sets, and reads the result with TensorFlow."""

import json

from data_prep import ntu60
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


def run(raw, out, *args, module=ntu60):
  module.main(["--raw", str(raw), "--out", str(out), "--workers=1", *args])


def read(out):
  """Returns name -> clip of a data set."""
  return {
    name: clip
    for clips in read_cells(out).values()
    for name, clip in clips.items()
  }


def read_cells(out):
  """Returns cell -> name -> clip of a data set."""
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(out)
  return {
    cell: {
      clip["name"].decode(): clip
      for clip in tfds.as_numpy(builder.as_dataset(split=cell))
    }
    for cell in builder.info.splits
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
