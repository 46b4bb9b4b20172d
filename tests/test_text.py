# SPDX-License-Identifier: Apache-2.0
"""Text is UTF-8, whatever the locale and the terminal."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("sgcl_jax", "data_prep", "configs", "launch")
# An ASCII locale, which Python would otherwise replace by UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


# Convert without TensorFlow Datasets, which takes seconds to import.
READ = """
import pathlib, sys
from data_prep.clips import reader
from sgcl_jax import command, skeletons
from sgcl_jax.dataset import naming
raw, layout, names = map(pathlib.Path, sys.argv[1:])
def main():
  names_ = naming.read(names)
  options = reader.Options(skeletons.get(str(layout)), names_)
  (clip,) = reader.read_all(raw, options).clips
  print(ascii(clip.name), ascii(clip.label), ascii(clip.notes[0]))
command.run(main)
"""


def find_calls(path):
  """Yields the calls that open text in the encoding of the locale."""
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if not isinstance(node, ast.Call):
      continue
    if any(
      getattr(arg, "value", None) in ("utf-8", "utf-8-sig")
      for arg in [*node.args, *(keyword.value for keyword in node.keywords)]
    ):
      continue
    owner, _, name = ast.unparse(node.func).rpartition(".")
    modes = [
      arg.value
      for arg in [*node.args, *(keyword.value for keyword in node.keywords)]
      if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
    ]
    modes = [
      mode for mode in modes if re.fullmatch("[rwaxt+]+b?[rwaxt+]*", mode)
    ]
    is_text = (
      (name in ("read_text", "write_text") and owner not in ("", "files"))
      # An archive is opened with a name, a path without one.
      or (name == "open" and owner and not node.args and not node.keywords)
      or (name == "open" and not owner and not modes)
      or (name == "open" and any("b" not in mode for mode in modes))
    )
    if is_text:
      yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_no_file_is_read_or_written_in_the_encoding_of_the_locale():
  paths = [path for name in FOLDERS for path in (ROOT / name).rglob("*.py")]
  assert len(paths) > 50
  assert not [call for path in paths for call in find_calls(path)]


@pytest.mark.parametrize(
  "encoding", [None, "latin-1"], ids=["ascii", "latin-1"]
)
def test_what_a_terminal_cannot_show_is_escaped(encoding):
  code = (
    "from sgcl_jax import command\n"
    "command.run(lambda: print('class   \\u8d70\\u8def: k\\xf6pfen'))"
  )
  env = {**os.environ, **ASCII}
  if encoding:
    env["PYTHONIOENCODING"] = encoding
  done = subprocess.run(
    [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True
  )
  assert (done.returncode, done.stderr) == (0, b"")
  shown = b"k\xf6pfen" if encoding else rb"k\xf6pfen"
  assert done.stdout == rb"class   \u8d70\u8def: " + shown + b"\n"


def test_a_conversion_in_an_ascii_locale(tmp_path):
  """File names, class names and the layout are those of the raw files."""
  raw = tmp_path / "raw"
  raw.mkdir()
  clip = (
    '{"skeleton": [[[1, 2, 3], [0, 0, 0]]], "label": "走路", "split": "test"}'
  )
  (raw / "käse.json").write_text(clip, encoding="utf-8")
  layout = tmp_path / "layout.json"
  text = '{"name": "ä", "joints": ["é", "ü"], "bones": [["ü", "é"]],'
  text += '"center": "é", "dimensions": 3}'
  layout.write_text("\ufeff" + text, encoding="utf-8")
  names = tmp_path / "names.txt"
  names.write_text("走路\n", encoding="utf-8")
  done = subprocess.run(
    [sys.executable, "-c", READ, raw, layout, names],
    env={**os.environ, **ASCII},
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert (done.returncode, done.stderr) == (0, "")
  name, label, note = done.stdout.split(" ", 2)
  assert (name, label) == (ascii("käse"), ascii("走路"))
  assert note.startswith(ascii("'ü' at exactly zero in all frames")[:-1])
