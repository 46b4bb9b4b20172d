# SPDX-License-Identifier: Apache-2.0
r"""Keeps finished runs in a CSV.

python -m sgcl_jax.results add runs/ctrgcn_ucla_xview_joint \
    --csv docs/results/nw_ucla.csv
python -m sgcl_jax.results table --csv docs/results/nw_ucla.csv
python -m sgcl_jax.results page

`add` writes one line for each run. A run that is there already is replaced.
nw_ucla_curves.csv beside it gets a line for each epoch. Where the score files
exist, the streams of a seed are fused (J+B, 4S), and nw_ucla_pairs.csv gets
McNemar's test of each run against the one without the contrast. `table` prints
means over the seeds, differences with their intervals, and these tests. `page`
writes docs/RESULTS.md from all tables of docs/results/ and its template.
"""

from collections.abc import Sequence

from sgcl_jax import command, errors
from sgcl_jax.results import lines, page, store, table
from sgcl_jax.terminal import wording


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("sgcl_jax.results", __doc__)
  parser.add_argument("action", choices=("add", "table", "page"))
  parser.add_argument(
    "workdirs", type=command.workdir, nargs="*", metavar="WORKDIR"
  )
  parser.add_argument(
    "--csv", type=command.path, metavar="FILE", help="table of runs"
  )
  parser.add_argument(
    "--config",
    metavar="FILE[:OPTIONS]",
    help="config that the runs began with; by default the one of configs/ with"
    " the fewest differences",
  )
  parser.add_argument(
    "--revision",
    help="commit of the code, for runs that were not trained in a checkout",
  )
  parser.add_argument(
    "--docs",
    type=command.path,
    default="docs",
    help="directory of the page (%(default)s)",
  )
  parser.add_json("the table")
  args = parser.parse_args(argv)
  if bool(args.workdirs) != (args.action == "add"):
    raise errors.ConfigError(
      "name the directories of finished runs after add, and none after"
      " table or page"
    )
  if args.action == "page":
    page.write(args.docs)
    print(f"written: {args.docs / page.PAGE}")
    return
  if not args.csv or args.csv.suffix != ".csv":
    raise errors.ConfigError("--csv is missing, as in --csv my_runs.csv")
  with command.messages(args.json):
    if args.action == "add":
      _add(args)
    result = _describe(args.csv)
    if args.action == "table":
      print(table.format(result))
  if args.json:
    command.print_json(result)


def _describe(path):
  if not path.exists():
    raise errors.DataError(
      f"there is no file {path}: `add` makes it, or name another --csv"
    )
  found = store.read(path)
  if not found.runs:
    raise errors.DataError(f"{path} holds no runs: add some")
  return table.describe(found)


def _add(args):
  runs, epochs = {}, []
  for directory in args.workdirs:
    line = lines.describe(directory, spec=args.config, revision=args.revision)
    if line["run"] in runs:
      scores = runs[line["run"]]["scores"]
      print(f"{directory} holds the same run as {scores}: it counts once")
      continue
    runs[line["run"]] = line
    epochs += lines.describe_epochs(directory, line["run"])
  runs = list(runs.values())
  replaced = store.add(args.csv, runs, epochs)
  for line in runs:
    print(
      f"{line['config']} {line['modality']}, contrast {line['contrast']}, seed"
      f" {line['seed']}: top-1 {line['top1']} %"
      + (f", with {line['overrides']}" if line["overrides"] else "")
    )
  added = wording.count(len(runs), "run")
  print(f"{added} in {args.csv}, {replaced} of them replaced")


if __name__ == "__main__":
  command.run(main)
