# SPDX-License-Identifier: Apache-2.0
"""Faults of a run of two processes: one of them is killed."""

import os
import pathlib
import shutil
import signal
import socket
import time

from sgcl_jax.devices import hosts
from tests.faults import stops
from tests.faults import trial as trials

# A process that is killed before the two have met does not come.
JOIN_SECONDS = 60


def kill_peer(trial: trials.Trial) -> trials.Outcome:
  """SIGKILL to one of two processes at a random moment."""
  whole, seconds = _make_whole(trial)
  index = trial.rng.randrange(2)
  pair = _begin(trial, trial.workdir, *stops.draw_saving(trial.rng))
  moment = time.monotonic() + trial.rng.uniform(0, seconds)
  is_alive = pair[index].wait_until(lambda: time.monotonic() >= moment)
  if is_alive:
    pair[index].hit(signal.SIGKILL)
  survivor = pair[1 - index].end()
  if pair[index].end().code == 0:
    raise trials.Unsuited("the run was over")
  outcome = _judge(trial, survivor, whole)
  outcome.waited = survivor.waited
  outcome.detail = f"process {index} killed: {outcome.detail}"
  return outcome


def _judge(trial, survivor, whole):
  """One line says what happened, and the same command goes on."""
  if survivor.hung:
    return trials.Outcome("hung")
  if survivor.code and not survivor.is_one_line():
    return trials.Outcome("unclear", f"{survivor.code} {survivor.err[-400:]}")
  newest = trials.find_newest(trial.workdir)
  ended = [run.end() for run in _begin(trial, trial.workdir)]
  outcome = trials.judge(ended, newest, trial.workdir, whole)
  if outcome.problem is None:
    outcome.detail = " ".join(survivor.messages())
  return outcome


def _make_whole(trial):
  """Returns the workdir of two undisturbed processes, and how long they take.

  It is made once, beside that of one process.
  """
  whole = trial.whole.with_name("pair")
  seconds = trial.whole.with_name("pair_seconds")
  # The second time finds its programs in the cache.
  while not seconds.exists():
    is_first = not whole.exists()
    shutil.rmtree(whole, ignore_errors=True)
    begin = time.monotonic()
    for end in [run.end() for run in _begin(trial, whole)]:
      assert end.code == 0, end.err
    if not is_first:
      seconds.write_text(str(time.monotonic() - begin))
  return whole, float(seconds.read_text())


def _begin(trial, workdir: pathlib.Path, *more: str):
  """Starts two processes of one device each."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
  flags = [*more, f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]

  def before():
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"
    hosts.JOIN_SECONDS = JOIN_SECONDS

  return [
    trial.begin(before, *flags, f"--process_id={i}", workdir=workdir)
    for i in range(2)
  ]
