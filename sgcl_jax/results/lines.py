# SPDX-License-Identifier: Apache-2.0
"""One line of a CSV for each finished run, and one for each of its epochs."""

import hashlib
import itertools
import os
import statistics
from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.results import origin
from sgcl_jax.runs import record, scores, workdir

# What tells runs apart, besides the seed.
GROUP = ("config", "split", "modality", "contrast", "preset", "overrides")
RUN_FIELDS = (
  *("run", *GROUP, "seed", "epochs", "top1", "top5", "num_clips"),
  # Extra information, chosen on the clips that it is measured on.
  *("best_top1_on_test", "best_epoch_on_test"),
  *("minutes", "device", "precision", "revision", "versions", "scores"),
)
# Means over the steps of an epoch, then its test.
CURVE_MEANS = ("ce", "instance", "semantic", "active_anchors", "accuracy")
CURVE_FIELDS = ("run", "epoch", *CURVE_MEANS, "top1", "top5")

SUMMARY_FIELDS = (
  *("top1", "top5", "num_clips", "epoch", "seed"),
  *("matmul_precision", "device", "versions"),
)

Line = dict[str, str]


def describe(
  directory: str | os.PathLike,
  *,
  spec: str | None = None,
  revision: str | None = None,
) -> Line:
  """Returns the line of a finished run.

  Args:
    directory: Workdir of the run: its summary, config and scores.
    spec: Config that the run began with, `FILE[:options]`. By default the one
      of `configs/` that differs least.
    revision: Commit of the code, for a run that does not store it.

  Raises:
    WorkdirError: If the run is not finished, or if a file of it is missing,
      damaged, or does not match the others.
    DataError: If its score file is unusable.
  """
  config = workdir.read_config(directory)
  summary = _read_summary(directory, config)
  path = scores.find_path(directory, config)
  found = scores.read(path)
  if abs(found.accuracy()["top1"] - summary["top1"]) > 1e-3:
    raise errors.WorkdirError(
      f"{path} gives top-1 {found.accuracy()['top1']:.3f} %, summary.json says"
      f" {summary['top1']:.3f} %; evaluate the run again"
    )
  name, overrides = origin.find(config, spec)
  best = summary.get("best_epoch_on_test") or {}
  seconds = summary.get("seconds")
  versions = summary["versions"].items()
  line = {
    "run": "",
    "config": name,
    "split": config["data"]["split"],
    "modality": config["data"]["modality"],
    "contrast": config["contrast"]["variant"] if config["gcl"] else "off",
    "preset": config.get("preset", ""),
    "overrides": overrides,
    "seed": str(summary["seed"]),
    "epochs": str(summary["epoch"]),
    "top1": f"{summary['top1']:.5f}",
    "top5": f"{summary['top5']:.5f}",
    "num_clips": str(summary["num_clips"]),
    "best_top1_on_test": f"{best['top1']:.5f}" if best else "",
    "best_epoch_on_test": str(best.get("epoch", "")),
    "minutes": "" if seconds is None else f"{seconds / 60:.1f}",
    "device": summary["device"],
    "precision": summary["matmul_precision"],
    "revision": _find_revision(summary, revision, directory),
    "versions": ", ".join(f"{name} {number}" for name, number in versions),
    "scores": str(path),
  }
  return {**line, "run": identify(line, found)}


def describe_epochs(directory: str | os.PathLike, run: str) -> list[Line]:
  """Returns a line for each epoch of a run, from its `metrics.jsonl`.

  Args:
    directory: Workdir of the run.
    run: Name of the run, as `describe` gives it.
  """
  found = []
  by_epoch = lambda line: line["epoch"]
  every = sorted(record.read(directory), key=by_epoch)
  for epoch, group in itertools.groupby(every, by_epoch):
    group = list(group)
    train = [line for line in group if line["split"] == "train"]
    test = next((line for line in group if line["split"] == "test"), {})
    line = {"run": run, "epoch": str(epoch)}
    for name in CURVE_MEANS:
      values = [step[name] for step in train if name in step]
      line[name] = f"{statistics.fmean(values):.4f}" if values else ""
    for name in ("top1", "top5"):
      line[name] = f"{test[name]:.5f}" if name in test else ""
    found.append(line)
  return found


def _read_summary(directory, config):
  summary = workdir.require_summary(directory)
  missing = [name for name in SUMMARY_FIELDS if name not in summary]
  if missing:
    raise errors.WorkdirError(
      f"{directory}/{workdir.SUMMARY} has no {missing[0]}; evaluate the run"
      " again"
    )
  if summary["epoch"] != config["optim"]["num_epochs"]:
    raise errors.WorkdirError(
      f"{directory} has {summary['epoch']} of"
      f" {config['optim']['num_epochs']} epochs; finish it first"
    )
  return summary


def _find_revision(summary, given, directory):
  stored = summary.get("revisions") or []
  commits = [name for name in stored if not name.startswith("version ")]
  if given is not None and commits:
    raise errors.WorkdirError(
      f"{directory} stores its revisions, {' '.join(commits)}: leave out"
      " --revision"
    )
  if given is None and not stored:
    raise errors.WorkdirError(
      f"{directory} does not store the revision of the code: add --revision"
    )
  return given or ", ".join(stored)


def find_baseline_key(line: dict[str, Any]) -> tuple[str, ...]:
  """Returns what a run shares with the one without the contrast.

  Args:
    line: A dict with the columns `GROUP`; its contrast and the fields of the
      contrast that it sets do not count.
  """
  rest = [x for x in line["overrides"].split() if not x.startswith("contrast.")]
  names = [name for name in GROUP if name not in ("contrast", "overrides")]
  return (*(line[name] for name in names), " ".join(rest))


def identify(line: Line, found: scores.Scores) -> str:
  """Returns the name of a run: 8 hexadecimal digits.

  Args:
    line: Its split, modality, contrast and seed.
    found: Its scores.
  """
  keys = "split", "modality", "contrast", "seed"
  text = "\n".join([*(line[key] for key in keys), *found.names])
  logits = np.ascontiguousarray(found.logits, np.float32)
  return hashlib.sha256(text.encode() + logits.tobytes()).hexdigest()[:8]
