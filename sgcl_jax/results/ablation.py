# SPDX-License-Identifier: Apache-2.0
"""The rows of one of the paper's Tables 3 to 20, with intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sgcl_jax.evaluation import statistics

if TYPE_CHECKING:  # Another package `configs` must not stop an import.
  from configs import tables


def describe(
  table: "tables.Table", top1: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
  """Returns the figures of each row, in percent.

  Args:
    table: The table.
    top1: For each row the accuracy of each of its seeds, maybe none.

  Returns:
    For each row `row`, `mean`, `std`, `low` and `high` (95 % interval of the
    mean), `seeds` and `paper`; in a table with a baseline also `difference` to
    it, `difference_low`, `difference_high` and `p` (Welch). What needs more
    seeds is None.
  """
  base = _find_baseline(table)
  others = None if base is None else top1[base.name]
  return [
    _describe_row(row, top1[row.name], None if row is base else others)
    | {"paper": row.top1}
    for row in table.rows
  ]


def format(table: "tables.Table", content: Sequence[dict[str, Any]]) -> str:
  """Returns the rows as a table in Markdown.

  Args:
    table: The table.
    content: See `describe`.
  """
  heads = ["", "top-1 (%)", "std", "95 % interval", "seeds"]
  if _find_baseline(table):
    heads += ["to the baseline", "95 % interval (Welch)"]
  heads.append("paper")
  lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
  for row in content:
    cells = [row["row"], _number(row["mean"]), _number(row["std"])]
    cells += [_interval(row["low"], row["high"]), str(row["seeds"])]
    if _find_baseline(table):
      cells.append(_number(row["difference"], "+"))
      bounds = row["difference_low"], row["difference_high"]
      cells.append(_interval(*bounds, "+"))
    lines.append(f"| {' | '.join([*cells, str(row['paper'])])} |")
  return "\n".join(lines)


def _find_baseline(table):
  """Returns the row without the contrast, None without one."""
  rows = [row for row in table.rows if row.fields == {"gcl": False}]
  return rows[0] if rows else None


def _describe_row(row, ours, baseline):
  found = {"row": row.name, "seeds": len(ours)}
  found |= dict.fromkeys(("mean", "std", "low", "high"))
  found |= dict.fromkeys(("difference", "difference_low", "difference_high"))
  found["p"] = None
  if not ours:
    return found
  spread = statistics.summarize_seeds(ours)
  found |= {"mean": spread["mean"], "std": spread["std"]}
  if spread["interval"]:
    found["low"], found["high"] = spread["interval"]
  if baseline:
    other = statistics.compare_seeds(ours, baseline)
    found |= {"difference": other["difference"], "p": other["p"]}
    if other["interval"]:
      found["difference_low"], found["difference_high"] = other["interval"]
  return found


def _number(value, sign=""):
  return "" if value is None else f"{value:{sign}.2f}"


def _interval(low, high, sign=""):
  return "" if low is None else f"{low:{sign}.2f} to {high:{sign}.2f}"
