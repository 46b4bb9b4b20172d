# SPDX-License-Identifier: Apache-2.0
"""Classifies clips with a trained model, in batches of one shape."""

import collections
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from sgcl_jax import errors
from sgcl_jax.devices import parallel
from sgcl_jax.serving import frozen

# Clips are padded to 32 frames, 64, 128, ...: each length compiles a transform.
SHORTEST = 32
# Of a line of a stream: a frame of 10 persons of 133 joints has a tenth of it.
MOST_CHARACTERS = 2**20


class Window(NamedTuple):
  """Frames of a stream.

  Attributes:
    first: Number of its first frame in the stream, from 0.
    last: Number of its last frame.
    frames: Nested lists, one for each frame.
  """

  first: int
  last: int
  frames: list


def make(
  model: frozen.Frozen, batch_size: int
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
  """Builds the function that classifies clips.

  The backbone is compiled once, for `batch_size` clips; fewer are padded.

  Args:
    model: The model.
    batch_size: Clips of a batch.

  Returns:
    f(clips, each [T, M, V, C] as a data set stores it) -> logits [n, L]. It
    raises a TrainingError if a logit is not finite.
  """
  batch_size = parallel.padded_size(batch_size)
  transform = jax.jit(
    lambda clips, num: model.parts.transform(clips, num, None)
  )
  classify = parallel.map_eval_step(model.make_classifier())
  variables = parallel.replicate(model.variables)

  def predict(clips):
    logits = []
    for start in range(0, len(clips), batch_size):
      part = clips[start : start + batch_size]
      x = np.asarray(transform(*_stack(part, batch_size)))
      logits.append(np.asarray(classify(variables, x))[: len(part)])
    logits = np.concatenate(logits).astype(np.float32)
    if not np.isfinite(logits).all():
      raise errors.TrainingError(
        "the model gives numbers that are not finite: its weights have diverged"
      )
    return logits

  return predict


def rank(
  logits: np.ndarray, class_names: Sequence[str], num: int
) -> list[dict[str, Any]]:
  """Returns the best classes of one clip, the best first.

  Args:
    logits: [L].
    class_names: [L].
    num: How many.

  Returns:
    `class`, `label` and `probability` of each. Among equal logits, the lower
    class comes first.
  """
  wide = np.exp(logits.astype(np.float64) - logits.max())
  probabilities = wide / wide.sum()
  return [
    {
      "class": class_names[label],
      "label": int(label),
      "probability": float(probabilities[label]),
    }
    for label in np.argsort(-logits, kind="stable")[:num]
  ]


def slide(lines: Iterable[str], length: int, step: int) -> Iterator[Window]:
  """Yields the windows of a stream of frames as soon as they are complete.

  Args:
    lines: One frame of JSON each, nested lists; blank lines do not count.
    length: Frames of a window.
    step: Frames between the ends of two windows.

  Yields:
    The first window after `length` frames, and another one after every `step`
    frames. At the end of the stream, the last frames, if they are not yet in a
    window.

  Raises:
    DataError: A line is not a list of JSON; names the line.
  """
  held = collections.deque(maxlen=length)
  count = done = 0

  def make_window():
    return Window(count - len(held), count - 1, list(held))

  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    held.append(_read_frame(line, number))
    count += 1
    if count >= length and (count - length) % step == 0:
      done = count
      yield make_window()
  if count > done:
    yield make_window()


def read_lines(stream: TextIO) -> Iterator[str]:
  """Yields the lines of a stream, the first `MOST_CHARACTERS` + 1 of each."""
  return iter(functools.partial(stream.readline, MOST_CHARACTERS + 1), "")


def _read_frame(line, number):
  if len(line) > MOST_CHARACTERS:
    raise errors.DataError(
      f"line {number} of the stream is longer than {MOST_CHARACTERS:,}"
      " characters, the limit for one frame"
    )
  try:
    frame = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise errors.DataError(
      f"line {number} of the stream is not JSON ({error})"
    ) from error
  if not isinstance(frame, list):
    raise errors.DataError(
      f"line {number} of the stream is no list: a frame is [joints][3], or"
      " [persons][joints][3]"
    )
  return frame


def _stack(clips, batch_size):
  """Pads clips to one array [batch_size, T, M, V, C], and counts frames."""
  longest = max(map(len, clips))
  num_frames = SHORTEST
  while num_frames < longest:
    num_frames *= 2
  padded = np.zeros((batch_size, num_frames, *clips[0].shape[1:]), np.float32)
  counts = np.ones(batch_size, np.int32)
  for i, clip in enumerate(clips):
    padded[i, : len(clip)] = clip
    counts[i] = len(clip)
  return padded, counts
