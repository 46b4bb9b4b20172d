# SPDX-License-Identifier: Apache-2.0
"""`benchmark --all`: one file, what is in it, and what is measured again."""

import fcntl
import json
import subprocess
import threading

import pytest

from sgcl_jax.benchmark import __main__ as benchmark
from sgcl_jax.benchmark import sweep
from sgcl_jax.runs import history
from sgcl_jax.settings import config_file

FIGURES = {
  "train_ms_per_clip": 1.25,
  "train_clips_per_second": 800.0,
  "inference_clips_per_second": 2000.0,
  "compile_seconds": 40.0,
  "peak_memory_gib": 3.5,
}
PRECISIONS = {
  "float32": {"matmul_precision": "highest"},
  "tf32": {"matmul_precision": "tensorfloat32"},
  "bfloat16": {"model.dtype": "bfloat16"},
}
MEMORY = "error: out of memory (RESOURCE_EXHAUSTED); free some memory"


class Machine:
  """In place of processes; `answers` are errors by (config, beside others)."""

  def __init__(self):
    self.lines, self.answers, self.jax = [], {}, "0.10.2"
    self.lock = threading.Lock()

  def launch(self, arguments, environment, running):
    done = subprocess.CompletedProcess(arguments, 0, "", "")
    if arguments[0] == "-c":
      machine = {"device": "1 x H100", "cores": 16, "jax": self.jax}
      done.stdout = json.dumps(machine)
      return done
    with self.lock:
      self.lines.append((arguments, environment))
    name = arguments[arguments.index("--config") + 1]
    error = self.answers.get((name, bool(environment)))
    done.stdout = json.dumps({"devices": "1 x H100", **FIGURES})
    if error:
      done.returncode, done.stdout = 1, ""
      done.stderr = f"10 rounds\r{error}\n"
    return done


@pytest.fixture
def machine(monkeypatch):
  machine = Machine()
  monkeypatch.setattr(sweep, "launch", machine.launch)
  monkeypatch.setattr(history, "find_revision", lambda: "abc1234")
  monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
  return machine


@pytest.fixture
def run_all(call_main, tmp_path):
  """Returns a runner of `--all`: what it printed, and the rows of the file."""
  out = tmp_path / "h100.json"

  def run(*args):
    done = call_main(benchmark.main, "--all", "--out", out, *args)
    return done, json.loads(out.read_text())["rows"] if out.exists() else None

  return run


def test_all_configs_at_all_precisions(machine, run_all):
  done, rows = run_all("--repeats=3", "--config.batch_size=16")
  assert done.returncode == 0, done.stderr
  pairs = {(row["config"], row["precision"]) for row in rows}
  assert len(rows) == len(pairs) == 27
  for row, (line, environment) in zip(rows, machine.lines, strict=True):
    config, keys = config_file.load(row["config"]), {}
    for argument in line:
      if argument.startswith("--config."):
        key, _, value = argument.removeprefix("--config.").partition("=")
        keys[key] = value
    assert config.backbone == row["config"].split("_")[0]
    assert keys.pop("batch_size") == "16"
    assert keys == PRECISIONS[row["precision"]]
    assert "--repeats=3" in line and environment == {}
    assert row["result"] == {"devices": "1 x H100", **FIGURES}
    assert row["overrides"] == ["--config.batch_size=16"]
    assert (row["device"], row["revision"]) == ("1 x H100", "abc1234")
  table = done.stdout.splitlines()
  assert "infogcn_ntu120   bfloat16              1.25 " in table[-2]


SOME = "--configs=ctrgcn_ucla,agcn_ucla", "--precisions=tf32"


def test_only_what_is_missing_is_measured(machine, run_all):
  machine.answers["agcn_ucla", False] = "error: no such thing"
  done, rows = run_all(*SOME)
  assert done.returncode == 1
  assert done.stderr.splitlines() == [
    "error: not measured:",
    "agcn_ucla tf32: no such thing",
  ]
  assert [row.get("error") for row in rows] == [None, "no such thing"]
  machine.answers.clear()
  done, rows = run_all(*SOME)
  assert done.returncode == 0
  assert [line[4] for line, _ in machine.lines[2:]] == ["agcn_ucla"]
  assert len(rows) == 2 and all("result" in row for row in rows)
  # Another setting or version is another measurement.
  for change in ("--repeats=2", "--config.batch_size=4"):
    before = len(rows)
    _, rows = run_all(*SOME, change)
    assert len(rows) == before + 2
  machine.jax = "0.12.0"
  done, rows = run_all(*SOME, "--json")
  assert len(rows) == 8
  assert json.loads(done.stdout)["rows"] == rows[6:]


