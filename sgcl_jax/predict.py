# SPDX-License-Identifier: Apache-2.0
"""Names the actions in new files, or in a stream of frames; docs/PREDICT.md.

python -m sgcl_jax.predict --checkpoint runs/x clip.skeleton more_clips/
python -m sgcl_jax.predict --checkpoint runs/x < frames.jsonl
"""

import collections
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data_prep import problems, walk
from data_prep.clips import clip_file, like, reader, skeleton_array, unit
from data_prep.ntu import actors, align, raw_files, skeleton_file
from sgcl_jax import command, errors
from sgcl_jax.dataset import data_files, regular_file
from sgcl_jax.serving import model_options
from sgcl_jax.terminal import wording

SUFFIXES = (".skeleton", *clip_file.SUFFIXES)


def read_clip(path: pathlib.Path, model: Any) -> np.ndarray:
  """Reads a file and prepares it as the clips of the training.

  Args:
    path: `.skeleton` of NTU RGB+D; or `.npz` or `.json` with `skeleton`
      [T, M, V, C] or [T, V, C]; or `.json` of NW-UCLA with `skeletons`.
    model: A `frozen.Frozen`.

  Returns:
    [T, M, V, C], M and V those of the model.

  Raises:
    DataError: The file does not fit the model, or is damaged; says why.
  """
  if not path.exists():
    raise errors.DataError("is no file")
  if path.suffix.lower() == ".skeleton":
    data = regular_file.read(path, raw_files.MOST_BYTES)
    return _prepare_ntu(data, model)
  content = clip_file.load(path)
  keys = [key for key in ("skeleton", "skeletons") if key in content]
  if not keys:
    found = ", ".join(sorted(content)[:10])
    raise errors.DataError(
      f"has no key 'skeleton' (found: {wording.show(found) or 'none'}),"
      f" which holds {_describe_clip(model)}"
    )
  return prepare(content[keys[0]], model, content.get("img_shape"))


def prepare(skeleton: Any, model: Any, img_shape: Any = None) -> np.ndarray:
  """Prepares a clip as the clips of the training.

  Args:
    skeleton: Array or nested lists, [T, M, V, C] or [T, V, C].
    model: A `frozen.Frozen`.
    img_shape: See `unit.scale`.

  Returns:
    [T, M, V, C], M and V those of the model.

  Raises:
    DataError: The clip does not fit the model; says why.
  """
  parts, prepared = model.parts, model.prepared
  options = like.make_options(parts.layout, prepared, "the model")
  try:
    clip = skeleton_array.parse(
      skeleton, parts.layout, any_persons=options.max_persons is not None
    )
  except errors.DataError as error:
    raise errors.DataError(
      f"{error}; expected {_describe_clip(model)}"
    ) from error
  clip = unit.scale(clip, options.unit, img_shape)
  if parts.record["data"]["transform"] == "ucla":  # It moves the origin itself.
    clip = np.nan_to_num(parts.layout.derive(clip), nan=0.0)
  else:
    clip, _ = reader.prepare(clip, options)
  return _finish(clip, model)


