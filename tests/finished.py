# SPDX-License-Identifier: Apache-2.0
"""Writes what a finished run leaves in its workdir, without a training."""

import json
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sgcl_jax import modalities
from sgcl_jax.launching import series
from sgcl_jax.runs import scores, workdir
from sgcl_jax.settings import config_file, fields

NUM_CLIPS = 20


def write(
  directory: pathlib.Path, config: ConfigDict, right: int = 15, **summary: Any
) -> None:
  """Writes config, scores, record and summary of a run.

  Args:
    directory: Workdir.
    config: Config of the run; its seed and stream change the logits.
    right: Clips that are classified correctly.
    **summary: Fields of the summary to set.
  """
  record = config.copy_and_resolve_references().to_dict()
  labels = np.arange(NUM_CLIPS, dtype=np.int32) % 10
  stream = modalities.NAMES.index(config.data.modality)
  rng = np.random.default_rng([config.seed, stream])
  logits = rng.normal(size=(NUM_CLIPS, 10))
  answers = labels + (np.arange(NUM_CLIPS) >= right)
  logits[np.arange(NUM_CLIPS), answers % 10] += 9
  names = np.array([f"clip_{i:02}" for i in range(NUM_CLIPS)])
  found = scores.Scores(names, labels, logits.astype(np.float32))
  scores.write(scores.find_path(directory, record), found)
  steps = [
    {"step": i + 1, "epoch": i // 2 + 1, "split": "train", "ce": 4.0 - i}
    | ({"instance": 1.0 + i} if config.gcl else {})
    for i in range(4)
  ]
  tests = [
    {"step": 2 * e, "epoch": e, "split": "test", "top1": 90.0 / e, "top5": 99}
    for e in (1, 2)
  ]
  text = "".join(json.dumps(line) + "\n" for line in [*steps, *tests])
  (directory / "metrics.jsonl").write_text(text)
  workdir.write_config(directory, record)
  content = {
    **found.accuracy(),
    "num_clips": NUM_CLIPS,
    "epoch": config.optim.num_epochs,
    "seed": config.seed,
    "seconds": 90.0,
    "revisions": ["aaaaaaa", "bbbbbbb"],
    "best_epoch_on_test": {"epoch": 1, "top1": 90.0},
    "matmul_precision": "highest",
    "device": "1 x cpu",
    "versions": {"jax": "1.2", "numpy": "3"},
    **summary,
  }
  (directory / workdir.SUMMARY).write_text(json.dumps(content))


def train(run: series.Run, right: int = 15) -> None:
  """Does so for a run of a series, in the place of `series.launch`."""
  config, _ = fields.override(config_file.load(run.spec), run.fields)
  write(run.directory, config, right)


def find_summary(run: series.Run) -> dict[str, Any] | None:
  """Returns the summary of such a run, in the place of the series' function."""
  path = run.directory / workdir.SUMMARY
  return json.loads(path.read_text()) if path.exists() else None
