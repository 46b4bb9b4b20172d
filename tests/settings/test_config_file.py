# SPDX-License-Identifier: Apache-2.0
"""Configs are found from any place, and the right package `configs` is used."""

import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from data_prep import ctrgcn_npz, custom, ntu60, nw_ucla, pyskl
from sgcl_jax import errors
from sgcl_jax.settings import config_file
from tests.conftest import ROOT

MINE = """
from configs import common

def get_config(arg=None):
  config = common.base()
  config.seed = 7
  return config
"""


@pytest.mark.parametrize(
  ("spec", "parts"),
  [
    ("a.py", ("a.py", "")),
    ("a.py:x=1,y=2", ("a.py", "x=1,y=2")),
    ("b:c/a.py:x=1", ("b:c/a.py", "x=1")),
    ("b:c/a.py", ("b:c/a.py", "")),
    ("a:x=1", ("a", "x=1")),
    ("a", ("a", "")),
  ],
)
def test_options_follow_the_colon(spec, parts):
  assert config_file.split(spec) == parts


def test_a_bare_name_is_an_installed_config(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("agcn_ntu120", "agcn_ntu120.py"):
    found = config_file.find(name)
    assert found == config_file.INSTALLED / "agcn_ntu120.py"
  config = config_file.load("agcn_ntu120:split=xset")
  assert (config.backbone, config.data.split) == ("agcn", "xset")
  # A file of the user's own comes first.
  (tmp_path / "agcn_ntu120.py").write_text(MINE)
  assert config_file.load("agcn_ntu120.py").seed == 7


def test_all_installed_configs_are_listed():
  names = config_file.list_installed()
  assert {"quickstart", "infogcn_custom", "ctrgcn_ntu60"} <= set(names)
  assert all(config_file.load(name).backbone for name in names)
  with pytest.raises(
    errors.ConfigError,
    match="an installed one has no folder: --config ctrgcn_ntu60",
  ):
    config_file.find("no_folder/ctrgcn_ntu60.py")


def test_a_file_of_ones_own_works_from_any_place(tmp_path, monkeypatch):
  (tmp_path / "sub").mkdir()
  (tmp_path / "mine.py").write_text(MINE)
  monkeypatch.chdir(tmp_path / "sub")
  monkeypatch.setenv("HOME", str(tmp_path))
  for spec in ("../mine.py", str(tmp_path / "mine.py"), "~/mine.py"):
    assert config_file.load(spec).seed == 7


def import_first(monkeypatch, folder):
  """Makes Python find packages in a folder first, as in a new process."""
  monkeypatch.syspath_prepend(folder)
  for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
    monkeypatch.delitem(sys.modules, name)
  importlib.invalidate_caches()


@pytest.mark.parametrize("content", ["", "x = 1"])
def test_another_package_of_this_name_is_named(tmp_path, monkeypatch, content):
  """A user's own folder `configs`, or a package that was installed before."""
  other = tmp_path / "configs"
  other.mkdir()
  (other / "__init__.py").write_text("")
  (other / "common.py").write_text(content)
  (tmp_path / "mine.py").write_text(MINE)
  import_first(monkeypatch, tmp_path)
  for spec in ("ctrgcn_ntu60", str(tmp_path / "mine.py")):
    with pytest.raises(errors.ConfigError) as caught:
      config_file.load(spec)
    message = str(caught.value)
    assert f"finds another one in {other}" in message
    assert "rename that folder" in message and "\n" not in message


@pytest.mark.parametrize(
  "converter",
  [
    (custom.main, "--layout", "coco17"),
    (pyskl.main,),
    (ctrgcn_npz.main,),
    (ntu60.main,),
    (nw_ucla.main,),
  ],
)
def test_a_converter_names_it_before_it_begins(
  tmp_path, monkeypatch, converter
):
  """Its last line takes fields from the configs."""
  other = tmp_path / "configs"
  other.mkdir()
  (other / "__init__.py").write_text("")
  import_first(monkeypatch, tmp_path)
  main, *options = converter
  with pytest.raises(errors.ConfigError, match="data_prep.* finds another one"):
    main(["--raw", "absent", "--out", str(tmp_path / "out"), *options])


def test_no_module_needs_the_package_to_be_imported():
  """A module that did would fail before anything could name a clash."""
  imports = re.compile(r"^(from|import) configs\b", re.MULTILINE)
  files = [*ROOT.glob("sgcl_jax/**/*.py"), *ROOT.glob("data_prep/**/*.py")]
  assert len(files) > 100
  assert [f for f in files if imports.search(f.read_text("utf-8"))] == []


def test_a_config_that_needs_no_package_is_not_blamed(tmp_path, monkeypatch):
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "__init__.py").write_text("")
  (tmp_path / "mine.py").write_text("def get_config():\n  return {}['a']\n")
  import_first(monkeypatch, tmp_path)
  with pytest.raises(errors.ConfigError, match="line 2: KeyError"):
    config_file.load(str(tmp_path / "mine.py"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """Returns a runner of the Python of a new environment with the package.

  The dependencies are those of this environment. Nothing of the checkout is on
  the path.
  """
  root = tmp_path_factory.mktemp("installed")
  source = root / "source"
  for name in ("sgcl_jax", "configs", "data_prep"):
    shutil.copytree(ROOT / name, source / name)
  for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, source)
  subprocess.run([sys.executable, "-m", "venv", root / "env"], check=True)
  (site,) = root.glob("env/lib/*/site-packages")
  ours = pathlib.Path(pytest.__file__).parents[1]
  (site / "dependencies.pth").write_text(f"{ours}\n")
  env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  (root / "elsewhere").mkdir()

  def run(*args):
    return subprocess.run(
      [root / "env" / "bin" / "python", *args],
      cwd=root / "elsewhere",
      env=env,
      capture_output=True,
      text=True,
      timeout=900,
    )

  done = run("-m", "pip", "install", "--quiet", "--no-deps", source)
  assert done.returncode == 0, done.stderr
  shutil.rmtree(source)
  return run


@pytest.mark.slow
def test_the_installed_package_trains(installed):
  raw = ("--out", "raw", "--num_classes", "2", "--clips_per_class", "26")
  sizes = ("batch_size=8", "data.window=8", "optim.num_epochs=1")
  for line in (
    ("data_prep.synthetic", *raw),
    ("data_prep.ntu60", "--raw", "raw", "--out", "data/quickstart"),
    (
      *("sgcl_jax.main", "--config", "quickstart:gcl=false"),
      *(f"--config.{size}" for size in sizes),
    ),
  ):
    result = installed("-m", *line)
    assert result.returncode == 0, result.stderr
  assert "epoch 1: top-1" in result.stdout
  found = installed("-m", "sgcl_jax.main", "--config", "ctrgcn_ntu60")
  assert found.returncode == 1
  assert "no data set in data/ntu60. Prepare it with" in found.stderr


@pytest.mark.slow
def test_the_installed_package_names_a_clash(installed):
  place = pathlib.Path(
    installed("-c", "import os; print(os.getcwd())").stdout[:-1]
  )
  (place / "configs").mkdir()
  (place / "mine.py").write_text(MINE)
  # A folder alone does not come before the installed package.
  result = installed("-m", "sgcl_jax.main", "--config", "mine.py")
  assert "config.data.dir is missing" in result.stderr  # MINE has no data.
  (place / "configs" / "__init__.py").write_text("")
  for spec in ("mine.py", "ctrgcn_ntu60"):
    result = installed("-m", "sgcl_jax.main", "--config", spec)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"finds another one in {place / 'configs'}" in line
  own = "data_prep.custom", "--raw", "clips", "--layout", "coco17"
  for command_line, message in {
    own: "data_prep.custom needs the package `configs`",
    ("sgcl_jax.results", "table", "--csv", "absent.csv"): "absent.csv",
    ("sgcl_jax.report", "--workdir", "absent"): "no directory absent",
  }.items():
    result = installed("-m", *command_line)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert message in line
  shutil.rmtree(place / "configs")
