# SPDX-License-Identifier: Apache-2.0
"""Several processes: kills and Ctrl-C."""

import concurrent.futures
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_prep.ntu import shards
from sgcl_jax import errors
from tests.data_prep.ntu import conversion, raw_text
from tests.data_prep.ntu.raw_text import make_frames, make_joints, make_text


def test_kill_9_with_workers(tmp_path):
  """The processes end with the one that started them, and the run goes on."""
  raw = tmp_path / "raw"
  raw.mkdir()
  original = tmp_path / "original"
  original.write_bytes(make_text(make_frames(make_joints(0, 60))))
  names = [
    f"S{s:03}C001P001R001A{a:03}" for s in range(1, 15) for a in range(1, 61)
  ]
  for name in names:
    os.link(original, raw / f"{name}.skeleton")
  command = [sys.executable, "-m", "data_prep.ntu60", "--raw", str(raw)]
  command += ["--out", str(tmp_path / "out"), "--workers=2"]
  process = subprocess.Popen(command, cwd=raw_text.ROOT)
  results = tmp_path / ".out.incomplete" / "results"
  while not list(results.glob("*.json")):
    assert process.poll() is None
    time.sleep(0.02)
  children = f"/proc/{process.pid}/task/{process.pid}/children"
  children = pathlib.Path(children).read_text().split()
  assert len(children) >= 2
  process.send_signal(signal.SIGKILL)
  process.wait()
  deadline = time.monotonic() + 30
  while any(map(is_alive, children)):
    assert time.monotonic() < deadline
    time.sleep(0.05)
  assert not (tmp_path / "out").exists()
  result = subprocess.run(
    command, cwd=raw_text.ROOT, capture_output=True, text=True, timeout=120
  )
  assert result.returncode == 0, result.stderr
  assert len(conversion.read(tmp_path / "out")) == len(names)


def is_alive(pid):
  try:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return text.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def default_ctrl_c():
  """Resets SIGINT, which a shell's `&` ignores, for processes started here."""
  handler = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("default_ctrl_c")
def test_ctrl_c_while_the_workers_start(tmp_path):
  """A terminal interrupts all processes at once; the first alone answers."""
  raw = tmp_path / "raw"
  raw.mkdir()
  original = tmp_path / "original"
  original.write_bytes(make_text(make_frames(make_joints(0, 60))))
  # 5,040 clips in several shards: seconds of work, even if this test is slow.
  for i, camera, repetition, action in itertools.product(
    range(1, 15), range(1, 4), range(1, 3), range(1, 61)
  ):
    name = f"S{i:03}C{camera:03}P{1 + i % 4:03}R{repetition:03}A{action:03}"
    os.link(original, raw / f"{name}.skeleton")
  command = [sys.executable, "-m", "data_prep.ntu60", "--raw", str(raw)]
  command += ["--out", str(tmp_path / "out"), "--workers=2"]
  process = subprocess.Popen(
    command,
    cwd=raw_text.ROOT,
    start_new_session=True,
    stderr=subprocess.PIPE,
    text=True,
  )
  children = f"/proc/{process.pid}/task/{process.pid}/children"
  while len(pathlib.Path(children).read_text().split()) < 3:
    assert process.poll() is None
    time.sleep(0.005)
  os.killpg(process.pid, signal.SIGINT)
  _, messages = process.communicate(timeout=60)
  assert messages == "interrupted; the same command goes on from here\n"
  assert process.returncode == 130


def test_ctrl_c_waits_for_the_workers(raw, tmp_path, monkeypatch):
  """Even if a thread of some library is the one that takes the signal."""
  started = []
  submit = concurrent.futures.ProcessPoolExecutor.submit

  def interrupt_and_submit(*args):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    started.append(submit(*args))
    return started[-1]

  monkeypatch.setattr(
    concurrent.futures.ProcessPoolExecutor, "submit", interrupt_and_submit
  )
  done = threading.Event()
  library = threading.Thread(target=done.wait)
  library.start()
  try:
    with pytest.raises(KeyboardInterrupt):
      conversion.run(raw, tmp_path / "out", "--workers=2")
  finally:
    done.set()
    library.join()
  assert len(started) == len(
    conversion.FILES
  )  # Each is the only one of its cell.


def test_a_killed_worker_is_reported(raw, tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "write", kill_oneself)
  with pytest.raises(errors.DataError, match="a worker process was killed"):
    conversion.run(raw, tmp_path / "out", "--workers=2")


def kill_oneself(shard):
  os.kill(os.getpid(), signal.SIGKILL)
