# SPDX-License-Identifier: Apache-2.0
"""Many random faults, each judged; docs/RELIABILITY.md has the figures.

python -m tests.faults.long --faults 220 --seed 1 --out /tmp/faults

The same command goes on after a stop. It mounts small disks where it may: as
root, or where a user may have name spaces of its own.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence

import jax

from sgcl_jax.runs import history
from tests.faults import damages, limits, peers, process, stops
from tests.faults import trial as trials

# Kind -> (function, its share of the faults).
KINDS = {
  "kill": (stops.kill, 32),
  "kill in a save": (stops.kill_in_save, 32),
  "signal": (stops.stop, 40),
  "signal in compilation": (stops.stop_in_compilation, 16),
  "damaged file of a run": (damages.damage_workdir, 32),
  "damaged file of a result": (damages.damage_result, 16),
  "damaged file of a data set": (damages.damage_data, 24),
  "changed records": (damages.change_records, 8),
  "full disk": (limits.fill_disk, 16),
  "file size limit": (limits.limit_file_size, 8),
  "few open files": (limits.limit_open_files, 6),
  "no right to write": (limits.forbid_writing, 6),
  "workdir taken away": (limits.take_workdir_away, 8),
  "dead peer": (peers.kill_peer, 16),
}
PROBLEMS = ("lost", "silent", "ignored", "unclear", "half-written", "hung")
INSIDE = "SGCL_JAX_FAULTS_MOUNTS"
MAX_DRAWS = 5
# Faults that came too late each time; they are not counted.
UNSUITED = "unsuited"


def main(argv: Sequence[str] | None = None) -> int:
  """Command line; returns how many faults had a problem."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--faults", type=int, default=220)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
  parser.add_argument("--out", type=pathlib.Path, help="keeps what was found")
  args = parser.parse_args(argv)
  # A run inherits what nohup and `&` ignore, and would ignore it rightly.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGHUP, signal.SIG_DFL)
  with tempfile.TemporaryDirectory(prefix="faults_") as folder:
    root = pathlib.Path(folder)
    out = args.out or root / "out"
    out.mkdir(parents=True, exist_ok=True)
    _use_cache(out / "cache")
    found = _run(args, root, out / "faults.jsonl")
  found = [line for line in found if line["problem"] != UNSUITED]
  print(describe(found))
  revisions = collections.Counter(line["revision"] for line in found)
  print("Revisions:", *(f"{x} ({n} faults)" for x, n in revisions.items()))
  return sum(line["problem"] is not None for line in found)


def draw_kinds(count: int, kinds: Sequence[str], seed: int) -> list[str]:
  """Returns the kind of each fault: every kind by its share, in any order."""
  # The kind that is furthest behind its share comes next.
  given = collections.Counter()
  for _ in range(count):
    given[min(kinds, key=lambda kind: (given[kind] + 1) / KINDS[kind][1])] += 1
  drawn = list(given.elements())
  random.Random(seed).shuffle(drawn)
  return drawn


def describe(found: Sequence[dict]) -> str:
  """Returns the table of what was found, in Markdown."""
  header = ("kind", "faults", *PROBLEMS, "longest wait, s")
  rows = [header, ["---"] * len(header)]
  for kind in (*KINDS, "all"):
    lines = [x for x in found if kind in (x["kind"], "all")]
    if lines:
      counts = [sum(x["problem"] == p for x in lines) for p in PROBLEMS]
      longest = max(x["waited"] for x in lines)
      rows.append([kind, len(lines), *counts, f"{longest:.1f}"])
  return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _use_cache(path):
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(path)
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _run(args, root, path):
  """Runs the faults that `path` does not have yet; returns all of them."""
  done = {}
  if path.exists():
    done = {x["number"]: x for x in map(json.loads, path.open())}
  kinds = draw_kinds(args.faults, args.kinds, args.seed)
  if all(number in done for number in range(len(kinds))):
    return [done[number] for number in range(len(kinds))]
  common = _prepare(root)
  for number, kind in enumerate(kinds):
    if number in done:
      continue
    begin = time.monotonic()
    outcome = _try(kind, args.seed, number, root / "trial", common)
    line = {"number": number, "kind": kind, "seed": args.seed, **outcome}
    line["seconds"] = round(time.monotonic() - begin, 1)
    line["revision"] = history.find_revision()
    with path.open("a", encoding="utf-8") as file:
      file.write(json.dumps(line) + "\n")
    done[number] = line
    print(json.dumps(line), flush=True)
  return [done[number] for number in range(len(kinds))]


def _prepare(root):
  """Makes the data, an uninterrupted run and one that stopped."""
  data, whole, partial = (root / n for n in ("data", "whole", "partial"))
  trials.write_data(data)
  for _ in range(2):  # The second one finds its programs in the cache.
    shutil.rmtree(whole, ignore_errors=True)
    begin = time.monotonic()
    ended = process.fork(process.list_arguments(data, whole)).end()
    seconds = time.monotonic() - begin
    assert ended.code == 0, ended.err
  arguments = process.list_arguments(data, partial, stops.EVERY_STEP)
  run = process.fork(arguments, lambda: stops.stop_after(19))
  assert run.end().code == 143
  return {"data": data, "whole": whole, "partial": partial, "seconds": seconds}


def _try(kind, seed, number, root, common):
  """Makes one fault; one that comes too late is drawn again."""
  for draw in range(MAX_DRAWS):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    rng = random.Random(f"{seed} {number} {draw}")
    try:
      outcome = KINDS[kind][0](trials.Trial(root=root, rng=rng, **common))
    except trials.Unsuited as reason:
      outcome = trials.Outcome(UNSUITED, str(reason))
      continue
    except Exception:  # One fault that cannot be judged does not end the rest.
      outcome = trials.Outcome("unclear", traceback.format_exc())
    break
  return {
    "problem": outcome.problem,
    "detail": outcome.detail,
    "waited": round(outcome.waited, 2),
  }


def _enter_own_mounts():
  """Begins again in a name space of mounts, if that is allowed."""
  if INSIDE in os.environ:
    return
  os.environ[INSIDE] = "1"
  for flags in ("-m", "-rm"):
    line = ["unshare", flags]
    if shutil.which("unshare") is None:
      return
    if not subprocess.run([*line, "true"], capture_output=True).returncode:
      arguments = ["-m", "tests.faults.long", *sys.argv[1:]]
      os.execvp("unshare", [*line, sys.executable, *arguments])


if __name__ == "__main__":
  _enter_own_mounts()
  sys.exit(bool(main()))
