# SPDX-License-Identifier: Apache-2.0
"""Trains several runs, each as a process, one after another or side by side.

A finished run is not trained or evaluated again; an unfinished one is resumed.
"""

import concurrent.futures
import contextlib
import functools
import os
import pathlib
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sgcl_jax import command, errors
from sgcl_jax.devices import slots
from sgcl_jax.runs import scores, workdir
from sgcl_jax.settings import config_file, fields

LOG = "train.log"


class Run(NamedTuple):
  """One run of a series.

  Attributes:
    title: Name for messages.
    directory: Its workdir.
    spec: Its config, `FILE[:options]`.
    fields: Fields of the config to set, `--config.<key>=<value>`.
  """

  title: str
  directory: pathlib.Path
  spec: str
  fields: tuple[str, ...] = ()

  def arguments(self) -> list[str]:
    """Returns the arguments of `python -m sgcl_jax.main`."""
    place = ["--workdir", str(self.directory)]
    return ["--config", self.spec, *self.fields, *place]


def add_options(parser: command.Parser) -> None:
  """Declares `--jobs` and `--devices`."""
  parser.add_argument(
    "--jobs",
    type=int,
    help="runs side by side, by default one for each of --devices, or 1; they"
    " share an accelerator, or the cores of a CPU. Each writes its train.log",
  )
  parser.add_argument(
    "--devices",
    metavar="0,1,...",
    help="accelerators for the runs in turn, in the numbers of"
    " CUDA_VISIBLE_DEVICES; by default each run uses all",
  )


def read_options(args: Any) -> dict[str, Any]:
  """Returns the arguments `jobs` and `devices` of `train`.

  Raises:
    ConfigError: If a value makes no sense.
  """
  devices = () if args.devices is None else tuple(args.devices.split(","))
  if "" in devices or len(set(devices)) < len(devices):
    raise errors.ConfigError(
      f"--devices={args.devices} is no list of devices, as in --devices 0,1"
    )
  jobs = max(len(devices), 1) if args.jobs is None else args.jobs
  if jobs < 1:
    raise errors.ConfigError(f"--jobs={jobs} is less than 1")
  if len(devices) > jobs:
    raise errors.ConfigError(
      f"--devices={args.devices} names {len(devices)} devices for --jobs={jobs}"
    )
  return {"jobs": jobs, "devices": devices}


def train(
  runs: Sequence[Run],
  *,
  jobs: int = 1,
  devices: Sequence[str] = (),
  after: Callable[[Sequence[Run]], None] = lambda runs: None,
  refusals: tuple[type[Exception], ...] = (),
) -> dict[Run, str]:
  """Trains the runs that are not finished.

  Args:
    runs: Runs of different directories.
    jobs: Processes side by side.
    devices: Accelerators, for the processes in turn; none for no choice.
    after: Called with the runs that were finished before, then with each that
      is.
    refusals: Errors of a single config that do not stop the other runs.

  Returns:
    For each run that failed the reason; the others are trained nevertheless.

  Raises:
    UserError: If the config of a run is wrong, or if its directory holds
      another run. Nothing is trained then.
  """
  directories = [run.directory for run in runs]
  assert len(set(directories)) == len(runs), directories
  finished, open_runs, failed = [], [], {}
  for run in runs:
    try:
      (finished if _is_finished(run) else open_runs).append(run)
    except refusals as error:
      failed[run] = str(error)
      print(f"refused: {run.title}: {error}", flush=True)
  if finished:
    after(finished)
  if jobs > 1:
    return failed | _train_side_by_side(open_runs, jobs, devices, after)
  environment = slots.make_environment(0, 1, devices)
  for i, run in enumerate(open_runs):
    print(f"\n[{i + 1}/{len(open_runs)}] {run.title}", flush=True)
    if launch(run, environment, None, set()):
      failed[run] = "its message is above"
      print(f"failed: {run.title}", flush=True)
    else:
      after([run])
  return failed


def find_summary(run: Run) -> dict[str, Any] | None:
  """Returns the summary of a run if it is finished, otherwise None.

  It has to have all its epochs, its scores, and the data that it began with.

  Raises:
    UserError: If its config is wrong, if the directory holds another run, or if
      an unfinished run could never activate its contrast on these data.
  """
  import jax

  from sgcl_jax import experiment, train

  # The accelerator is for the processes that train.
  jax.config.update("jax_platforms", "cpu")
  config, _ = fields.override(config_file.load(run.spec), run.fields)
  parts = experiment.make(config)
  workdir.check_resume(parts.record, run.directory)
  summary = _read_finished(parts, run.directory)
  if summary is None:
    clips = _read_clips(parts.source)
    train.check_contrast(parts, clips.labels, clips.class_names)
  return summary


