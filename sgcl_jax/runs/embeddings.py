# SPDX-License-Identifier: Apache-2.0
"""The embeddings of a run: graphs, features and poses of the test clips."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from sgcl_jax import errors
from sgcl_jax.runs import files, scores


class Embeddings(NamedTuple):
  """What a backbone saw in the n clips of a split, in the order of the scores.

  Attributes:
    names: [n] clip names.
    logits: [n, L] float32, raw; equal to those of the score file.
    graphs: [n, S, V, V] float32, averaged as the backbone returns them.
    poses: [n, V, C] float32, one frame of the first person as it is stored.
    features: [n, F] float32, pooled, before the classifier; None if the
      backbone does not sow them.
  """

  names: np.ndarray
  logits: np.ndarray
  graphs: np.ndarray
  poses: np.ndarray
  features: np.ndarray | None = None


def find_path(
  workdir: str | os.PathLike, record: dict[str, Any]
) -> pathlib.Path:
  """Returns the path of a run's embeddings, which is beside its scores.

  Args:
    workdir: Directory of the run.
    record: Config of the run.
  """
  path = scores.find_path(workdir, record)
  return path.with_name(f"{path.stem}_embeddings.npz")


def write(path: pathlib.Path, embeddings: Embeddings) -> None:
  """Writes a file of embeddings whole or not at all."""
  arrays = {k: v for k, v in embeddings._asdict().items() if v is not None}
  with files.replacing(path) as partial:
    np.savez(partial, **arrays)


def read(path: str | os.PathLike) -> Embeddings:
  """Reads a file of embeddings.

  Raises:
    DataError: If it is missing or damaged.
  """
  try:
    with files.open_arrays(path) as arrays:
      known = [name for name in Embeddings._fields if name in arrays.files]
      return Embeddings(**{name: arrays[name] for name in known})
  except FileNotFoundError as error:
    raise errors.DataError(f"there is no file {path}") from error
  except files.DAMAGED_ARRAYS as error:
    raise errors.DataError(
      f"{path} is damaged or holds no embeddings ({error}); evaluate that run"
      " again with --save_embeddings"
    ) from error
