# SPDX-License-Identifier: Apache-2.0
"""Paths are local and expanded; every command reads them in the same way."""

import argparse
import functools
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

from data_prep import ntu60
from sgcl_jax import command, errors, main, train
from sgcl_jax.runs import checkpoint
from sgcl_jax.terminal import paths
from tests.conftest import ROOT

# Options that take a text which is no path.
NO_PATHS = {
  *("--anchor", "--classes", "--config", "config", "--configs", "--devices"),
  *("--coordinator", "--precisions", "--preset"),
  *("--revision", "--show", "--splits"),
}
COMMANDS = sorted(
  path
  for folder in ("sgcl_jax", "data_prep", "launch")
  for path in (ROOT / folder).rglob("*.py")
  if "command.Parser(" in path.read_text(encoding="utf-8")
)


def test_a_home_directory_is_expanded(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  assert paths.expand("~/x") == pathlib.Path("/home/me/x")
  assert paths.expand("a~/x") == pathlib.Path("a~/x")
  with pytest.raises(errors.ConfigError, match="a user who does not exist"):
    paths.expand("~nobody_of_this_name/x")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("gs://bucket/x", "is not a local path"),
    ("s3:/bucket", "is not a local path"),
    ("file:///x", "is not a local path"),
    ("", "the path is empty"),
    ("a\nb", r"'a\\nb' has characters that cannot be printed"),
  ],
)
def test_a_path_that_is_none(text, message):
  with pytest.raises(errors.ConfigError, match=message):
    paths.expand(text)
  with pytest.raises(argparse.ArgumentTypeError, match=message):
    command.workdir(text)


@pytest.mark.parametrize("name", ["[1]", "a*", "a?", "a]", "a\\b"])
def test_a_workdir_that_could_not_be_read_is_refused(
  name, tmp_path, tiny, call_main, monkeypatch
):
  character = re.sub("[a1b]", "", name)[0]
  message = re.escape(f"has {character!r} in its name")
  with pytest.raises(errors.ConfigError, match=message):
    checkpoint.Checkpoints(tmp_path / name)
  with pytest.raises(errors.ConfigError, match=message):
    train.run(tiny(), tmp_path / name)
  result = call_main(
    main.main,
    *("--config=configs/ctrgcn_ucla.py", f"--workdir={tmp_path / name}"),
  )
  assert result.returncode == 1 and re.search(message, result.stderr)
  assert not list(tmp_path.iterdir())
  # The directory that a command is started from counts, too.
  (tmp_path / name).mkdir()
  monkeypatch.chdir(tmp_path / name)
  with pytest.raises(argparse.ArgumentTypeError, match=message):
    command.workdir("run")


def test_a_directory_of_data_may_have_any_name(tmp_path, tiny, tiny_data):
  (tmp_path / "data [1]").symlink_to(tiny_data)
  parts = tiny(**{"data.dir": str(tmp_path / "data [1]")})
  assert len(parts.source.load_test()) == 13


def test_fields_that_are_paths_are_expanded(tiny, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  fields = {"data.dir": "~/data", "init_from": "~/run"}
  parts = tiny(**fields)
  assert parts.source.data_dir == f"{tmp_path}/data"
  assert parts.init_from == f"{tmp_path}/run"
  assert parts.record["data"]["dir"] == f"{tmp_path}/data"
  for key in (*fields, "skeleton"):
    message = f"config.{key}: gs://b is not a local path"
    with pytest.raises(errors.ConfigError, match=message):
      tiny(**{key: "gs://b"})


def test_no_command_waits_for_jax_to_print_its_help():
  """Mistakes in the arguments show at once, too."""
  loads = "\n".join(
    f"spec = util.spec_from_file_location('loaded', {str(path)!r})\n"
    "spec.loader.exec_module(util.module_from_spec(spec))\n"
    f"assert 'jax' not in sys.modules, {str(path)!r}"
    for path in COMMANDS
  )
  result = subprocess.run(
    [sys.executable, "-c", f"import sys\nfrom importlib import util\n{loads}"],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert result.returncode == 0, result.stderr


class Parsed(Exception):
  """Ends a command once its arguments are declared."""


def load(path):
  """Returns the `main` of a command's file."""
  spec = importlib.util.spec_from_file_location("loaded", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if path.match("ntu/convert.py"):  # Both sets share it.
    return functools.partial(module.main, ntu60.NTU60)
  return module.main


@pytest.mark.parametrize(
  "path", COMMANDS, ids=[str(path.relative_to(ROOT)) for path in COMMANDS]
)
def test_every_command_reads_paths_in_the_same_way(path, monkeypatch):
  declared = []

  def stop(self, *_):
    declared.extend(self._actions)
    raise Parsed

  monkeypatch.setattr(command.Parser, "parse_known_args", stop)
  with pytest.raises(Parsed):
    load(path)([])
  for argument in declared:
    takes_text = argument.type in (None, str, pathlib.Path)
    if argument.nargs == 0 or argument.choices or not takes_text:
      continue
    names = set(argument.option_strings) or {argument.dest}
    assert names & NO_PATHS, f"{names} needs command.path or command.workdir"
