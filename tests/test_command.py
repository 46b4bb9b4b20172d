# SPDX-License-Identifier: Apache-2.0
"""How commands parse arguments, report mistakes and end."""

import os
import signal
import subprocess
import sys

import jax
import pytest

import sgcl_jax
from sgcl_jax import command, errors, models
from sgcl_jax.settings import config_file, fields
from tests.conftest import ROOT

CONFIG = "configs/ctrgcn_ucla.py"


def parse(*argv):
  parser = command.Parser("sgcl_jax.test", "A test.")
  parser.add_config()
  parser.add_json("nothing")
  return parser.parse_args(argv)


def test_fields_and_options_of_a_config():
  args = parse(
    *("--config", f"{CONFIG}:modality=bone", "--config.batch_size", "8"),
    *("--json", "--config.gcl=false", "--config.optim.decay_epochs=(1, 2)"),
  )
  config = args.config
  assert (config.data.modality, config.batch_size, config.gcl) == (
    "bone",
    8,
    False,
  )
  assert config.optim.decay_epochs == (1, 2)
  negative = parse("--config", CONFIG, "--config.data.max_angle", "-5")
  assert negative.config.data.max_angle == -5
  assert args.overrides == ("batch_size", "gcl", "optim.decay_epochs")
  assert (args.config_name, args.json) == ("ctrgcn_ucla", True)
  # The next command starts from the defaults again.
  again = parse("--config", CONFIG)
  assert again.config.batch_size == 16 and again.overrides == ()
  assert parse().config is None


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--config", CONFIG, "bone"], "unexpected arguments: bone"),
    (
      ["ctrgcn_custom:preset=small"],
      "unexpected arguments: ctrgcn_custom:preset=small; a config is named by"
      " --config ctrgcn_custom:preset=small",
    ),
    (["own.py"], "unexpected arguments: own.py; a config is named by --config"),
    (["--config", CONFIG, "--speed=3"], "unknown option --speed"),
    (["--config", CONFIG, "--noconfig.gcl"], "unknown option --noconfig.gcl"),
    (["--config", CONFIG, "-config.seed=3"], "unknown option -config.seed"),
    (["--speed=3"], "unknown option --speed"),
    (["--jsn"], "unknown option --jsn; did you mean --json?"),
    (
      ["--batch_size=3"],
      "unknown option --batch_size; a field of the config is set by"
      " --config.<key>=<value>",
    ),
    (["--config", "x/absent.py"], "there is no config file x/absent.py"),
    (
      ["--config", "configs/ctrgcn_ntu6.py"],
      "no config file configs/ctrgcn_ntu6.py; did you mean"
      " configs/ctrgcn_ntu60.py?",
    ),
    (
      ["--config", "agcn_ntu60.yaml"],
      "no config file agcn_ntu60.yaml; did you mean agcn_ntu60?",
    ),
    (["--config", "zzz"], "no config file zzz; installed: agcn_custom, agcn_"),
    (["--config", CONFIG, "--config.batch_size=many"], "batch_size='many'"),
    (
      ["--config", CONFIG, "--config.optim.base_rl=1"],
      "unknown key config.optim.base_rl; did you mean config.optim.base_lr?",
    ),
    (["--config", CONFIG, "--config.zzz=1"], "unknown key config.zzz"),
  ],
)
def test_arguments_that_make_no_sense(argv, message):
  with pytest.raises(errors.ConfigError) as caught:
    parse(*argv)
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)


def test_fields_without_a_config():
  args = parse("--config.seed=2")
  with pytest.raises(errors.ConfigError, match="seed=2 needs --config FILE"):
    command.require_config(args)
  config, keys = fields.override(config_file.load(CONFIG), args.pending)
  assert (config.seed, keys) == (2, ("seed",))


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = 1\ny = z\n", "line 2: NameError: name 'z' is not defined"),
    (
      "def get_config():\n  return {}['a']\n",
      "line 2: KeyError: 'a'",
    ),
    ("def get_config(:\n", "SyntaxError"),
    ("x = 1\n", "has no attribute 'get_config'"),
    ("def get_config():\n  return 3\n", "returns no ConfigDict"),
    ("def get_config():\n  config = 3\n", "its `return config` is missing"),
  ],
)
def test_a_bug_in_a_config_is_located(tmp_path, text, message):
  path = tmp_path / "mine.py"
  path.write_text(text)
  with pytest.raises(errors.ConfigError) as caught:
    parse("--config", str(path))
  assert message in str(caught.value) and str(path) in str(caught.value)


