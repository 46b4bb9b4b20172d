# SPDX-License-Identifier: Apache-2.0
"""What the README shows, run as it stands, and the names in the docs."""

import ast
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from sgcl_jax import train

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A path from the root of the project, with a suffix or a slash at its end.
PATH = re.compile(
  r"(?<![\w/.-])((?:configs|data_prep|docs|launch|sgcl_jax|tests)/[\w/]*"
  r"(?:\.\w+)?)"
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
# Of the loop with the contrast alone.
NUM_STEPS, NUM_CLIPS = 40, 64


def read_block(word):
  """Returns the one block of Python in the README that holds a word."""
  blocks = README.read_text().split("```python\n")[1:]
  blocks = [block.split("```")[0] for block in blocks]
  (found,) = (block for block in blocks if word in block)
  return found


def test_your_own_backbone(tmp_path, tiny, monkeypatch):
  """Under 40 lines, and the contrast trains on its graph."""
  block = read_block("class Mine")
  assert len(block.splitlines()) < 40
  (tmp_path / "mine.py").write_text(block)
  monkeypatch.syspath_prepend(tmp_path)
  parts = tiny(backbone="mine:Mine", **{"optim.num_epochs": 2})
  summary = train.run(parts, tmp_path / "run")
  assert summary["epoch"] == 2
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  steps = [json.loads(line) for line in lines]
  last = [step for step in steps if step["split"] == "train"][-1]
  assert last["active_anchors"] == 1.0 and last["instance"] > 0


def test_the_contrast_alone():
  """The bank fills, the anchors become active, and every term is learned."""
  shown = {}
  exec(read_block("paper.make"), shown)  # As a user's script.
  keys = jax.random.split(jax.random.key(0), NUM_STEPS + 2)
  means = jax.random.normal(keys[0], (10, 1, 20, 3))
  clip = jnp.zeros((1, 8, 20, 3))
  params, memory, opt_state = shown["init"](keys[1], clip)
  history = []
  for key in keys[2:]:
    label = jax.random.permutation(key, NUM_CLIPS) % 10
    noise = jax.random.normal(key, (NUM_CLIPS, 8, 20, 3))
    batch = {"clip": means[label] + noise, "label": label}
    params, memory, opt_state, terms = shown["train_step"](
      params, memory, opt_state, batch, key
    )
    history.append({name: float(term) for name, term in terms.items()})
  assert jnp.isfinite(jnp.array([[*step.values()] for step in history])).all()
  assert memory.instance.num_filled.sum() == NUM_STEPS * NUM_CLIPS
  assert memory.semantic.seen.all()
  first, last = history[0], history[-1]
  assert first["instance"] == 0 and last["instance"] > 0  # Cold, then active.
  assert last["semantic"] < 0.9 * history[1]["semantic"]
  assert last["ce"] < 0.5 * first["ce"]


@pytest.mark.parametrize(
  "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)
def test_files_it_names_exist(page):
  text = page.read_text()
  linked = {page.parent / name for name in LINK.findall(text)}
  named = {ROOT / name for name in PATH.findall(text)}
  missing = [path for path in sorted(linked | named) if not path.exists()]
  assert not missing


def read_names(path):
  """Returns what a module defines at its top, and `Class.method`."""
  names = set()
  for node in ast.parse(path.read_text()).body:
    for target in getattr(node, "targets", []):
      names.add(ast.unparse(target))
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      names.add(node.name)
      names |= {
        f"{node.name}.{child.name}"
        for child in ast.iter_child_nodes(node)
        if isinstance(child, ast.FunctionDef)
      }
  return names


def test_the_guide_to_the_code_names_what_exists():
  text = " ".join((ROOT / "docs" / "CODE.md").read_text().split())
  pairs = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
  assert len(pairs) > 50
  names = {
    path: read_names(path)
    for folder in ("sgcl_jax", "data_prep", "configs", "launch")
    for path in (ROOT / folder).rglob("*.py")
  }
  # A file that was named before may be named without its directory.
  unknown = [
    f"{file}:{name}"
    for file, name in pairs
    if not any(
      name in found
      for path, found in names.items()
      if str(path).endswith(f"/{file}")
    )
  ]
  assert not unknown
