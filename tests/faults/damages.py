# SPDX-License-Identifier: Apache-2.0
"""Faults of files: flipped bits, ends cut off, other content."""

import contextlib
import io
import shutil

import numpy as np

from sgcl_jax import errors
from sgcl_jax.runs import record, scores, workdir
from tests.faults import trial as trials


def _damage(trial, path, is_cut):
  """Flips a bit of a file, or cuts it; returns what was done."""
  content = path.read_bytes()
  if is_cut:
    size = trial.rng.randrange(len(content))
    path.write_bytes(content[:size])
    return f"{path.name} cut to {size} bytes"
  bit = trial.rng.randrange(len(content) * 8)
  flipped = bytearray(content)
  flipped[bit // 8] ^= 1 << (bit % 8)
  path.write_bytes(flipped)
  return f"{path.name} bit {bit}"


def _list_files(path):
  return sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size)


def damage_workdir(trial: trials.Trial) -> trials.Outcome:
  """A bit flipped in, or an end cut off, a file of a run that is resumed."""
  shutil.copytree(trial.partial, trial.workdir)
  newest = trials.find_newest(trial.workdir)
  path = trial.rng.choice(_list_files(trial.workdir))
  done = _damage(trial, path, trial.rng.random() < 0.33)
  ended = trial.begin().end()
  if ended.hung:
    return trials.Outcome("hung", done)
  if ended.code == 0:
    return _judge_unharmed(trial, ended, done)
  if not ended.is_one_line() or str(trial.workdir) not in ended.err:
    return trials.Outcome("unclear", f"{done}: {ended.err[-300:]}")
  # The remedy that the message gives.
  if "move it away to go on" in ended.err:
    shutil.move(trial.workdir / "checkpoints" / str(newest), trial.root)
    older = trials.find_newest(trial.workdir)
    outcome = trial.resume(older)
  elif "remove that line" in ended.err:
    return trials.Outcome(None, done)
  else:
    return trials.Outcome("unclear", f"no remedy: {ended.err[-300:]}")
  outcome.detail = f"{done}: {outcome.detail}"
  return outcome


def _judge_unharmed(trial, ended, done):
  """A run that ended well has the same files, or a notice names the file."""
  different = trials.find_difference(trial.workdir, trial.whole)
  if different is None:
    return trials.Outcome(None, done)
  lines = [x for x in ended.err.splitlines() if x.startswith("notice: ")]
  if different == "metrics.jsonl" and any(different in x for x in lines):
    return trials.Outcome(None, done)
  return trials.Outcome("silent", f"{done}: {different}")


def damage_result(trial: trials.Trial) -> trials.Outcome:
  """The same in a file that a finished run is known by; it is read."""
  shutil.copytree(trial.whole, trial.workdir)
  names = (workdir.SUMMARY, "scores/xview_joint.npz", "metrics.jsonl")
  path = trial.workdir / trial.rng.choice(names)
  before = scores.read(trial.workdir / names[1])
  done = _damage(trial, path, trial.rng.random() < 0.33)
  notices = io.StringIO()
  try:
    with contextlib.redirect_stderr(notices):
      found = scores.read(trial.workdir / names[1])
      summary = workdir.read_summary(trial.workdir)
      lines = record.read(trial.workdir)
  except (errors.UserError, OSError) as error:
    is_named = path.name in str(error) and "\n" not in str(error)
    return trials.Outcome(None if is_named else "unclear", f"{done}: {error}")
  same = all(map(np.array_equal, found, before))
  same &= _drop_digest(summary) == _drop_digest(
    workdir.read_summary(trial.whole)
  )
  same &= lines == record.read(trial.whole) or path.name in notices.getvalue()
  return trials.Outcome(None if same else "silent", done)


def _drop_digest(summary):
  # A bit of the name `digest` makes it the summary of an older version.
  return {key: value for key, value in summary.items() if "top" in key}


def damage_data(trial: trials.Trial) -> trials.Outcome:
  """A bit flipped in, or an end cut off, a file of the data set."""
  data = shutil.copytree(trial.data, trial.root / "data")
  path = trial.rng.choice(_list_files(data))
  done = _damage(trial, path, trial.rng.random() < 0.33)
  return _judge_data(trial, data, done)


def _judge_data(trial, data, done):
  ended = trial.begin(data=data).end()
  if ended.hung:
    return trials.Outcome("hung", done)
  if ended.code == 0:
    return _judge_unharmed(trial, ended, done)
  if not ended.is_one_line() or str(data) not in ended.err:
    return trials.Outcome("unclear", f"{done}: {ended.err[-300:]}")
  if trial.workdir.exists() and trials.find_newest(trial.workdir):
    return trials.Outcome("half-written", done)
  return trials.Outcome(None, done)


def change_records(trial: trials.Trial) -> trials.Outcome:
  """Records that are missing, unreadable, or other ones with right checksums.

  They change between a stop and the resumption.
  """
  shutil.copytree(trial.partial, trial.workdir)
  data = trial.root / "data"
  what = trial.rng.choice(["missing", "a directory", "a dead link", "others"])
  if what == "others":
    trials.write_data(data, seed=trial.rng.randrange(1, 99))
  else:
    shutil.copytree(trial.data, data)
    path = trial.rng.choice(sorted(data.glob("*.tfrecord*")))
    path.unlink()
    if what == "a directory":
      path.mkdir()
    elif what == "a dead link":
      path.symlink_to("nowhere")
  ended = trial.begin(data=data).end()
  if ended.code == 0:
    return trials.Outcome("silent", what)
  if ended.hung or not ended.is_one_line() or str(data) not in ended.err:
    return trials.Outcome("unclear", f"{what}: {ended.code} {ended.err[-300:]}")
  outcome = trial.resume(trials.find_newest(trial.workdir))
  outcome.detail = f"{what}: {outcome.detail}"
  return outcome
