# SPDX-License-Identifier: Apache-2.0
"""Writes docs/RESULTS.md from the tables of docs/results/ and a template.

The template is Markdown with lines such as `<!-- table nw_ucla -->`, each of
which is replaced by what `PARTS` makes of the table docs/results/nw_ucla.csv.
"""

import pathlib
import re
from typing import Any

from sgcl_jax import errors
from sgcl_jax.results import curves, published, store, table
from sgcl_jax.runs import files

PAGE = "RESULTS.md"
TEMPLATE = "template.md"
FIGURE = "curves.svg"
PLACEHOLDER = re.compile(r"^<!-- (\w+)(?: (\w+))? -->$", re.MULTILINE)
HEAD = (
  "<!-- Written by `python -m sgcl_jax.results page` from docs/results/; the"
  " text is in docs/results/template.md. -->\n"
)


def write(docs: pathlib.Path) -> None:
  """Writes the page and its figure.

  Args:
    docs: Directory of the documentation, which has a folder `results`.

  Raises:
    DataError: If a table or the template is missing or damaged.
  """
  text = render(docs)
  found = read(docs)
  curves.draw(found, docs / "results" / FIGURE)
  files.write_text(docs / PAGE, text)


def render(docs: pathlib.Path) -> str:
  """Returns the text of the page; errors as for `write`."""
  path = docs / "results" / TEMPLATE
  if not path.exists():
    raise errors.DataError(f"there is no template {path}")
  found = read(docs)

  def replace(match):
    part, name = match[1], match[2]
    if part not in PARTS or (name is not None and name not in found):
      raise errors.DataError(
        f"{path}: {match[0]} is none of {', '.join(PARTS)}, or names no table"
        f" of {', '.join(found)}"
      )
    chosen = found if name is None else {name: found[name]}
    return PARTS[part](chosen)

  return HEAD + PLACEHOLDER.sub(replace, path.read_text(encoding="utf-8"))


def read(docs: pathlib.Path) -> dict[str, store.Tables]:
  """Returns the tables of the page by the names of their files."""
  others = ("_curves.csv", "_pairs.csv")
  paths = sorted((docs / "results").glob("*.csv"))
  return {
    path.stem: store.read(path)
    for path in paths
    if not path.name.endswith(others)
  }


def _format_verdict(found):
  """Says what has been reproduced of the paper, and what has not."""
  full, differences = [], []
  for name, tables in found.items():
    result = table.describe(tables)
    full += [r for r in result["rows"] if r["full"] and r["paper"] is not None]
    shared = table.find_shared(result["rows"])
    differences += [
      _format_difference(row, f"{table.name(row, shared)} ({name})")
      for row in result["differences"]
    ]
  cells = 2 * len(published.STREAMS) * sum(map(len, published.TABLES.values()))
  done = {
    (row["config"], row["split"], row["modality"], row["contrast"] != "off")
    for row in full
  }
  parts = [
    _format_full(full),
    f"The paper's Tables 1 and 2 have {cells} numbers with and without"
    f" SkeletonGCL; {len(done)} of them have been run here with the paper's"
    " recipe.",
  ]
  if differences:
    parts.append(
      "What SkeletonGCL adds, over seeds (in parentheses the table):"
    )
    parts.append("\n".join(differences))
  return "\n\n".join(parts)


def _format_full(rows):
  if not rows:
    return "Nothing yet: no run with the paper's full recipe."
  found = [
    "| full recipe | contrast | ours | seeds | 95 % interval | paper |"
    " paper within it |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in rows:
    interval, within = "", ""
    if row["interval"] is not None:
      low, high = row["interval"]
      interval = f"{low:.2f} to {high:.2f}"
      within = "yes" if low <= row["paper"] <= high else "no"
    found.append(
      f"| {table.name(row)} | {row['contrast']} | {row['mean']:.2f} |"
      f" {row['num']} | {interval} | {row['paper']:.1f} | {within} |"
    )
  return "\n".join(found)


def _format_difference(row, name):
  text = f"* {name}, `{row['contrast']}`: {row['difference']:+.2f} points"
  text += f" ({row['num'][0]} and {row['num'][1]} seeds"
  if row["interval"] is None:
    return f"{text}): too few seeds for an interval."
  low, high = row["interval"]
  if low <= 0 <= high:
    verdict = (
      "The interval contains zero: these runs do not show whether it helps."
    )
  else:
    verdict = f"It {'helps' if low > 0 else 'harms'} here."
  return f"{text}, 95 % interval {low:+.2f} to {high:+.2f}). {verdict}"


def _format_tables(found):
  return "\n\n".join(
    table.format(table.describe(tables)) for tables in found.values()
  )


def _format_runs(found):
  lines = [
    "| run | contrast | seed | top-1 | top-5 | best on test (epoch) | minutes |"
    " device | revision |",
    "|---|---|---|---|---|---|---|---|---|",
  ]
  shared = [table.find_shared(tables.runs) for tables in found.values()]
  for tables, left_out in zip(found.values(), shared, strict=True):
    for run in tables.runs:
      best = run["best_top1_on_test"]
      if best:
        best = f"{float(best):.2f} ({run['best_epoch_on_test']})"
      lines.append(
        f"| {table.name(run, left_out)} | {run['contrast']} | {run['seed']} |"
        f" {float(run['top1']):.2f} | {float(run['top5']):.2f} | {best} |"
        f" {run['minutes']} | {run['device']} | {run['revision']} |"
      )
  note = "Best on test is an extra, chosen on the clips that it is measured on."
  return "\n".join([*lines, "", note])


def _format_gpu(found):
  runs = [
    run
    for tables in found.values()
    for run in tables.runs
    if run["device"] and "cpu" not in run["device"].lower()
  ]
  if not runs:
    return "Not measured."
  lines = [
    "| run | contrast | seed | top-1 | minutes | device | precision |",
    "|---|---|---|---|---|---|---|",
  ]
  lines += [
    f"| {table.name(run)} | {run['contrast']} | {run['seed']} |"
    f" {float(run['top1']):.2f} | {run['minutes']} | {run['device']} |"
    f" {run['precision']} |"
    for run in runs
  ]
  return "\n".join(lines)


def _format_curves(found: dict[str, Any]) -> str:
  if not any(tables.curves for tables in found.values()):
    return "No curves yet."
  return f"![Test top-1 by epoch](results/{FIGURE})"


PARTS = {
  "curves": _format_curves,
  "gpu": _format_gpu,
  "runs": _format_runs,
  "table": _format_tables,
  "verdict": _format_verdict,
}
