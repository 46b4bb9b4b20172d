# SPDX-License-Identifier: Apache-2.0
r"""Trains the rows of one of the paper's tables and writes the table.

python launch/ablate.py --table 5 --seeds 3
python launch/ablate.py --table 3 --config configs/ctrgcn_ucla.py:preset=short
python launch/ablate.py --table 2 --backbones ctrgcn --preset short --jobs 2

Tables 1 and 2 are backbones with and without the contrast, all streams, and
their fusions. The same command resumes. A run that several tables share is
trained once.
"""

import csv
import pathlib
import shlex
import sys
from collections.abc import Sequence

from configs import tables
from sgcl_jax import command, errors, modalities
from sgcl_jax.launching import series
from sgcl_jax.results import ablation, lines, published, store, table
from sgcl_jax.runs import files, workdir
from sgcl_jax.settings import config_file, fields

# Errors of a single row; the other rows are trained nevertheless.
REFUSALS = errors.ConfigError, errors.ContrastError
# Options after the colon for each contrast of Tables 1 and 2.
CONTRASTS = {
  "off": "gcl=false",
  "paper": "contrast=paper",
  "released": "contrast=released",
}
# Fields that the rows of Tables 1 and 2 set.
STREAM_FIELDS = (
  "gcl",
  "contrast.variant",
  "data.modality",
  "data.split",
  "seed",
)


def main(argv: Sequence[str] | None = None) -> None:
  """Trains the missing runs; writes `table<number>.md`, `.csv` and `runs.csv`.

  Raises:
    UserError: If an argument makes no sense. An error of a single run is raised
      at the end, after the other runs are trained.
  """
  args, settings = _parse(argv)
  with command.messages(args.json):
    result = _run(args, settings)
  if args.json:
    command.print_json(result)


def _run(args, settings):
  plan = _plan_streams if args.table in published.TABLES else _plan_rows
  out, rows = plan(args, settings)
  print(f"in {out}", flush=True)
  runs = [run for seeds in zip(*rows.values(), strict=True) for run in seeds]
  found = {}

  def after(done):
    new = {run: _describe(run) for run in done}
    found.update(new)
    epochs = []
    for run in done:
      epochs += lines.describe_epochs(run.directory, new[run]["run"])
    for path in filter(None, [out / "runs.csv", args.csv]):
      store.add(path, list(new.values()), epochs)
    _write(out, args.table, rows, found)

  failed = series.train(
    runs, **series.read_options(args), after=after, refusals=REFUSALS
  )
  text, content = _write(out, args.table, rows, found)
  print(f"\n{text}", end="")
  if failed:
    reasons = [f"{run.title}: {reason}" for run, reason in failed.items()]
    raise errors.TrainingError("\n".join(["rows are missing", *reasons]))
  return {"table": args.table, "rows": content, "out": str(out)}


def _parse(argv):
  parser = command.Parser("launch/ablate.py", __doc__)
  numbers = (*published.TABLES, *tables.TABLES)
  parser.add_argument(
    "--table", type=int, choices=numbers, help="its number in the paper"
  )
  parser.add_argument(
    "--config",
    metavar="FILE[:OPTIONS]",
    help="base of Tables 3 to 20 (configs/ctrgcn_ntu60.py); in all tables,"
    " --config.optim.base_lr=0.05 sets a field",
  )
  parser.add_argument(
    "--seeds", type=int, default=1, help="runs of each row (%(default)s)"
  )
  parser.add_argument(
    "--out",
    type=command.workdir,
    help="directory for tables and runs; runs found there are resumed",
  )
  parser.add_argument(
    "--csv",
    type=command.path,
    metavar="FILE",
    help="another table of runs to add the runs to",
  )
  group = parser.add_argument_group("Tables 1 and 2")
  for name, values in {
    "backbones": ("ctrgcn", "agcn", "infogcn"),
    "contrasts": tuple(CONTRASTS),
    "streams": modalities.NAMES,
    "settings": ("ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset"),
  }.items():
    group.add_argument(
      f"--{name}",
      nargs="+",
      choices=values,
      metavar="NAME",
      default=values,
      help=f"some of {' '.join(values)}",
    )
  group.add_argument("--preset", help="NW-UCLA: paper (default) or short")
  series.add_options(parser)
  parser.add_json("the table")
  args, settings = parser.parse_known_args(argv)
  if args.table is None:
    raise errors.ConfigError("--table is missing, as in --table 5")
  if args.seeds < 1:
    raise errors.ConfigError(f"--seeds={args.seeds} is less than 1")
  return args, settings


def _plan_streams(args, settings):
  """Returns the output directory, and the runs of each row of Table 1 or 2."""
  if args.config is not None:
    raise errors.ConfigError(
      f"Table {args.table} has configs of its own: choose with --backbones,"
      " --contrasts, --streams and --preset instead of --config"
    )
  preset = args.preset or "paper"
  out = pathlib.Path(args.out or f"runs/ablate_table{args.table}_{preset}")
  rows = {}
  for config, split in published.TABLES[args.table]:
    backbone, data = config.split("_")
    setting = f"{data}_{split}"
    if backbone not in args.backbones:
      continue
    if args.table == 1 and setting not in args.settings:
      continue
    options = [f"split={split}"] if args.table == 1 else []
    options += [f"preset={preset}"] if args.preset else []
    for contrast in args.contrasts:
      for stream in args.streams:
        chosen = [*options, CONTRASTS[contrast], f"modality={stream}"]
        spec = f"{config}:{','.join(chosen)}"
        _check_fields(spec, settings, STREAM_FIELDS)
        row = f"{config} {split} {stream}, {contrast}"
        place = out / f"{config}_{split}_{contrast}" / stream
        rows[row] = _make_runs(row, place, spec, settings, args.seeds)
  return out, rows