def _read_finished(parts, directory):
  from sgcl_jax.runs import checkpoint

  if not scores.find_path(directory, parts.record).exists():
    return None
  try:
    summary = workdir.read_summary(directory)
    saved = checkpoint.read_metadata(directory)
  except (errors.WorkdirError, errors.CheckpointError):
    return None  # The run goes on, and writes them again.
  finished = summary.get("epoch") == parts.schedule.num_epochs
  same = saved and saved["data"] == _read_clips(parts.source).digest
  return summary if finished and same else None


def launch(
  run: Run,
  environment: dict[str, str],
  log: pathlib.Path | None,
  running: set[subprocess.Popen],
) -> int:
  """Trains a run in a process of its own and returns its exit code.

  Args:
    run: The run.
    environment: Variables to add to those of this process.
    log: File for what it prints; None for the terminal.
    running: Holds the process while it runs.
  """
  line = [sys.executable, "-m", "sgcl_jax.main", *run.arguments()]
  with contextlib.ExitStack() as stack:
    output, errors_to = sys.stdout, None
    if log is not None:
      log.parent.mkdir(parents=True, exist_ok=True)
      output = stack.enter_context(log.open("a", encoding="utf-8"))
      errors_to = subprocess.STDOUT
    process = subprocess.Popen(
      line,
      env={**os.environ, **environment},
      stdout=output,
      stderr=errors_to,
    )
    # On any way out: a process that nobody waits for would go on.
    stack.callback(_end, process, running)
    running.add(process)
    return process.wait()


def _end(process, running):
  if process.poll() is None:
    process.terminate()
    process.wait()
  running.discard(process)


def _is_finished(run):
  summary = find_summary(run)
  if summary is None:
    return False
  print(
    f"{run.title}: top-1 {summary['top1']:.2f} %, as found in {run.directory}",
    flush=True,
  )
  return True


class _Clips(NamedTuple):
  """What is kept in memory of the training clips."""

  digest: str
  labels: Any
  class_names: tuple[str, ...]


@functools.lru_cache
def _read_clips(source):
  clips = source.load_train()
  return _Clips(clips.digest(content=True), clips.labels, clips.class_names)


def _train_side_by_side(runs, jobs, devices, after):
  """Trains runs in threads, each of which waits for a process."""
  free: queue.SimpleQueue[int] = queue.SimpleQueue()
  for slot in range(jobs):
    free.put(slot)
  stopping, running = threading.Event(), set()

  def work(run):
    """Returns why the run failed, None if it is finished."""
    if stopping.is_set():
      return "stopped before it began"
    slot, log = free.get(), run.directory / LOG
    try:
      slots.take_cores(slot, jobs)
      print(f"begun: {run.title}, see {log}", flush=True)
      environment = slots.make_environment(slot, jobs, devices)
      start = log.stat().st_size if log.exists() else 0
      code = launch(run, environment, log, running)
      return _read_reason(log, start, code) if code else None
    finally:
      free.put(slot)

  failed = {}
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    futures = {pool.submit(work, run): run for run in runs}
    try:
      for done, future in enumerate(
        concurrent.futures.as_completed(futures), 1
      ):
        run, reason = futures[future], future.result()
        word = "finished" if reason is None else "failed"
        if reason is None:
          after([run])
        else:
          failed[run] = reason
        print(f"[{done}/{len(runs)}] {word}: {run.title}", flush=True)
    except BaseException:  # A signal: what has begun can be resumed.
      stopping.set()
      asked = set()
      while concurrent.futures.wait(futures, timeout=0.5).not_done:
        # Once: by the second signal a training ends without saving.
        for process in set(running) - asked:
          asked.add(process)
          process.terminate()
      raise
  return failed


def _read_reason(log, start, code):
  """Returns the error that a process ended with, or where to look for it.

  Args:
    log: File that it has appended to.
    start: Size of the file before; what stands there is of earlier attempts.
    code: Its exit code.
  """
  with log.open("rb") as file:
    file.seek(start)
    lines = file.read().decode("utf-8", "replace").splitlines()
  if not lines:
    return f"it ended without a message (exit code {code})"
  if lines[-1].startswith("error: "):
    return lines[-1].removeprefix("error: ")
  return f"see the end of {log}"
