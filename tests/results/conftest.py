# SPDX-License-Identifier: Apache-2.0
"""Workdirs of finished runs, written without a training."""

import json

import numpy as np
import pytest

from configs import ctrgcn_ucla
from sgcl_jax.runs import scores


@pytest.fixture
def make_run(tmp_path):
  """Returns a maker of workdirs: name, option=value, seed, right, fields."""

  def make(name, arg=None, seed=1, right=15, **fields):
    directory = tmp_path / name
    config = ctrgcn_ucla.get_config(arg)
    summary = {
      "epoch": 2,
      "seconds": 90.0,
      "revisions": ["aaaaaaa", "bbbbbbb"],
      **fields.pop("summary", {}),
    }
    config.update_from_flattened_dict(
      {"seed": seed, "optim.num_epochs": 2, **fields}
    )
    record = config.copy_and_resolve_references().to_dict()
    labels = np.arange(20, dtype=np.int32) % 10
    logits = np.random.default_rng(seed).normal(size=(20, 10))
    logits[np.arange(20), (labels + (np.arange(20) >= right)) % 10] += 9
    found = scores.Scores(
      np.array([f"clip_{i:02}" for i in range(20)]),
      labels,
      logits.astype(np.float32),
    )
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
    (directory / "config.json").write_text(json.dumps(record))
    summary = {
      **found.accuracy(),
      "num_clips": 20,
      "seed": seed,
      "best_epoch_on_test": {"epoch": 1, "top1": 90.0},
      "matmul_precision": "highest",
      "device": "1 x cpu",
      "versions": {"jax": "1.2", "numpy": "3"},
      **summary,
    }
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory

  return make