def read_files(
  names: Sequence[pathlib.Path], model: Any, refused: list[dict[str, str]]
) -> Iterator[tuple[pathlib.Path, np.ndarray]]:
  """Yields the clips of the named files, and of those below named folders.

  Args:
    names: Files and folders.
    model: A `frozen.Frozen`.
    refused: Is extended by `file` and `reason` of each that does not fit.
  """
  passed = collections.Counter()
  for name in names:
    if data_files.is_dataset(name):
      refused.append({"file": str(name), "reason": _refuse_dataset(name)})
      continue
    found = False
    for path in walk.files(name, SUFFIXES, passed):
      try:
        if path != name and clip_file.is_layout_file(path):
          passed["layout"] += 1
          continue
        clip = read_clip(path, model)
      except errors.DataError as error:
        refused.append({"file": str(path), "reason": str(error)})
      else:
        yield path, clip
      found = True
    if not found:
      reason = f"holds no file of {', '.join(SUFFIXES)}"
      refused.append({"file": str(name), "reason": reason})
  if passed:
    print(f"passed over: {walk.describe(passed)}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  args = _parse(argv)
  is_stream = not args.files or args.files == [pathlib.Path("-")]
  if is_stream and sys.stdin.isatty():
    raise errors.ConfigError(
      "name files or folders, or send frames to the standard input"
    )
  if args.animate:
    _check_animation(args.animate, args.files)
  started = time.perf_counter()
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax.serving import frozen, predictor

  model = frozen.open(args, args.batch_size)
  if is_stream:
    _answer_stream(args, model, predictor.make(model, batch_size=1))
    return
  _answer_files(args, model, predictor.make(model, args.batch_size), started)


def _parse(argv):
  parser = command.Parser("sgcl_jax.predict", __doc__)
  parser.add_argument(
    "files",
    nargs="*",
    type=command.path,
    metavar="FILE",
    help=f"files ({', '.join(SUFFIXES)}) or folders of them; without any, or"
    " with -, one frame per line is read from the standard input",
  )
  model_options.add(parser)
  parser.add_argument(
    "--animate",
    type=command.path,
    metavar="OUT",
    help="draw the clip and its answers: *.gif or *.mp4 for one file; needs"
    ' pip install -e ".[report]"',
  )
  for name, default, what in (
    ("top", 5, "answers for each clip (default: 5)"),
    ("batch_size", 8, "clips that are computed at once (default: 8)"),
    ("window_frames", None, "stream: frames of a window (the model's window)"),
    ("step_frames", None, "stream: frames to the next answer (a quarter)"),
  ):
    parser.add_argument(f"--{name}", type=int, default=default, help=what)
  parser.add_json("the answers")
  args = parser.parse_args(argv)
  for name in ("top", "batch_size", "window_frames", "step_frames"):
    if getattr(args, name) is not None and getattr(args, name) < 1:
      raise errors.ConfigError(f"--{name} must be 1 or more")
  return args


def _answer_files(args, model, predict, started):
  from sgcl_jax.serving import predictor

  refused, answers, first = [], [], None
  clips = read_files(args.files, model, refused)
  while batch := [*itertools.islice(clips, args.batch_size)]:
    logits = predict([clip for _, clip in batch])
    first = first or (time.perf_counter(), len(batch))
    for (path, clip), row in zip(batch, logits, strict=True):
      top = predictor.rank(row, model.class_names, args.top)
      answer = {"file": str(path), "num_frames": len(clip), "top": top}
      answers.append(answer)
      if not args.json:
        _show(answer)
      if args.animate:
        _animate(args.animate, path, clip, top, model.parts.layout)
  seconds = _measure(started, first, len(answers)) if first else {}
  if args.json:
    command.print_json(
      {"predictions": answers, "refused": refused, "seconds": seconds}
    )
  elif first:
    later = seconds["per_clip"]
    rate = f", then {1 / later:.0f} clips a second" if later else ""
    text = f"first answer after {seconds['first_answer']:.1f} s{rate}"
    print(f"{len(answers)} answered, {text}", file=sys.stderr)
  if refused:
    lines = [
      f"{wording.show(each['file'])}: {each['reason']}" for each in refused
    ]
    rest = ", the others are answered" if answers else ""
    raise errors.DataError(problems.describe(lines, rest))


def _answer_stream(args, model, predict):
  from sgcl_jax.serving import predictor

  length = args.window_frames or model.parts.clip.shape[2]
  step = args.step_frames or max(length // 4, 1)
  window = None
  lines = predictor.read_lines(sys.stdin)
  for window in predictor.slide(lines, length, step):
    try:
      clip = prepare(window.frames, model)
    except errors.DataError as error:
      raise errors.DataError(
        f"frames {window.first} to {window.last} of the stream: {error}"
      ) from error
    top = predictor.rank(predict([clip])[0], model.class_names, args.top)
    if args.json:  # One line each: a stream has no end.
      answer = {"frames": [window.first, window.last], "top": top}
      print(json.dumps(answer), flush=True)
      continue
    parts = [
      f"{100 * each['probability']:.1f} % {each['class']}" for each in top
    ]
    span = f"frames {window.first}-{window.last}"
    print(f"{span}: {', '.join(parts)}", flush=True)
  if window is None:
    raise errors.DataError("the stream holds no frame")


def _check_animation(out, paths):
  from data_prep.quality import draw  # Slow: matplotlib.

  draw.make_writer(out)
  if len(paths) != 1 or not paths[0].is_file():
    raise errors.ConfigError("--animate draws one file: name that one alone")


def _animate(out, path, clip, top, layout):
  from data_prep.quality import draw

  named = [(each["class"], each["probability"]) for each in top]
  draw.write({"name": path.stem, "skeleton": clip}, layout, out, named)
  print(f"drawn: {out}", file=sys.stderr)


def _show(answer):
  num_frames = wording.count(answer["num_frames"], "frame")
  print(f"{wording.show(answer['file'])} ({num_frames})")
  for each in answer["top"]:
    print(f"  {100 * each['probability']:5.1f} %  {each['class']}")
  sys.stdout.flush()


def _measure(started, first, count):
  """Returns seconds to the first answers, and for each clip after them."""
  end, done = time.perf_counter(), first[1]
  later = (end - first[0]) / (count - done) if count > done else None
  return {"first_answer": first[0] - started, "per_clip": later}


def _refuse_dataset(path):
  line = wording.command_line(
    *("sgcl_jax.main", "--mode=evaluate", "--workdir", "RUN"),
    f"--config.data.dir={path}",
  )
  return f"is a converted data set: name raw files, or evaluate it with: {line}"


def _prepare_ntu(data, model):
  if model.parts.layout.name != "ntu":
    raise errors.DataError(
      "holds the 25 joints of Kinect v2, but the model wants"
      f" {_describe_clip(model)}"
    )
  clip, _ = actors.clean(skeleton_file.parse(data))
  return _finish(clip, model)


def _finish(clip, model):
  """Gives a clip the persons of the model, and repeats and turns them."""
  num_persons, prepared = model.parts.source.num_persons, model.prepared
  if clip[:, num_persons:].any():
    raise errors.DataError(
      f"{clip.shape[1]} persons, but the model knows {num_persons}: keep those"
      " who act"
    )
  clip = clip[:, :num_persons]
  absent = num_persons - clip.shape[1]
  clip = np.pad(clip, [(0, 0), (0, absent), (0, 0), (0, 0)])
  if prepared.get("lone_person") == "repeat" and not clip[:, 1:].any():
    clip = np.repeat(clip[:, :1], num_persons, axis=1)
  if prepared.get("aligned"):
    kind = prepared.get("alignment")
    clip, _ = align.align(clip, as_released=kind == "released")
  return clip


def _describe_clip(model):
  layout = model.parts.layout
  channels = "x, y, score" if layout.dimensions == 2 else "x, y, z"
  return (
    f"(frames, persons, joints, channels) with the {layout.num_recorded} joints"
    f" of {layout.name}, {channels}"
  )


if __name__ == "__main__":
  command.run(main)
