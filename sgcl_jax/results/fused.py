# SPDX-License-Identifier: Apache-2.0
"""Fuses the streams of a table of runs, and compares runs clip by clip."""

import itertools
import pathlib
from collections.abc import Sequence

from sgcl_jax import ensemble
from sgcl_jax.evaluation import statistics
from sgcl_jax.results import lines
from sgcl_jax.runs import scores

SEPARATOR = "; "  # Between the score files of a fused line.
# A run against the one without the contrast, of the same seed and stream.
PAIR_FIELDS = (
  *("run", "baseline", *lines.GROUP, "seed"),
  *("difference", "only_run", "only_baseline", "p"),
)


def fuse(runs: Sequence[lines.Line]) -> list[lines.Line]:
  """Returns a line for J+B and 4S of each seed whose streams are all there.

  A seed is left out if a stream has no run, more than one, or no score file.

  Args:
    runs: Lines of runs, see `lines.describe`.

  Raises:
    DataError: If the score files of the streams do not match.
  """
  found = []
  alone = [line for line in runs if line["modality"] not in ensemble.FUSIONS]
  names = [name for name in (*lines.GROUP, "seed") if name != "modality"]
  for group in _group(alone, lambda line: [line[name] for name in names]):
    by_stream = {}
    for line in group:
      by_stream.setdefault(line["modality"], []).append(line)
    for name, preset in ensemble.FUSIONS.items():
      streams = ensemble.PRESETS[preset]
      chosen = [by_stream.get(stream, []) for stream in streams]
      if all(len(few) == 1 for few in chosen):
        parts = [line for (line,) in chosen]
        if all(map(_has_scores, parts)):
          found.append(_fuse(name, parts))
  return found


def compare(runs: Sequence[lines.Line]) -> list[lines.Line]:
  """Returns a line for each run and its baseline without the contrast.

  A run is left out if there is not exactly one baseline, or no score file.

  Args:
    runs: Lines of runs, fused ones included.

  Raises:
    DataError: If two score files do not match.
  """
  found = []
  for group in _group(
    runs, lambda line: (lines.find_baseline_key(line), line["seed"])
  ):
    baselines = [line for line in group if line["contrast"] == "off"]
    if len(baselines) != 1 or not _has_scores(baselines[0]):
      continue
    theirs = _load(baselines[0])
    for line in group:
      if line["contrast"] != "off" and _has_scores(line):
        found.append(_compare(line, baselines[0], theirs))
  return found


def _group(runs, key):
  groups = itertools.groupby(sorted(runs, key=key), key)
  return [list(group) for _, group in groups]


def _has_scores(line):
  paths = line["scores"].split(SEPARATOR)
  return all(path and pathlib.Path(path).exists() for path in paths)


def _load(line):
  paths = line["scores"].split(SEPARATOR)
  if len(paths) == 1:
    return scores.read(paths[0])
  return ensemble.fuse(ensemble.load(paths, ensemble.FUSIONS[line["modality"]]))


def _fuse(name, parts):
  minutes = [line["minutes"] for line in parts]
  line = {
    **dict.fromkeys(lines.RUN_FIELDS, ""),
    **{key: parts[0][key] for key in (*lines.GROUP, "seed", "num_clips")},
    "modality": name,
    "minutes": f"{sum(map(float, minutes)):.1f}" if all(minutes) else "",
    "scores": SEPARATOR.join(part["scores"] for part in parts),
  }
  # One value where all streams agree.
  for key in ("epochs", "device", "precision", "revision", "versions"):
    line[key] = SEPARATOR.join(dict.fromkeys(part[key] for part in parts))
  fused = _load(line)
  accuracy = {k: f"{v:.5f}" for k, v in fused.accuracy().items()}
  return {**line, **accuracy, "run": lines.identify(line, fused)}


def _compare(line, baseline, theirs):
  paths = line["scores"], baseline["scores"]
  ours = _load(line)
  joined = scores.join(ours, theirs, paths)
  result = statistics.mcnemar(ours.correct(), joined.correct())
  return {
    "run": line["run"],
    "baseline": baseline["run"],
    **{key: line[key] for key in (*lines.GROUP, "seed")},
    "difference": f"{result['difference']:.5f}",
    "only_run": str(result["only_ours"]),
    "only_baseline": str(result["only_theirs"]),
    "p": f"{result['p']:.4g}",
  }
