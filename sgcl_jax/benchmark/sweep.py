# SPDX-License-Identifier: Apache-2.0
"""Measures the paper's nine configs at three precisions, into one file.

Every measurement is a process of its own: it has its own memory, and its
failure leaves the others.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from sgcl_jax import errors
from sgcl_jax.devices import slots
from sgcl_jax.runs import files, history

CONFIGS = tuple(
  f"{backbone}_{data}"
  for data in ("ucla", "ntu60", "ntu120")
  for backbone in ("ctrgcn", "agcn", "infogcn")
)
# Fields of each precision. TF32 is of NVIDIA's GPUs: told so, a CPU computes in
# single precision, and a TPU in three passes of bfloat16.
PRECISIONS = {
  "float32": ("--config.matmul_precision=highest",),
  "tf32": ("--config.matmul_precision=tensorfloat32",),
  "bfloat16": ("--config.model.dtype=bfloat16",),
}
PROBE = (
  "from sgcl_jax import command; from sgcl_jax.benchmark import sweep;"
  "command.run(sweep.print_machine)"
)


def run(
  out: pathlib.Path,
  configs: Sequence[str],
  precisions: Sequence[str],
  *,
  overrides: Sequence[str] = (),
  repeats: int = 10,
  jobs: int = 1,
) -> list[dict[str, Any]]:
  """Measures what is missing in a file; writes it after each measurement.

  Args:
    out: The file.
    configs: Some of `CONFIGS`.
    precisions: Some of `PRECISIONS`.
    overrides: Fields for all, `--config.<key>=<value>`.
    repeats: As in `measure.run`.
    jobs: Processes that compile at the same time; each is timed alone.

  Returns:
    The measurements that were asked for: what identifies each, `jobs`, and
    `result` as `--json` prints it or `error`.

  Raises:
    ConfigError: If the file holds something else, or if JAX has no device.
  """
  rows = _read(out)
  common = {"overrides": list(overrides), "repeats": repeats}
  common |= {"revision": history.find_revision(), **_find_machine()}
  files.write_json(out, {"rows": rows})  # Shows now whether it can be written.
  chosen = [
    {"config": name, "precision": precision, **common}
    for name in configs
    for precision in precisions
  ]
  if jobs > 1:
    _measure_all(out, chosen, jobs)
  # What failed beside others may have enough memory alone.
  _measure_all(out, chosen, 1)
  return [row for row in _read(out) if _key(row) in chosen]


def is_final(row: dict[str, Any]) -> bool:
  """Tells whether a measurement need not be tried again."""
  if "result" in row:
    return True
  # The message of `command.run`.
  return row["jobs"] == 1 and row["error"].startswith("out of memory")


def print_machine() -> None:
  """Prints what identifies this machine, as JSON; starts JAX's devices."""
  # JAX is imported late: the accelerator is for the processes that measure.
  import jax

  from sgcl_jax.devices import cores, parallel, set_up

  set_up.check_devices()
  machine = {"device": parallel.describe_devices(), "jax": jax.__version__}
  print(json.dumps(machine | {"cores": cores.count_cores()}))


def launch(
  arguments: list[str],
  environment: dict[str, str],
  running: set[subprocess.Popen],
) -> subprocess.CompletedProcess:
  """Runs Python in a process, which `running` holds, and keeps its output.

  The environment's variables are set unless this process has them.
  """
  process = subprocess.Popen(
    [sys.executable, *arguments],
    env={**environment, **os.environ},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  running.add(process)
  try:
    printed = process.communicate()
  finally:
    process.terminate()  # Does nothing to a process that has ended.
    running.discard(process)
  return subprocess.CompletedProcess(arguments, process.returncode, *printed)


def _find_machine():
  done = launch(["-c", PROBE], {}, set())
  if done.returncode:
    raise errors.ConfigError(_find_reason(done))
  return json.loads(done.stdout)


def _measure_all(out, chosen, jobs):
  """Measures what is not final yet; the file is written by this thread."""
  final = [_key(row) for row in _read(out) if is_final(row)]
  missing = [key for key in chosen if key not in final]
  running = set()
  with (
    tempfile.TemporaryDirectory() as folder,
    concurrent.futures.ThreadPoolExecutor(jobs) as pool,
  ):
    lock = pathlib.Path(folder) / "timing"
    futures = [pool.submit(_measure, x, jobs, lock, running) for x in missing]
    try:
      for i, done in enumerate(concurrent.futures.as_completed(futures), 1):
        row = done.result()
        others = [x for x in _read(out) if _key(x) != _key(row)]
        files.write_json(out, {"rows": [*others, row]})
        title = f"[{i}/{len(missing)}] {row['config']} {row['precision']}"
        print(f"{title}: {row.get('error', 'measured')}", flush=True)
    except BaseException:  # A signal: what is measured is in the file.
      begun = [future for future in futures if not future.cancel()]
      while concurrent.futures.wait(begun, timeout=0.5).not_done:
        for process in set(running):
          process.terminate()
      raise


def _measure(key, jobs, lock, running):
  line = ["-m", "sgcl_jax.benchmark", "--json", "--config", key["config"]]
  line += [*PRECISIONS[key["precision"]], *key["overrides"]]
  line += [f"--repeats={key['repeats']}", f"--lock={lock}"]
  share = f"{slots.MEMORY_SHARE / jobs:.3f}"
  shared = {"XLA_PYTHON_CLIENT_MEM_FRACTION": share} if jobs > 1 else {}
  done = launch(line, shared, running)
  if done.returncode:
    return {**key, "jobs": jobs, "error": _find_reason(done)}
  return {**key, "jobs": jobs, "result": json.loads(done.stdout)}


def _find_reason(done):
  """Returns the message of a process that failed, in one line."""
  lines = done.stderr.splitlines() or ["no message"]
  said = [x for x in lines if re.match(r"error: |\w[\w.]*Error\b", x)]
  last = (said or lines)[-1]
  if last.startswith("error: "):
    return last.removeprefix("error: ")
  return f"exit code {done.returncode}: {last}"


def _key(row):
  return {k: v for k, v in row.items() if k not in ("jobs", "result", "error")}


def _read(path):
  """Returns the measurements of a file, none if there is no file."""
  try:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    for row in rows:
      is_final(row), row["config"], row["precision"]
  except FileNotFoundError:
    return []
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise errors.ConfigError(
      f"--out={path}: is no file of --all ({error!r}); name another"
    ) from error
  return rows
