# SPDX-License-Identifier: Apache-2.0
"""Opens a data set, whose small files are known by their checksums.

TFRecords have checksums of their own.
"""

import hashlib
import json
import os
import pathlib
from typing import Any

from sgcl_jax import errors
from sgcl_jax.terminal import wording

CHECKSUMS = "checksums.json"
PATTERNS = (
  "dataset_info.json",
  "features.json",
  "metadata.json",
  "*.labels.txt",
)


def open_builder(data_dir: str | os.PathLike) -> Any:
  """Returns the `tfds.core.DatasetBuilder` of a data set of `data_prep`.

  Raises:
    MisfitError: If it is a data set, but not one of `data_prep`.
    DataError: If there is none, or if a file is damaged or missing.
  """
  # Imported late, as it takes half a second. It imports TensorFlow only for
  # functions that are not used here.
  import tensorflow_datasets as tfds

  path = pathlib.Path(data_dir)
  if not is_dataset(path):
    raise errors.DataError(f"no data set in {path}")
  _check(path)
  try:
    builder = tfds.builder_from_directory(str(path))
    info = builder.info
    found = set(info.features)
    # Read or parsed on demand.
    _ = info.metadata, [split.filepaths for split in info.splits.values()]
  except Exception as error:  # From protobuf or json, among others.
    reason = wording.in_one_line(error)[:120]
    raise errors.DataError(f"{path} is damaged ({reason})") from error
  if found != {"label", "name", "skeleton"}:
    raise errors.MisfitError(f"{path} is not a data set of data_prep")
  return builder


def is_dataset(path: str | os.PathLike) -> bool:
  """Tells whether a directory holds a data set, perhaps a damaged one."""
  return (pathlib.Path(path) / "dataset_info.json").exists()


def write_checksums(directory: pathlib.Path) -> None:
  """Writes the checksums of a new data set."""
  content = {path.name: _hash(path) for path in _find(directory)}
  text = json.dumps(content, indent=2) + "\n"
  (directory / CHECKSUMS).write_text(text, encoding="utf-8")


def _check(directory):
  path = directory / CHECKSUMS
  if not path.exists():  # Of an older version.
    return
  try:
    expected = json.loads(path.read_text(encoding="utf-8"))
    found = {path.name: _hash(path) for path in _find(directory)}
    changed = {
      name
      for name in expected.keys() | found.keys()
      if expected.get(name) != found.get(name)
    }
  except (ValueError, AttributeError) as error:
    raise errors.DataError(f"{path} is damaged") from error
  if changed:
    name = min(changed)
    state = "damaged, or it was changed" if name in found else "missing"
    raise errors.DataError(f"{directory / name} is {state}")


def _find(directory):
  paths = {p for pattern in PATTERNS for p in directory.glob(pattern)}
  return sorted(paths)


def _hash(path):
  return hashlib.sha256(path.read_bytes()).hexdigest()
