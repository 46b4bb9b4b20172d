# SPDX-License-Identifier: Apache-2.0
"""What the runs of a table say: means over seeds, differences, and power."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgcl_jax import ensemble, modalities
from sgcl_jax.evaluation import statistics
from sgcl_jax.results import lines, published, store

# In the order of the paper, then of the contrast.
MODALITIES = (*modalities.NAMES, *ensemble.FUSIONS)
CONTRASTS = ("off", "paper", "released")
# Points; half of the gain that the paper reports for CTR-GCN on NTU RGB+D 60.
SMALL_DIFFERENCE = 0.5


def describe(tables: store.Tables) -> dict[str, Any]:
  """Returns the figures of a table of runs, in percent.

  Args:
    tables: Lines of the runs and of the pairs.

  Returns:
    `rows`: for each kind of run its columns `lines.GROUP`, `seeds`, the number
    of `runs`, `top1` of each seed (the mean of its runs), `paper`, whether the
    run is a `full` one as the paper's, and `statistics.summarize_seeds`.
    `differences`: for each kind with the contrast, against the one without,
    `statistics.compare_seeds`, and `seeds_needed` to show half a point with a
    power of 80 %. `pairs`: McNemar's test of single seeds, clip by clip.
  """
  rows = [_describe_row(list(group)) for group in _group(tables.runs)]
  return {
    "rows": rows,
    "differences": _describe_differences(rows),
    "pairs": [
      _convert_pair(line)
      for line in sorted(
        tables.pairs, key=lambda line: [*_order(line), int(line["seed"])]
      )
    ],
  }


def format(result: dict[str, Any]) -> str:
  """Returns the figures as Markdown.

  Args:
    result: See `describe`.
  """
  rows = result["rows"]
  shared = find_shared(rows)
  parts = [_format_rows(rows, shared)]
  if shared:
    parts.append(f"All with {', '.join(f'`{x}`' for x in shared)}.")
  if any(row["paper"] is not None and not row["full"] for row in rows):
    parts.append(
      "The paper's number is in parentheses where the run is not its recipe."
    )
  if result["differences"]:
    parts.append(_format_differences(result["differences"], shared))
  if result["pairs"]:
    parts.append(_format_pairs(result["pairs"], shared))
  return "\n\n".join(parts)


def find_shared(rows: Sequence[dict[str, Any]]) -> list[str]:
  """Returns the overrides that all rows have; they are said once.

  Args:
    rows: Dicts with the column `overrides`.
  """
  overrides = [row["overrides"].split() for row in rows] or [[]]
  return [x for x in overrides[0] if all(x in other for other in overrides)]


def name(row: dict[str, Any], left_out: Sequence[str] = ()) -> str:
  """Returns a short name for a kind of run, without its contrast.

  Args:
    row: A dict with the columns `lines.GROUP`.
    left_out: Overrides that the name does not need.
  """
  parts = [f"{row['config']} {row['split']} {row['modality']}"]
  if row["preset"] != "paper":
    parts.append(f"preset={row['preset']}")
  parts += [x for x in row["overrides"].split() if x not in left_out]
  return ", ".join(parts)


def _group(runs):
  """Returns the runs of each kind, in the order of the paper's tables."""
  for _, group in itertools.groupby(sorted(runs, key=_order), _order):
    yield group


def _order(line):
  *_, overrides = lines.find_baseline_key(line)
  return [
    *(line[key] for key in ("config", "split", "preset")),
    overrides,  # A run stands below its baseline.
    _index(MODALITIES, line["modality"]),
    _index(CONTRASTS, line["contrast"]),
    *(line[key] for key in ("modality", "contrast", "overrides")),
  ]


def _index(names, value):
  return names.index(value) if value in names else len(names)


