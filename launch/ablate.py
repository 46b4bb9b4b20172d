# SPDX-License-Identifier: Apache-2.0
r"""Trains the rows of one of the paper's tables and writes the table.

python launch/ablate.py --table 5 --seeds 3
python launch/ablate.py --table 3 --config configs/ctrgcn_ucla.py:recipe=short

Run again, it goes on. A row that is the same in several tables is trained once.
"""

import csv
import functools
import json
import os
import pathlib
import shlex
import statistics
import sys

import jax
from absl import flags
from ml_collections import config_flags

from configs import tables
from sgcl_jax import (
  build,
  checkpoint,
  errors,
  input_pipeline,
  parallel,
  train,
  workdir,
)
from sgcl_jax.contrast import objective

# What concerns one row, not all.
REFUSALS = errors.ConfigError, errors.ContrastError, errors.TrainingError

_TABLE = flags.DEFINE_enum(
  "table", None, [str(number) for number in tables.TABLES], "Of the paper."
)
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  "configs/ctrgcn_ntu60.py",
  "What the rows change; options and fields are set as for sgcl_jax.main.",
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds of each row.", lower_bound=1)
_OUT = flags.DEFINE_string(
  "out", None, "For the tables and their runs, which are resumed."
)


def main() -> None:
  """Trains what is missing and writes `table<number>.md` and `.csv`.

  Raises:
    UserError: As `train.run`. What concerns one row alone does not keep the
      others from being trained.
  """
  if _TABLE.value is None:
    raise errors.ConfigError("--table is missing, as in --table 5")
  number, base = int(_TABLE.value), _CONFIG.value
  table = tables.TABLES[number]
  overridden = config_flags.get_override_values(flags.FLAGS["config"])
  for key in sorted(overridden):
    if any(key in row.fields for row in table.rows) or key == "seed":
      raise errors.ConfigError(f"config.{key} is set by the rows of the table")
  _check_base(base)
  parallel.set_up(base)
  source = config_flags.get_config_filename(flags.FLAGS["config"])
  default = f"runs/ablate_{workdir.default_name(source, base)}"
  out = pathlib.Path(_OUT.value or default)
  print(f"in {out}", flush=True)
  summaries, refused = {row.name: [] for row in table.rows}, []
  for seed in range(1, _SEEDS.value + 1):
    for i, row in enumerate(table.rows):
      print(
        f"\n[{i + 1}/{len(table.rows)}] {row.name}, seed {seed}", flush=True
      )
      try:
        summaries[row.name].append(_run(row, seed, base, out))
      except REFUSALS as error:
        refused.append(f"{row.name}, seed {seed}: {error}")
        print(refused[-1], flush=True)
      _write(out, number, table, summaries)
  print("\n" + (out / f"table{number}.md").read_text(), end="")
  if refused:
    raise errors.TrainingError("\n".join(["rows are missing", *refused]))


def _check_base(config):
  """Refuses a config in which some rows would be the same without a word."""
  if not config.gcl:
    raise errors.ConfigError("gcl=false: the rows of a table set what has none")
  for name in objective.departures(config.contrast):
    raise errors.ConfigError(
      f"config.contrast.{name}={config.contrast[name]}: the rows of a table"
      f" change the paper's method, {objective.CHOICES[name][0]}"
    )


def _run(row, seed, base, out):
  """Returns the summary of a row with one seed, trained if it is not there."""
  config = base.copy_and_resolve_references()
  config.update_from_flattened_dict({**row.fields, "seed": seed})
  # Named by what differs from the config, so that tables share their rows.
  flat = workdir.flatten(base.to_dict())
  flat["contrast.temperature"] = build.temperature(base)
  changes = {k: v for k, v in row.fields.items() if flat[k] != v}
  name = ",".join(f"{key}={value}" for key, value in changes.items())
  path = out / (name or "default") / f"seed{seed}"
  workdir.check_resume(config, path)
  summary = _find_summary(config, path)
  if summary:
    print(f"top-1 {summary['top1']:.2f} %, as found in {path}")
    return summary
  summary = train.run(config, path)
  jax.clear_caches()  # The step of the next row is another one.
  return summary


def _find_summary(config, path):
  """Returns the summary of a finished run of these data, or None."""
  if not (path / "summary.json").exists():
    return None
  summary = json.loads((path / "summary.json").read_text())
  checkpoints = checkpoint.Checkpoints(path)
  try:
    digest = checkpoints.metadata()["data"]
  except errors.CheckpointError:
    return None
  finally:
    checkpoints.close()
  same = digest == _digest(config.data.dir, config.data.train_split)
  finished = summary["epoch"] == config.optim.num_epochs
  return summary if same and finished else None


@functools.lru_cache
def _digest(data_dir, split):
  return input_pipeline.load(data_dir, split).digest()


def _write(out, number, table, summaries):
  """Writes the table as far as it goes."""
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
  _replace(out / f"table{number}.md", _markdown(number, table, rows, finished))
  path = out / f"table{number}.csv"
  with path.with_suffix(".tmp").open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
  os.replace(path.with_suffix(".tmp"), path)


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


def _replace(path, text):
  path.with_suffix(".tmp").write_text(text)
  os.replace(path.with_suffix(".tmp"), path)


if __name__ == "__main__":
  errors.run_with_flags(main, errors.RESUMABLE)
