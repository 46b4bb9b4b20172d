# SPDX-License-Identifier: Apache-2.0
"""Notices, and output streams whose errors do not end the command."""

import io
import sys
from typing import Any, TextIO


class _Output(io.FileIO):
  """A file descriptor that drops what is written after its reader has left.

  The first other error, as of a full disk, is raised and names the stream; what
  comes after it is dropped, so that the end of the process has no second one.
  """

  _failed = False

  def write(self, data: Any) -> int | None:
    try:
      return super().write(data)
    except OSError as error:
      if self._failed or isinstance(error, BrokenPipeError):
        return memoryview(data).nbytes
      self._failed = True
      name = "standard output" if self.fileno() == 1 else "standard error"
      raise OSError(error.errno, error.strerror, name) from error


def outlast(stream: TextIO, original: TextIO) -> TextIO:
  """Returns a stream that accepts text after its reader has left.

  Characters that it cannot show, as in a terminal without UTF-8, are escaped.

  Args:
    stream: Standard output or error.
    original: The one that the process began with; another is only set to
      escape.
  """
  if not isinstance(stream, io.TextIOWrapper):
    return stream
  stream.reconfigure(errors="backslashreplace")
  if stream is not original:  # Someone else's, such as a test's.
    return stream
  stream.flush()
  raw = _Output(stream.fileno(), "w", closefd=False)
  return io.TextIOWrapper(
    io.BufferedWriter(raw),
    stream.encoding,
    stream.errors,
    line_buffering=stream.line_buffering,
    write_through=stream.write_through,
  )


def notice(text: object) -> None:
  """Prints a notice to the error stream, in a line."""
  print(f"notice: {text}", file=sys.stderr, flush=True)
