# SPDX-License-Identifier: Apache-2.0
"""Faults of the disk: full, read-only, limited; the workdir taken away."""

import re
import resource
import shutil
import subprocess
import time

from tests.faults import stops
from tests.faults import trial as trials

REFUSED = re.compile("was not written|cannot be written|too many open files")


def _judge_refused(trial, ended, what, **places):
  """A run that could not write names a file, and goes on afterwards."""
  if ended.hung:
    return trials.Outcome("hung", what, ended.waited)
  if ended.code == 0:
    different = trials.find_difference(trial.workdir, trial.whole)
    return trials.Outcome(
      "silent" if different else None, f"{what}: {different}"
    )
  if not ended.is_one_line() or not REFUSED.search(ended.err):
    return trials.Outcome("unclear", f"{what}: {ended.code} {ended.err[-400:]}")
  newest = trials.find_newest(trial.workdir)
  outcome = trial.resume(newest)
  outcome.detail = f"{what}: {outcome.detail}"
  return outcome


def _limit(trial, kind, value):
  """Runs with a limit of the operating system, and judges the end."""

  def before():
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))

  return trial.begin(before, *stops.draw_saving(trial.rng)).end()


def limit_file_size(trial: trials.Trial) -> trials.Outcome:
  """No file may be larger than a random size (RLIMIT_FSIZE)."""
  # Small sizes are as likely as large ones: most files are small.
  size = int(2 ** trial.rng.uniform(3, 14))
  ended = _limit(trial, resource.RLIMIT_FSIZE, size)
  return _judge_refused(trial, ended, f"{size} bytes")


def limit_open_files(trial: trials.Trial) -> trials.Outcome:
  """The process may open few files (RLIMIT_NOFILE)."""
  number = trial.rng.randrange(8, 40)
  ended = _limit(trial, resource.RLIMIT_NOFILE, number)
  return _judge_refused(trial, ended, f"{number} open files")


def fill_disk(trial: trials.Trial) -> trials.Outcome:
  """The disk has room for a part of what the run writes."""
  size = trial.rng.randrange(4, 440, 4)
  with trial.mounted(size):
    ended = trial.begin(lambda: None, *stops.draw_saving(trial.rng)).end()
    trial.remount("size=64m")
    return _judge_refused(trial, ended, f"{size} KiB")


def forbid_writing(trial: trials.Trial) -> trials.Outcome:
  """The workdir is on a read-only mount, or becomes immutable in the run."""
  if trial.rng.random() < 0.5:
    with trial.mounted(65536):
      shutil.copytree(trial.partial, trial.workdir)
      trial.remount("ro")
      ended = trial.begin().end()
      trial.remount("rw")
      return _judge_refused(trial, ended, "read-only")
  try:
    _, ended = stops.at_random_time(
      trial,
      lambda run: _set_immutable(trial.workdir, "+i"),
      *stops.draw_saving(trial.rng),
    )
  finally:
    _set_immutable(trial.workdir, "-i")
  return _judge_refused(trial, ended, "immutable")


def _set_immutable(path, change):
  line = ["chattr", "-R", change, str(path)]
  if shutil.which("chattr") is None or not path.exists():
    raise trials.Unsuited("chattr, or the workdir, is not there")
  subprocess.run(line, check=False, capture_output=True)


def take_workdir_away(trial: trials.Trial) -> trials.Outcome:
  """The workdir is moved or removed while the run goes on."""
  away = trial.root / "away"
  is_moved = trial.rng.random() < 0.5
  run = trial.begin(lambda: None, *stops.draw_saving(trial.rng))
  run.wait_until((trial.workdir / "metrics.jsonl").exists)
  moment = time.monotonic() + trial.rng.uniform(0, 0.5 * trial.seconds)
  if not run.wait_until(lambda: time.monotonic() >= moment):
    raise trials.Unsuited("the run was over")
  trial.workdir.rename(away)
  newest = trials.find_newest(away)
  if not is_moved:
    shutil.rmtree(away)
  ended = run.end()
  what = "moved" if is_moved else "removed"
  if ended.hung:
    return trials.Outcome("hung", what, ended.waited)
  if ended.code == 0:
    raise trials.Unsuited("the run was over")
  if not ended.is_one_line() or str(trial.workdir) not in ended.err:
    return trials.Outcome("unclear", f"{what}: {ended.err[-300:]}")
  shutil.rmtree(trial.workdir, ignore_errors=True)
  if is_moved:
    away.rename(trial.workdir)
  outcome = trial.resume(newest if is_moved else 0)
  outcome.detail = f"{what}: {outcome.detail}"
  return outcome