def test_a_mistake_in_a_config_is_only_told(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(
    "from sgcl_jax import errors\n"
    "def get_config():\n  raise errors.ConfigError('not like this')\n"
  )
  with pytest.raises(errors.ConfigError, match="^not like this$"):
    parse("--config", str(path))


MINE = {"num_classes": 2, "skeleton": "ucla", "num_persons": 1}


@pytest.fixture
def write_backbone(tmp_path, monkeypatch):
  """Returns a writer of modules that can be imported."""
  monkeypatch.syspath_prepend(tmp_path)
  return lambda name, text: (tmp_path / f"{name}.py").write_text(text)


@pytest.mark.parametrize(
  ("name", "line"),
  [
    ("buggy", "len(3)"),
    # An argument of another call: no mistake of the config.
    ("strange", "nn.Dense(3, colour=fields['num_classes'])"),
  ],
)
def test_a_bug_in_a_backbone_keeps_its_traceback(write_backbone, name, line):
  write_backbone(
    f"mine_{name}",
    f"from flax import linen as nn\ndef create(**fields):\n  return {line}\n",
  )
  with pytest.raises(TypeError) as caught:
    models.create(f"mine_{name}:create", **MINE)
  frames = [(each.path.name, each.lineno + 1) for each in caught.traceback]
  assert (f"mine_{name}.py", 3) in frames


def test_a_backbone_without_a_field(write_backbone):
  write_backbone(
    "mine_strict",
    "def create(num_classes, skeleton, num_persons):\n  return 3\n"
    "def create_inner(**fields):\n  return create(**fields)\n",
  )
  for function, place in (
    ("create", "models/__init__.py"),
    ("create_inner", "mine_strict.py, line 4"),
  ):
    with pytest.raises(
      errors.ConfigError,
      match=rf"'mine_strict:{function}' takes no config.model.size \(.*{place}",
    ):
      models.create(f"mine_strict:{function}", **MINE, size=3)


def test_backbones_that_cannot_be_imported(write_backbone):
  write_backbone("mine_importing", "import absent_package\n")
  with pytest.raises(ModuleNotFoundError, match="absent_package"):
    models.create("mine_importing:create", **MINE)
  with pytest.raises(errors.ConfigError, match="unknown backbone 'absent:x'"):
    models.create("absent:x", **MINE)
  write_backbone("mine_failing", "int('x')\n")
  with pytest.raises(ValueError, match="invalid literal"):  # Its own bug.
    models.create("mine_failing:create", **MINE)
  write_backbone("mine_of_nothing", "create, number = lambda: None, 3\n")
  for name, message in (
    ("", "unknown backbone ''"),
    ("../mine:create", "unknown backbone '../mine:create'"),
    (".mine:create", "unknown backbone '.mine:create'"),
    ("mine_of_nothing:create", "takes no num_classes"),
    ("mine_of_nothing:number", "cannot be called with num_classes.*callable"),
    ("os:path", "cannot be called with num_classes"),
    ("json:loads", "cannot be called with num_classes.*required"),
  ):
    with pytest.raises(errors.ConfigError, match=message):
      models.create(name, **MINE)


@pytest.mark.parametrize(
  ("error", "code", "message"),
  [
    (errors.DataError("no data"), 1, "error: no data\n"),
    (FileNotFoundError(2, "No such file", "x"), 1, "error: x: no such file"),
    (OSError(28, "No space left"), 1, "error: no space left; free some space"),
    (OSError("odd"), 1, "error: odd\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
    (KeyboardInterrupt("goes on"), 130, "goes on\n"),
  ],
)
def test_how_a_command_ends(error, code, message, capsys):
  def main():
    assert signal.getsignal(signal.SIGTERM) != handler
    raise error

  handler = signal.getsignal(signal.SIGTERM)
  with pytest.raises(SystemExit) as caught:
    command.run(main)
  assert caught.value.code == code
  assert capsys.readouterr().err.startswith(message)
  assert signal.getsignal(signal.SIGTERM) == handler


def test_a_signal_after_the_end_prints_nothing():
  script = """
import atexit, os, signal
from sgcl_jax import command

atexit.register(os.kill, os.getpid(), signal.SIGTERM)
command.run(lambda: None)
"""
  result = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, check=False
  )
  assert (result.returncode, result.stderr) == (-signal.SIGTERM, "")


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize(
  ("error", "cause"),
  [
    (MemoryError(), "MemoryError"),
    (
      jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9\nbytes"),
      "RESOURCE_EXHAUSTED: 9 bytes",
    ),
  ],
)
def test_too_little_memory(error, cause, with_config, capsys, monkeypatch):
  """Fields of a config are named by the commands that have one."""
  monkeypatch.setattr(signal, "signal", lambda *_: None)

  def main():
    parser = command.Parser("sgcl_jax.test", "A test.")
    if with_config:
      parser.add_config()
    parser.parse_args([])
    raise error

  with pytest.raises(SystemExit) as caught:
    command.run(main)
  assert caught.value.code == 1
  message = capsys.readouterr().err
  assert message.startswith(f"error: out of memory ({cause}); ")
  assert ("config.batch_size" in message) == with_config


def test_a_misspelt_option_comes_before_a_missing_one():
  parser = command.Parser("sgcl_jax.test", "A test.")
  parser.add_argument("--raw", required=True)
  with pytest.raises(errors.ConfigError, match="did you mean --raw?"):
    parser.parse_args(["--rwa", "x"])


TALKS = """
import sys
from sgcl_jax import command

def main():
  for number in range(100_000):
    print("line", number)
    print("notice", number, file=sys.stderr)
  open("done", "w").close()
  if len(sys.argv) > 1:
    raise command.errors.DataError("no")

command.run(main)
"""


@pytest.mark.parametrize(("options", "code"), [([], 0), (["fail"], 1)])
def test_a_reader_that_leaves_changes_nothing(tmp_path, options, code):
  """As `| head` does: the command ends as it would otherwise."""
  with subprocess.Popen(
    [sys.executable, "-c", TALKS, *options],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == "line 0\n"
    assert process.stderr.readline() == "notice 0\n"
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == code
  assert (tmp_path / "done").exists()


def test_the_version():
  result = subprocess.run(
    [sys.executable, "-m", "sgcl_jax.main", "--version"],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert result.returncode == 0
  assert result.stdout == f"sgcl_jax {sgcl_jax.__version__}\n"
