# SPDX-License-Identifier: Apache-2.0
"""Reads a pickle of plain values and NumPy arrays; runs nothing else of it.

A pickle is a program: it may import any function and call it. Here it can name
only what NumPy itself writes for an array of numbers or a number.
"""

import contextlib
import pathlib
import pickle
import resource
from collections.abc import Callable
from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.terminal import wording

# Numbers, truth values and texts; above all no objects.
KINDS = "biufSU"


def load(path: pathlib.Path) -> Any:
  """Reads a pickle into memory, which takes about the size of the file.

  Raises:
    DataError: The file is no pickle, is damaged, or names anything but an array
      of numbers. The message has that name, and nothing of it was run.
  """
  if not path.is_file():
    raise errors.DataError(f"{path} is no file: pass a .pkl file as --raw")
  try:
    with path.open("rb") as file, _limited(16 * path.stat().st_size + 2**30):
      return _Unpickler(file).load()
  except _Refused as error:
    raise errors.DataError(
      f"{path} holds {wording.show(str(error))}, which is no array of numbers;"
      " nothing of the file was run. Save it again with lists, numbers, texts"
      " and NumPy arrays"
    ) from error
  except OSError:
    raise
  except MemoryError as error:
    raise errors.DataError(
      f"{path} does not fit into memory, or it is damaged: it takes about as"
      " much as the file is large, and gets at most 16 times that and 1 GiB"
    ) from error
  except Exception as error:  # A damaged pickle raises almost anything.
    reason = wording.in_one_line(error)
    raise errors.DataError(
      f"{path} is no pickle, or it is damaged ({reason}); fetch it again"
    ) from error


@contextlib.contextmanager
def _limited(num_bytes):
  """Lets this process take so many more bytes of memory, where Linux counts.

  A pickle of ten bytes may ask for a table of 30 GB.
  """
  try:
    pages = int(pathlib.Path("/proc/self/statm").read_text("utf-8").split()[0])
  except OSError:  # Not Linux.
    yield
    return
  soft, hard = resource.getrlimit(resource.RLIMIT_AS)
  limit = pages * resource.getpagesize() + num_bytes
  if soft == resource.RLIM_INFINITY or limit < soft:
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Refused(Exception):
  """What a file may not hold."""


class _Unpickler(pickle.Unpickler):
  """Resolves only the names in ALLOWED."""

  def find_class(self, module: str, name: str) -> Any:
    """Returns the stand-in of a name of NumPy."""
    # NumPy 2 moved its private modules from `core` to `_core`.
    key = module.replace("numpy._core", "numpy.core"), name
    if key not in ALLOWED:
      raise _Refused(f"{module}.{name}")
    return ALLOWED[key]


def _dtype(spec, align=False, copy=True):
  del align, copy  # A copy, whatever the file says: the state is set on it.
  dtype = np.dtype(spec, copy=True)
  if dtype.kind not in KINDS:
    raise _Refused(f"values of type {dtype}")
  return dtype


def _reconstruct(kind, shape, typecode):
  """Returns the empty array whose state follows."""
  del kind, typecode
  if shape != (0,):  # NumPy writes no other; a large one would be allocated.
    raise ValueError(f"an array of shape {shape} before its content")
  return np.empty(0, np.int8)


def _from_buffer(buffer, dtype, shape, order, axis_order=None):
  """Returns an array of protocol 5; it shares the buffer's memory."""
  array = np.frombuffer(buffer, dtype)
  if order == "K" and axis_order is not None:
    return array.reshape(shape, order="C").transpose(axis_order)
  return array.reshape(shape, order=order)


def _scalar(dtype, content):
  return np.frombuffer(content, dtype, count=1)[0]


def _encode(text, encoding):
  """Returns the bytes that protocol 2 writes as a text."""
  if encoding != "latin1":
    raise ValueError(f"bytes in {encoding}")
  return text.encode("latin1")


def _no_bytes():
  """Returns the empty bytes of protocol 2; with an argument it fails."""
  return b""


ALLOWED: dict[tuple[str, str], Callable[..., Any] | str] = {
  ("numpy", "dtype"): _dtype,
  # Only an argument of `_reconstruct`, which makes no other array.
  ("numpy", "ndarray"): "numpy.ndarray",
  ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
  ("numpy.core.multiarray", "scalar"): _scalar,
  ("numpy.core.numeric", "_frombuffer"): _from_buffer,
  ("_codecs", "encode"): _encode,
  # The unpickler gives `builtins` the name of Python 2.
  ("builtins", "bytes"): _no_bytes,
  ("__builtin__", "bytes"): _no_bytes,
}
