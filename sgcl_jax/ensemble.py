# SPDX-License-Identifier: Apache-2.0
r"""Fuses the score files of several streams, joined by the names of the clips.

python -m sgcl_jax.ensemble --preset 4s --scores \
    runs/ctrgcn_ucla_xview_{joint,bone,joint_motion,bone_motion}
python -m sgcl_jax.ensemble --weights 1 0.7 --scores joint.npz bone.npz

A preset reads the stream of a run from its config, and that of a file from its
name, such as xsub_joint_motion.npz. Files whose names end in no stream must be
in the order joint, bone, joint_motion, bone_motion.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sgcl_jax import command, errors, modalities
from sgcl_jax.evaluation import statistics
from sgcl_jax.runs import scores, workdir
from sgcl_jax.terminal import output

# Weights of the logits. 2s: the paper's J+B. 4s: CTR-GCN's on NW-UCLA and NTU.
# infogcn: those of InfoGCN's authors, for any number of models of each stream.
PRESETS = {
  "2s": {"joint": 1.0, "bone": 1.0},
  "4s": {"joint": 0.6, "bone": 0.6, "joint_motion": 0.4, "bone_motion": 0.4},
  "infogcn": {"joint": 1.5, "bone": 1.5, "joint_motion": 1, "bone_motion": 1},
}
# Name in a table, as in the paper -> preset.
FUSIONS = {"J+B": "2s", "4S": "4s"}


class Part(NamedTuple):
  """One stream of a fusion.

  Attributes:
    path: Score file.
    stream: A modality, None where neither config nor name has it.
    weight: Factor of its logits.
    scores: Its clips, in the order of the first part.
  """

  path: str
  stream: str | None
  weight: float
  scores: scores.Scores


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  args = _parse(argv)
  with command.messages(args.json):
    result = _run(args)
  if args.json:
    command.print_json(result)


def _run(args):
  parts = load(args.scores, args.preset, args.weights)
  baseline = None
  if args.baseline:
    one = len(args.baseline) == 1  # A single file needs no weights.
    preset, weights = (None, [1.0]) if one else (args.preset, args.weights)
    baseline = load(args.baseline, preset, weights)
  result = describe(parts, baseline)
  _print(result)
  if args.out:
    fused = fuse(parts)
    logits = fused.logits.astype(np.float32)
    scores.write(args.out, fused._replace(logits=logits))
    print(f"fused scores: {args.out}")
  return result


def _parse(argv):
  parser = command.Parser("sgcl_jax.ensemble", __doc__)
  parser.add_argument(
    "--scores",
    type=command.path,
    nargs="+",
    default=[],
    metavar="RUN_OR_FILE",
    help="directories of runs, or score files (.npz)",
  )
  parser.add_argument(
    "--preset",
    choices=tuple(PRESETS),
    help="weights of the logits: 2s 1 1; 4s 0.6 0.6 0.4 0.4; infogcn 1.5 for"
    " joint and bone, 1 for their motions",
  )
  parser.add_argument(
    "--weights", nargs="+", type=float, help="weights of your own, one a file"
  )
  parser.add_argument(
    "--baseline",
    type=command.path,
    nargs="+",
    metavar="RUN_OR_FILE",
    help="other scores of the same clips, for a paired test (McNemar); several"
    " are fused with the same preset or weights",
  )
  parser.add_argument(
    "--out",
    type=command.path,
    metavar="FILE.npz",
    help="write the fused logits as a score file",
  )
  parser.add_json("the result")
  args = parser.parse_args(argv)
  if not args.scores:
    raise errors.ConfigError("--scores is missing: name runs or score files")
  if (args.preset is None) == (args.weights is None):
    raise errors.ConfigError("give either --preset or --weights")
  if args.out and args.out.suffix != ".npz":
    raise errors.ConfigError(f"--out={args.out} does not end in .npz")
  return args


def load(
  paths: Sequence[str | os.PathLike],
  preset: str | None = None,
  weights: Sequence[float] | None = None,
) -> list[Part]:
  """Reads the score files of a fusion and joins them by the clips' names.

  Args:
    paths: Score files, or directories of runs.
    preset: Key of `PRESETS`, or None with `weights`.
    weights: One for each path.

  Raises:
    ConfigError: If the weights or the preset do not fit the paths.
    WorkdirError: If a directory holds no run.
    DataError: If a file is unusable, does not match the first one, or holds
      the scores of an earlier one.
  """
  located = [_locate(path) for path in paths]
  if preset is None:
    streams = [stream for _, stream in located]
    _check_weights(weights, len(paths))
  else:
    streams = _find_streams(located, preset)
    weights = [PRESETS[preset][stream] for stream in streams]
  parts = []
  for (path, _), stream, weight in zip(located, streams, weights, strict=True):
    found = scores.read(path)
    if parts:
      found = scores.join(parts[0].scores, found, (parts[0].path, path))
    for part in parts:
      scores.check_other(part.scores, found, (part.path, path))
    parts.append(Part(path, stream, float(weight), found))
    if _are_probabilities(found.logits):
      output.notice(
        f"{path} seems to hold probabilities; the weights are meant for"
        " raw logits"
      )
  return parts


def fuse(parts: Sequence[Part]) -> scores.Scores:
  """Returns the weighted sum of the logits, summed in double precision."""
  total = sum(part.weight * part.scores.logits.astype(float) for part in parts)
  return parts[0].scores._replace(logits=total)


def describe(
  parts: Sequence[Part], baseline: Sequence[Part] | None = None
) -> dict[str, Any]:
  """Returns the figures of a fusion, all in percent.

  Args:
    parts: The fused streams.
    baseline: Others of the same clips, to compare with.

  Returns:
    `top1`, `top5`, `interval` of top1 (Wilson, as everywhere), `weights` and
    `num_clips`; `streams`, for each its file, weight, own `top1`, the top1
    `without` it and what it `adds`; of several, `best_stream`: the best one's
    top1, top5 and `statistics.compare_clips`, whose interval of the gain is
    SciPy's bootstrap; with a baseline, `baseline`, likewise.

  Raises:
    DataError: If the baseline has other clips or labels.
  """
  fused = fuse(parts)
  result = {
    **fused.accuracy(),
    "interval": fused.interval(),
    "weights": [part.weight for part in parts],
    "num_clips": len(fused.names),
    "streams": [_describe_part(parts, i, fused) for i in range(len(parts))],
  }
  if len(parts) > 1:
    best = max(parts, key=lambda part: part.scores.accuracy()["top1"])
    alone = [best._replace(weight=1.0)]
    result["best_stream"] = _compare(fused, alone, best.scores)
  if baseline:
    paths = parts[0].path, baseline[0].path
    other = scores.join(fused, fuse(baseline), paths)
    result["baseline"] = _compare(fused, baseline, other)
  return result


def _compare(fused, parts, other):
  return {
    "files": [part.path for part in parts],
    "weights": [part.weight for part in parts],
    **other.accuracy(),
    **statistics.compare_clips(fused.correct(), other.correct()),
  }


def _describe_part(parts, i, fused):
  rest = [*parts[:i], *parts[i + 1 :]]
  without = fuse(rest).accuracy()["top1"] if rest else None
  return {
    "file": parts[i].path,
    "stream": parts[i].stream,
    "weight": parts[i].weight,
    "top1": parts[i].scores.accuracy()["top1"],
    "without": without,
    "adds": None if without is None else fused.accuracy()["top1"] - without,
  }


def _locate(path):
  """Returns the score file of a path and its stream, None if unknown."""
  path = pathlib.Path(path)
  if path.is_dir():
    record = workdir.read_config(path)
    return str(scores.find_path(path, record)), record["data"]["modality"]
  for stream in modalities.NAMES:
    if path.stem == stream or path.stem.endswith(f"_{stream}"):
      return str(path), stream
  return str(path), None


def _find_streams(located, preset):
  """Returns the stream of each file; raises if the preset has others."""
  streams = [stream for _, stream in located]
  wanted = list(PRESETS[preset])
  if None in streams:
    pairs = zip(streams, wanted, strict=False)
    fits = all(stream in (None, place) for stream, place in pairs)
    if len(streams) != len(wanted) or not fits:
      path, _ = located[streams.index(None)]
      raise errors.ConfigError(
        f"--preset {preset}: the name of {path} ends in no stream; name the"
        f" files in the order {', '.join(wanted)}, or use --weights"
      )
    print(f"streams, by the order of the files: {', '.join(wanted)}")
    return wanted
  # InfoGCN's authors fuse several models of one stream, with different k.
  if preset != "infogcn" and sorted(streams) != sorted(wanted):
    raise errors.ConfigError(
      f"--preset {preset} fuses {', '.join(wanted)}, once each; the files are"
      f" {', '.join(streams)}. Use --weights for others"
    )
  return streams


def _check_weights(weights, num_files):
  if len(weights) != num_files:
    raise errors.ConfigError(
      f"--weights has {len(weights)} numbers for {num_files} score files"
    )
  if not np.isfinite(weights).all() or min(weights) < 0 or not any(weights):
    shown = " ".join(f"{weight:g}" for weight in weights)
    raise errors.ConfigError(
      f"--weights {shown}: each must be 0 or more, and one above 0"
    )


def _are_probabilities(logits):
  return (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3)


def _print(result):
  width = max(len(part["file"]) for part in result["streams"])
  print(f"{'':{width}}  weight   top-1  without it    adds")
  for part in result["streams"]:
    rest = (
      ""
      if part["without"] is None
      else f"  {part['without']:10.3f}  {part['adds']:+6.3f}"
    )
    print(
      f"{part['file']:{width}}  {part['weight']:6g}  {part['top1']:6.3f}{rest}"
    )
  low, high = result["interval"]
  print(
    f"fused: top-1 {result['top1']:.3f} % (95 % interval {low:.2f} to"
    f" {high:.2f}), top-5 {result['top5']:.3f} % of {result['num_clips']} clips"
  )
  for name in ("best_stream", "baseline"):
    if name in result:
      _print_difference(name.replace("_", " "), result[name])


def _print_difference(name, other):
  print(f"{name}: top-1 {other['top1']:.3f} %, {', '.join(other['files'])}")
  if other["interval"] is None:
    print("difference: none, both are right on the same clips")
    return
  low, high = other["interval"]
  print(
    f"difference: {other['difference']:+.3f} points (95 % interval {low:+.2f}"
    f" to {high:+.2f}); {other['only_ours']} clips right here alone,"
    f" {other['only_theirs']} there alone; McNemar's exact test: p"
    f" {statistics.format_p(other['p'], 3)}"
  )


if __name__ == "__main__":
  command.run(main)
