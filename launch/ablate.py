# SPDX-License-Identifier: Apache-2.0
r"""Trains the rows of one of the paper's tables and writes the table.

python launch/ablate.py --table 5 --seeds 3
python launch/ablate.py --table 3 --config configs/ctrgcn_ucla.py:preset=short

The same command resumes it. A row that several tables share is trained once.
"""

import csv
import functools
import json
import pathlib
import shlex
import statistics
import sys
from collections.abc import Sequence

from configs import tables
from sgcl_jax import command, errors
from sgcl_jax.contrast import switches
from sgcl_jax.runs import files, workdir

# Errors of a single row; the other rows are trained nevertheless.
REFUSALS = errors.ConfigError, errors.ContrastError, errors.TrainingError


def main(argv: Sequence[str] | None = None) -> None:
  """Trains the missing rows and writes `table<number>.md` and `.csv`.

  Raises:
    UserError: As `train.run`. An error of a single row is raised at the end,
      after the other rows are trained.
  """
  args = _parse(argv)
  table = tables.TABLES[args.table]
  for key in sorted(args.overrides):
    if any(key in row.fields for row in table.rows) or key == "seed":
      raise errors.ConfigError(f"config.{key} is set by the rows of the table")
  _check_base(args.config)
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax import experiment

  experiment.prepare(args.config)
  name = workdir.default_name(args.config_name, args.config.to_dict())
  out = pathlib.Path(args.out or f"runs/ablate_{name}")
  print(f"in {out}", flush=True)
  summaries, refused = {row.name: [] for row in table.rows}, []
  for seed in range(1, args.seeds + 1):
    for i, row in enumerate(table.rows):
      print(
        f"\n[{i + 1}/{len(table.rows)}] {row.name}, seed {seed}", flush=True
      )
      try:
        summaries[row.name].append(_run(row, seed, args.config, out))
      except REFUSALS as error:
        refused.append(f"{row.name}, seed {seed}: {error}")
        print(refused[-1], flush=True)
      _write(out, args.table, table, summaries)
  print(
    "\n" + (out / f"table{args.table}.md").read_text(encoding="utf-8"), end=""
  )
  if refused:
    raise errors.TrainingError("\n".join(["rows are missing", *refused]))


def _parse(argv):
  parser = command.Parser("launch/ablate.py", __doc__)
  parser.add_config(default="configs/ctrgcn_ntu60.py")
  parser.add_argument(
    "--table",
    type=int,
    choices=tuple(tables.TABLES),
    help="number of the table in the paper",
  )
  parser.add_argument(
    "--seeds", type=int, default=1, help="runs of each row (%(default)s)"
  )
  parser.add_argument(
    "--out",
    type=command.workdir,
    help="directory for tables and runs; runs found there are resumed",
  )
  args = parser.parse_args(argv)
  if args.table is None:
    raise errors.ConfigError("--table is missing, as in --table 5")
  if args.seeds < 1:
    raise errors.ConfigError(f"--seeds={args.seeds} is less than 1")
  return args


def _check_base(config):
  """Refuses a config that would silently make some rows the same."""
  if not config.gcl:
    raise errors.ConfigError(
      "gcl=false: the rows of a table change the contrast"
    )
  for name in switches.departures(config.contrast):
    raise errors.ConfigError(
      f"config.contrast.{name}={config.contrast[name]}: the rows of a table"
      f" change the paper's method, which is {switches.CHOICES[name][0]}"
    )


def _run(row, seed, base, out):
  """Returns the summary of a row with one seed, trained if it is missing."""
  import jax

  from sgcl_jax import experiment, train

  config = base.copy_and_resolve_references()
  config.update_from_flattened_dict({**row.fields, "seed": seed})
  parts = experiment.make(config)
  # The name lists the differences from the config, so that tables share rows.
  flat = workdir.flatten(base.to_dict())
  flat["contrast.temperature"] = experiment.find_temperature(base)
  changes = {k: v for k, v in row.fields.items() if flat[k] != v}
  name = ",".join(f"{key}={value}" for key, value in changes.items())
  path = out / (name or "default") / f"seed{seed}"
  workdir.check_resume(parts.record, path)
  summary = _find_summary(parts, path)
  if summary:
    print(f"top-1 {summary['top1']:.2f} %, as found in {path}")
    return summary
  summary = train.run(parts, path)
  jax.clear_caches()  # The next row compiles another step.
  return summary


def _find_summary(parts, path):
  """Returns the summary of a finished run on the same data, or None."""
  from sgcl_jax.runs import checkpoint

  if not (path / workdir.SUMMARY).exists():
    return None
  summary = json.loads((path / workdir.SUMMARY).read_text(encoding="utf-8"))
  try:
    saved = checkpoint.read_metadata(path)
  except errors.CheckpointError:
    return None
  finished = summary["epoch"] == parts.schedule.num_epochs
  same = saved and saved["data"] == _digest(parts.source)
  return summary if same and finished else None


@functools.lru_cache
def _digest(source):
  return source.load_train().digest()


def _write(out, number, table, summaries):
  """Writes the table with the rows that are finished so far."""
  out.mkdir(parents=True, exist_ok=True)
  rows = []
  for row in table.rows:
    top1 = [summary["top1"] for summary in summaries[row.name]]
    rows.append(
      {
        "row": row.name,
        "mean": f"{statistics.mean(top1):.2f}" if top1 else "",
        "std": f"{statistics.stdev(top1):.2f}" if len(top1) > 1 else "",
        "seeds": len(top1),
        "paper": row.top1,
      }
    )
  finished = [summary for each in summaries.values() for summary in each]
  text = _markdown(number, table, rows, finished)
  files.write_text(out / f"table{number}.md", text)
  with (
    files.replacing(out / f"table{number}.csv") as partial,
    partial.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)


def _markdown(number, table, rows, finished):
  lines = [f"## Table {number}: {table.title}", ""]
  lines += ["| | top-1 (%) | std | seeds | paper |", "|---|---|---|---|---|"]
  lines += [
    "| {row} | {mean} | {std} | {seeds} | {paper} |".format(**row)
    for row in rows
  ]
  epochs = sorted({str(summary["epoch"]) for summary in finished})
  devices = sorted({summary["device"] for summary in finished})
  clips = sorted({f"{summary['num_clips']:,}" for summary in finished})
  lines += [
    "",
    f"Top-1 of epoch {', '.join(epochs)} (the last) on {', '.join(clips)} test"
    f" clips; seeds from 1 on; {', '.join(devices)}; `python"
    f" {shlex.join(sys.argv)}`. The paper's are CTR-GCN on NTU RGB+D 60, X-Sub,"
    " joint.",
  ]
  if table.note:
    lines += ["", table.note]
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  command.run(main, interrupted=command.RESUMABLE)
