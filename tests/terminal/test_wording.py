# SPDX-License-Identifier: Apache-2.0
"""Numbers with their nouns, and commands that run as they are printed."""

import ast
import re
import shlex

import pytest

from data_prep import nw_ucla, training
from sgcl_jax import errors
from sgcl_jax.terminal import wording
from tests.conftest import ROOT


@pytest.mark.parametrize(
  ("number", "noun", "text"),
  [
    (1, "step", "1 step"),
    (0, "step", "0 steps"),
    (1020, "clip", "1,020 clips"),
    (2, "class", "2 classes"),
    (2, "epoch", "2 epochs"),
    (1, "class", "1 class"),
  ],
)
def test_one_is_singular(number, noun, text):
  assert wording.count(number, noun) == text


def test_a_command_is_quoted_where_a_shell_needs_it():
  line = wording.command_line("sgcl_jax.main", "--config.data.dir=my data/[1]")
  assert line == "python -m sgcl_jax.main '--config.data.dir=my data/[1]'"
  assert shlex.split(line)[3] == "--config.data.dir=my data/[1]"


def test_messages_about_one(tiny):
  source = tiny(**{"data.repeats": 1}).source
  with pytest.raises(errors.TrainingError, match="^1 clip, each drawn 1 time "):
    source.num_steps(1)
  wide = tiny(num_persons=2).source
  with pytest.raises(errors.DataError, match="holds 1 person of 20 joints"):
    wide.load_train()
  with pytest.raises(errors.DataError, match="frame 0 has 1 joint, not 20"):
    nw_ucla._parse_skeletons([[[0.0, 0.0, 0.0]]])


def test_a_printed_path_survives_the_shell(tmp_path):
  clips = {"train": {"wave": 3, "bow": 3}}
  line = training.make_command("ctrgcn_custom", tmp_path / "my data", clips)
  assert f"--config.data.dir={tmp_path}/my data" in shlex.split(line)


def test_no_command_is_pasted_together():
  """What is printed as a command comes from `wording.command_line`."""
  for folder in ("sgcl_jax", "data_prep", "launch"):
    for path in (ROOT / folder).rglob("*.py"):
      text = path.read_text(encoding="utf-8")
      pasted = re.findall(r'f"[^"\n]*python -m [^"\n]*\{(?!module)', text)
      assert not pasted or path.name == "wording.py", (path, pasted)


def read_texts(path):
  """Yields the strings of a file, values in them as `{}`."""
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.JoinedStr):
      parts = (getattr(part, "value", None) for part in node.values)
      yield "".join(x if isinstance(x, str) else "{}" for x in parts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
      yield node.value


def test_a_remedy_names_fields_as_they_are_typed():
  """With `--config.`; a field that a message is about goes without."""
  verbs = "set|lower|raise|longer|another|below"
  for folder in ("sgcl_jax", "data_prep", "launch", "configs"):
    for path in (ROOT / folder).rglob("*.py"):
      for text in read_texts(path):
        found = re.search(rf"\b({verbs}) config\.[a-z]\w*", text)
        assert not found, (path, text)
