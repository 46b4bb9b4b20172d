# SPDX-License-Identifier: Apache-2.0
"""What the README shows, run as it stands."""

import json
import pathlib

import pytest

from sgcl_jax import train

README = pathlib.Path(__file__).parents[1] / "README.md"


def read_blocks(language):
  blocks = README.read_text().split(f"```{language}\n")[1:]
  return [block.split("```")[0] for block in blocks]


def test_it_is_short():
  assert len(README.read_text().splitlines()) <= 150


def test_a_backbone_of_ones_own(tmp_path, tiny, monkeypatch):
  """Under 40 lines, and the contrast trains on its graph."""
  (block,) = read_blocks("python")
  assert len(block.splitlines()) < 40
  (tmp_path / "mine.py").write_text(block)
  monkeypatch.syspath_prepend(tmp_path)
  config = tiny(backbone="mine:Mine", **{"optim.num_epochs": 2})
  summary = train.run(config, tmp_path / "run")
  assert summary["epoch"] == 2
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  steps = [json.loads(line) for line in lines]
  last = [step for step in steps if step["split"] == "train"][-1]
  assert last["active_anchors"] == 1.0 and last["instance"] > 0


@pytest.mark.parametrize("config", ["configs/", "docs/", "launch/"])
def test_files_it_names_exist(config):
  text = README.read_text()
  for word in (
    text.replace("(", " ").replace(")", " ").replace("`", " ").split()
  ):
    name = word.split(":")[0]
    if name.startswith(config) and "{" not in name and len(name) > len(config):
      assert (README.parent / name).exists(), name