def _plan_rows(args, settings):
  """Returns the output directory, and the runs of each row of another table."""
  spec = args.config or "configs/ctrgcn_ntu60.py"
  chosen = tables.TABLES[args.table].rows
  base = _check_fields(
    spec, settings, {"seed", *(k for r in chosen for k in r.fields)}
  )
  _check_base(base)
  file, _ = config_file.split(spec)
  name = workdir.default_name(pathlib.Path(file).stem, base.to_dict())
  out = pathlib.Path(args.out or f"runs/ablate_{name}")
  return out, {
    row.name: _make_runs(
      row.name,
      out / (_name_changes(row, base) or "default"),
      spec,
      [*settings, *(_set(key, value) for key, value in row.fields.items())],
      args.seeds,
    )
    for row in chosen
  }


def _make_runs(title, place, spec, settings, num_seeds):
  return [
    series.Run(
      f"{title}, seed {seed}",
      place / f"seed{seed}",
      spec,
      (*settings, _set("seed", seed)),
    )
    for seed in range(1, num_seeds + 1)
  ]


def _set(key, value):
  text = str(value).lower() if isinstance(value, bool) else str(value)
  return f"--config.{key}={text}"


def _check_fields(spec, settings, taken):
  """Returns the config, and refuses fields that the rows set."""
  config, keys = fields.override(config_file.load(spec), settings)
  for key in keys:
    if key in taken:
      raise errors.ConfigError(f"config.{key} is set by the rows of the table")
  return config


def _check_base(config):
  """Refuses a config that would silently make some rows the same."""
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax.contrast import switches

  if not config.gcl:
    raise errors.ConfigError(
      "gcl=false: the rows of a table change the contrast"
    )
  for name in switches.departures(config.contrast):
    raise errors.ConfigError(
      f"config.contrast.{name}={config.contrast[name]}: the rows of a table"
      f" change the paper's method, which is {switches.CHOICES[name][0]}"
    )


def _name_changes(row, base):
  """Lists the differences from the config, so that tables share rows."""
  from sgcl_jax import experiment

  flat = workdir.flatten(base.to_dict())
  flat["contrast.temperature"] = experiment.find_temperature(base)
  changes = {k: v for k, v in row.fields.items() if flat[k] != v}
  return ",".join(f"{key}={value}" for key, value in changes.items())


def _describe(run):
  """Returns the line of a finished run."""
  try:
    return lines.describe(run.directory, spec=run.spec)
  except errors.WorkdirError:  # An older run, perhaps, without its revision.
    return lines.describe(run.directory, spec=run.spec, revision="unknown")


def _write(out, number, rows, found):
  """Writes the table with the runs that are finished so far, and returns it."""
  if number in published.TABLES:
    text, content = _describe_streams(number, found)
  else:
    text, content = _describe_rows(number, rows, found)
  files.write_text(out / f"table{number}.md", text)
  with (
    files.replacing(out / f"table{number}.csv") as partial,
    partial.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.DictWriter(file, content[0].keys() if content else ())
    writer.writeheader()
    writer.writerows(content)
  return text, content


def _describe_streams(number, found):
  """Returns Table 1 or 2 as Markdown, and its rows."""
  result = table.describe(store.build(list(found.values())))
  title = f"## Table {number}: backbones, streams and their fusions"
  note = _sum_up(found.values()) + (
    " The paper's runs are full trainings, one seed each."
  )
  columns = ("mean", "std", "paper")
  rows = [
    {key: row[key] for key in (*lines.GROUP, *columns)}
    | {"seeds": row["num"], "low": low, "high": high}
    for row in result["rows"]
    for low, high in [row["interval"] or ("", "")]
  ]
  return "\n\n".join([title, table.format(result), note]) + "\n", rows


def _describe_rows(number, runs, found):
  """Returns one of Tables 3 to 20 as Markdown, and its rows."""
  chosen = tables.TABLES[number]
  top1 = {
    name: [float(found[run]["top1"]) for run in each if run in found]
    for name, each in runs.items()
  }
  content = ablation.describe(chosen, top1)
  note = _sum_up(found.values()) + (
    " The paper's are CTR-GCN on NTU RGB+D 60, X-Sub, joint."
  )
  title = f"## Table {number}: {chosen.title}"
  parts = [title, ablation.format(chosen, content), note]
  return "\n\n".join([*parts, *filter(None, [chosen.note])]) + "\n", content


def _sum_up(done):
  """Returns a sentence about the runs of a table."""
  epochs, clips, devices = (
    ", ".join(sorted({line[key] for line in done}))
    for key in ("epochs", "num_clips", "device")
  )
  return (
    f"Top-1 of epoch {epochs} (the last) on {clips} test clips; seeds from 1"
    f" on; {devices}; `python {shlex.join(sys.argv)}`."
  )


if __name__ == "__main__":
  command.run(main, interrupted=command.RESUMABLE)
