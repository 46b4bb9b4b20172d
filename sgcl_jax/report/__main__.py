# SPDX-License-Identifier: Apache-2.0
"""Writes the paper's diagnostics and figures of a run as one page.

python -m sgcl_jax.report --workdir runs/ctrgcn_ucla_xview_joint \\
    --baseline runs/ctrgcn_ucla_xview_joint_nogcl

The report is index.html, which needs no other file, and report.md with the same
figures as PNG and tables as CSV. A run without embeddings, or that was trained
since its last evaluation, is evaluated first.
"""

import importlib.util
from collections.abc import Sequence

from sgcl_jax import command, errors


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  args = _parse(argv)
  with command.messages(args.json):
    numbers = _run(args)
  if args.json:
    command.print_json(numbers)


def _parse(argv):
  parser = command.Parser("sgcl_jax.report", __doc__)
  parser.add_argument(
    "--workdir", type=command.workdir, help="directory of the run"
  )
  parser.add_argument(
    "--baseline",
    type=command.workdir,
    help="directory of another run on the same clips",
  )
  parser.add_argument(
    "--out",
    type=command.path,
    help="directory to write to (report/ in the workdir)",
  )
  parser.add_argument(
    "--anchor",
    metavar="JOINT",
    help="joint whose connections are drawn (a hand)",
  )
  parser.add_argument(
    "--classes",
    nargs=2,
    metavar=("CLASS", "TAKEN_FOR"),
    help="the two classes of the drawn graphs (those confused most often)",
  )
  parser.add_argument(
    "--data",
    type=command.path,
    metavar="DIR",
    help="the data set, if it is not where it was",
  )
  parser.add_json("the numbers")
  args = parser.parse_args(argv)
  if not args.workdir:
    raise errors.ConfigError(
      "--workdir is missing: name the directory of a run"
    )
  missing = [n for n in ("jinja2", "matplotlib", "sklearn") if not _has(n)]
  if missing:
    raise errors.ConfigError(
      f"{', '.join(missing)} is not installed; run: pip install -e '.[report]'"
    )
  return args


def _has(name):
  return importlib.util.find_spec(name) is not None


def _run(args):
  # Imported late, so that mistakes in the arguments show at once.
  from sgcl_jax.report import content, page, runs, sections

  out = args.out or args.workdir / "report"
  page.check_out(out)
  run = runs.load(args.workdir, args.data)
  baseline = None
  if args.baseline:
    baseline = runs.load(args.baseline, args.data)
    runs.check_comparable(run, baseline)
  parts, numbers = sections.make(run, baseline, args.anchor, args.classes)
  page.write(out, content.describe(run), parts)
  print(f"report: {out / page.PAGE}")
  return {**numbers, "page": str(out / page.PAGE)}


if __name__ == "__main__":
  command.run(main)
