# SPDX-License-Identifier: Apache-2.0
"""Digests of what a checkpoint holds, compared when it is read.

The file system and Orbax hand back a flipped bit without a word.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

# Names in the metadata of a checkpoint.
ARRAYS, OWN = "digests", "digest"


def add(
  metadata: Mapping[str, Any], trees: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns metadata with the digests of arrays and of themselves.

  Args:
    metadata: What JSON can hold.
    trees: Trees of arrays by the item that holds them.
  """
  arrays = {item: _of_tree(tree) for item, tree in trees.items()}
  return seal({**metadata, ARRAYS: arrays})


def seal(metadata: Mapping[str, Any]) -> dict[str, Any]:
  """Returns metadata with the digest of themselves."""
  rest = {key: value for key, value in metadata.items() if key != OWN}
  return {**rest, OWN: _of_json(rest)}


def find_damage(
  metadata: Mapping[str, Any], trees: Mapping[str, Any]
) -> str | None:
  """Returns what is not as it was saved, None if all is.

  Checkpoints of older versions have no digests and pass.

  Args:
    metadata: Metadata that were read.
    trees: Trees of arrays that were read, by item.
  """
  if OWN not in metadata and ARRAYS not in metadata:
    return None
  if metadata.get(OWN) != seal(metadata)[OWN]:
    return "metadata"
  for item, tree in trees.items():
    saved = metadata[ARRAYS][item]
    found = _of_tree(tree)
    for name in sorted(saved.keys() | found.keys()):
      if saved.get(name) != found.get(name):
        return f"{item}{name}"
  return None


def _of_tree(tree):
  """Returns name -> digest of each array."""
  import jax  # Not needed for metadata alone.

  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path): _of_array(leaf) for path, leaf in leaves}


def _of_array(x):
  array = np.ascontiguousarray(x)
  digest = hashlib.sha256(f"{array.dtype} {np.shape(x)} ".encode())
  digest.update(array.view(np.uint8).reshape(-1).data)
  return digest.hexdigest()[:32]


def _of_json(content):
  # As it comes back from a file: tuples are lists there.
  content = json.loads(json.dumps(content))
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