def test_an_interrupted_sweep_says_that_it_goes_on(
  machine, run_all, monkeypatch
):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(sweep, "launch", interrupt)
  done, _ = run_all()
  assert done.returncode == 130
  assert "interrupted; the same command goes on from here\n" in done.stderr


def test_too_little_memory_is_a_result(machine, run_all):
  machine.answers["agcn_ucla", False] = MEMORY
  done, rows = run_all(*SOME)
  assert done.returncode == 0
  assert "result" in rows[0]
  assert rows[1]["error"].startswith("out of memory (RESOURCE_EXHAUSTED)")
  assert "agcn_ucla        tf32        out of memory" in done.stdout
  run_all(*SOME)
  assert len(machine.lines) == 2


def test_what_failed_beside_others_is_measured_alone(machine, run_all):
  machine.answers["agcn_ucla", True] = MEMORY
  done, rows = run_all(*SOME, "--jobs=2")
  assert done.returncode == 0
  jobs = {row["config"]: row["jobs"] for row in rows}
  assert jobs == {"ctrgcn_ucla": 2, "agcn_ucla": 1}
  assert all("result" in row for row in rows)
  shares = [set(environment.values()) for _, environment in machine.lines]
  assert shares == [{"0.450"}, {"0.450"}, set()]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--configs=ctrgcn"], "'ctrgcn' is none of ctrgcn_ucla, agcn_ucla"),
    (["--precisions=fp8"], "'fp8' is none of float32, tf32, bfloat16"),
    (["--jobs=0"], "--jobs=0 is less than 1"),
    (["--config=ctrgcn_ucla"], "--config does not go with --all"),
    (["--config.model.dtype=float16"], "chosen with --precisions"),
    (["--config.batch_sise=4"], "did you mean config.batch_size?"),
  ],
)
def test_refusals(machine, run_all, options, message):
  done, rows = run_all(*options)
  assert done.returncode == 1 and rows is None and not machine.lines
  assert message in done.stderr and done.stderr.count("\n") == 1


def test_options_of_all_need_it(call_main):
  done = call_main(benchmark.main, "--config=ctrgcn_ucla", "--jobs=2")
  assert done.stderr == "error: --jobs needs --all\n"


@pytest.mark.parametrize("text", ["[]", "{", '{"rows": [{"config": 1}]}'])
def test_another_file_is_left_alone(machine, call_main, tmp_path, text):
  out = tmp_path / "other.json"
  out.write_text(text)
  done = call_main(benchmark.main, "--all", "--out", out)
  assert done.returncode == 1 and not machine.lines
  assert f"--out={out}: is no file of --all" in done.stderr
  assert out.read_text() == text


def test_timing_waits_until_no_other_compiles(tmp_path):
  path = tmp_path / "timing"
  with benchmark._sharing(path) as wait, path.open("a") as other:
    fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)  # It compiles, too.
    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    fcntl.flock(other, fcntl.LOCK_UN)
    waiting.join(10)
    assert not waiting.is_alive()
    with pytest.raises(BlockingIOError):
      fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_the_reason_of_a_process_that_failed():
  line = ["-c", "import sys; print('seen'); sys.exit('bar\\rerror: a reason')"]
  running = set()
  done = sweep.launch(line, {}, running)
  assert (done.returncode, done.stdout) == (1, "seen\n") and not running
  assert sweep._find_reason(done) == "a reason"
  # Below its exceptions, JAX says how to see the whole traceback.
  done.stderr = (
    "Traceback:\njax.errors.JaxRuntimeError: bad\n---\nFor more, see"
  )
  reason = "exit code 1: jax.errors.JaxRuntimeError: bad"
  assert sweep._find_reason(done) == reason
  done.stderr, done.returncode = "", -9
  assert sweep._find_reason(done) == "exit code -9: no message"


def test_an_interruption_ends_what_runs_and_begins_nothing(
  machine, monkeypatch, tmp_path
):
  """The first has finished, the second runs, and the others are waiting."""
  begun, ended, out = threading.Event(), threading.Event(), tmp_path / "x.json"

  class Process:
    def terminate(self):
      ended.set()

  def launch(arguments, environment, running):
    done = machine.launch(arguments, environment, running)
    if len(machine.lines) == 2:
      running.add(Process())
      begun.set()
      assert ended.wait(10)
      done.returncode = 143
    return done

  def write(path, content):
    if content["rows"]:
      assert begun.wait(10)
      raise KeyboardInterrupt

  def run():
    with pytest.raises(KeyboardInterrupt):
      sweep.run(out, sweep.CONFIGS, ["float32"])

  monkeypatch.setattr(sweep, "launch", launch)
  monkeypatch.setattr(sweep.files, "write_json", write)
  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(20)
  assert not thread.is_alive() and ended.is_set()
  assert len(machine.lines) == 2