def _describe_row(runs):
  row = {key: runs[0][key] for key in lines.GROUP}
  # Two runs of one seed are no two draws: they differ by rounding alone.
  by_seed = {}
  for line in runs:
    by_seed.setdefault(int(line["seed"]), []).append(float(line["top1"]))
  by_seed = dict(sorted(by_seed.items()))
  top1 = [float(np.mean(values)) for values in by_seed.values()]
  keys = "config", "split", "modality"
  return {
    **row,
    "epochs": runs[0]["epochs"],
    "seeds": list(by_seed),
    "runs": len(runs),
    "top1": top1,
    "full": row["preset"] == "paper" and not row["overrides"],
    "paper": published.find_top1(
      *(row[key] for key in keys), row["contrast"] != "off"
    ),
    **statistics.summarize_seeds(top1),
  }


def _describe_differences(rows):
  baselines = {
    lines.find_baseline_key(row): row
    for row in rows
    if row["contrast"] == "off"
  }
  found = []
  for row in rows:
    off = baselines.get(lines.find_baseline_key(row))
    if off is not None and off is not row:
      found.append(_describe_difference(row, off))
  return found


def _describe_difference(row, off):
  result = statistics.compare_seeds(row["top1"], off["top1"])
  needed, paper = None, None
  if result["std"]:
    needed = statistics.find_num_seeds(result["std"], SMALL_DIFFERENCE)
  if None not in (row["paper"], off["paper"]):
    paper = round(row["paper"] - off["paper"], 1)
  return {
    **{key: row[key] for key in lines.GROUP},
    "num": [row["num"], off["num"]],
    **result,
    "seeds_needed": needed,
    "paper": paper,
    "full": row["full"] and off["full"],
  }


def _convert_pair(line):
  numbers = {"seed": int, "only_run": int, "only_baseline": int}
  numbers |= {"difference": float, "p": float}
  return {key: numbers.get(key, str)(value) for key, value in line.items()}


def _format_rows(rows, shared):
  found = [
    "| run | contrast | seeds | top-1, mean | std | 95 % interval | paper |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in rows:
    std = "" if row["std"] is None else f"{row['std']:.2f}"
    seeds = ", ".join(map(str, row["seeds"]))
    if row["runs"] > len(row["seeds"]):
      seeds += f" ({row['runs']} runs)"
    found.append(
      f"| {name(row, shared)} | {row['contrast']} | {seeds}"
      f" | {row['mean']:.2f} | {std} | {_format_interval(row['interval'])}"
      f" | {_format_paper(row, '.1f')} |"
    )
  return "\n".join(found)


def _format_differences(differences, shared):
  found = [
    "| difference to the run without | contrast | seeds | points |"
    " 95 % interval | p (Welch) | paper | seeds for 0.5 points |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for row in differences:
    p = row["p"]
    p = "" if p is None else statistics.format_p(p).removeprefix("= ")
    found.append(
      f"| {name(row, shared)} | {row['contrast']} | {row['num'][0]} and"
      f" {row['num'][1]} | {row['difference']:+.2f} |"
      f" {_format_interval(row['interval'], '+')} | {p} |"
      f" {_format_paper(row, '+.1f')} | {row['seeds_needed'] or ''} |"
    )
  found += [
    "",
    "Seeds for 0.5 points: of each of the two, to find a difference of half a"
    " point with a power of 80 %.",
  ]
  return "\n".join(found)


def _format_pairs(pairs, shared):
  found = [
    "| one seed, clip by clip | contrast | seed | points | right only with it |"
    " right only without | p (McNemar) |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in pairs:
    found.append(
      f"| {name(row, shared)} | {row['contrast']} | {row['seed']}"
      f" | {row['difference']:+.2f} | {row['only_run']}"
      f" | {row['only_baseline']}"
      f" | {statistics.format_p(row['p']).removeprefix('= ')} |"
    )
  return "\n".join(found)


def _format_interval(interval, sign=""):
  if interval is None:
    return ""
  low, high = interval
  return f"{low:{sign}.2f} to {high:{sign}.2f}"


def _format_paper(row, form):
  if row["paper"] is None:
    return ""
  text = f"{row['paper']:{form}}"
  return text if row["full"] else f"({text})"
