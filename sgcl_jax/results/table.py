# SPDX-License-Identifier: Apache-2.0
"""What the runs of a table say: means over seeds, differences, and power."""

import itertools
from typing import Any

from configs import published
from sgcl_jax import statistics
from sgcl_jax.results import lines, store

# In the order of the paper, then of the contrast.
MODALITIES = ("joint", "bone", "joint_motion", "bone_motion", "J+B", "4S")
CONTRASTS = ("off", "paper", "released")
# Points; half of the gain that the paper reports for CTR-GCN on NTU RGB+D 60.
SMALL_DIFFERENCE = 0.5


def describe(tables: store.Tables) -> dict[str, Any]:
  """Returns the figures of a table of runs, in percent.

  Args:
    tables: Lines of the runs and of the pairs.

  Returns:
    `rows`: for each kind of run its columns `lines.GROUP`, `seeds`, `top1` of
    each, `paper`, and `statistics.summarize_seeds`. `differences`: for each
    kind with the contrast, against the one without, `statistics.compare_seeds`,
    and `seeds_needed` to show half a point with a power of 80 %. `pairs`:
    McNemar's test of single seeds, clip by clip.
  """
  rows = [_describe_row(list(group)) for group in _group(tables.runs)]
  return {
    "rows": rows,
    "differences": _describe_differences(rows),
    "pairs": [_convert_pair(line) for line in tables.pairs],
  }


def format(result: dict[str, Any]) -> str:
  """Returns the figures as Markdown.

  Args:
    result: See `describe`.
  """
  parts = [_format_rows(result["rows"])]
  if result["differences"]:
    parts.append(_format_differences(result["differences"]))
  if result["pairs"]:
    parts.append(_format_pairs(result["pairs"]))
  return "\n\n".join(parts)


def name(row: dict[str, Any]) -> str:
  """Returns a short name for a kind of run, without its contrast."""
  parts = [f"{row['config']} {row['split']} {row['modality']}"]
  if row["preset"] != "paper":
    parts.append(f"preset={row['preset']}")
  return ", ".join([*parts, *row["overrides"].split()])


def _group(runs):
  """Returns the runs of each kind, in the order of the paper's tables."""

  def order(line):
    return [
      *(line[key] for key in ("config", "split", "preset", "overrides")),
      _index(MODALITIES, line["modality"]),
      _index(CONTRASTS, line["contrast"]),
    ]

  for _, group in itertools.groupby(sorted(runs, key=order), order):
    yield group


def _index(names, value):
  return names.index(value) if value in names else len(names)


def _describe_row(runs):
  row = {key: runs[0][key] for key in lines.GROUP}
  top1 = [float(line["top1"]) for line in runs]
  keys = "config", "split", "modality"
  return {
    **row,
    "epochs": runs[0]["epochs"],
    "seeds": [int(line["seed"]) for line in runs],
    "top1": top1,
    "paper": published.find_top1(
      *(row[key] for key in keys), row["contrast"] != "off"
    ),
    **statistics.summarize_seeds(top1),
  }


def _describe_differences(rows):
  keys = [key for key in lines.GROUP if key != "contrast"]
  baselines = {
    tuple(row[key] for key in keys): row
    for row in rows
    if row["contrast"] == "off"
  }
  found = []
  for row in rows:
    off = baselines.get(tuple(row[key] for key in keys))
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
  }


def _convert_pair(line):
  numbers = {"seed": int, "only_run": int, "only_baseline": int}
  numbers |= {"difference": float, "p": float}
  return {key: numbers.get(key, str)(value) for key, value in line.items()}


def _format_rows(rows):
  found = [
    "| run | contrast | seeds | top-1, mean | std | 95 % interval | paper |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in rows:
    std = "" if row["std"] is None else f"{row['std']:.2f}"
    paper = "" if row["paper"] is None else f"{row['paper']:.1f}"
    seeds = ", ".join(map(str, row["seeds"]))
    found.append(
      f"| {name(row)} | {row['contrast']} | {seeds} | {row['mean']:.2f} | {std}"
      f" | {_format_interval(row['interval'])} | {paper} |"
    )
  return "\n".join(found)


def _format_differences(differences):
  found = [
    "| difference to the run without | contrast | seeds | points |"
    " 95 % interval | p (Welch) | paper | seeds for 0.5 points |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for row in differences:
    p = "" if row["p"] is None else f"{row['p']:.2g}"
    paper = "" if row["paper"] is None else f"{row['paper']:+.1f}"
    found.append(
      f"| {name(row)} | {row['contrast']} | {row['num'][0]} and"
      f" {row['num'][1]} | {row['difference']:+.2f} |"
      f" {_format_interval(row['interval'], '+')} | {p} | {paper} |"
      f" {row['seeds_needed'] or ''} |"
    )
  found += [
    "",
    "`seeds for 0.5 points`: of each of the two, to find a difference of half a"
    " point with a power of 80 %.",
  ]
  return "\n".join(found)


def _format_pairs(pairs):
  found = [
    "| one seed, clip by clip | contrast | seed | points | right only with it |"
    " right only without | p (McNemar) |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in pairs:
    found.append(
      f"| {name(row)} | {row['contrast']} | {row['seed']}"
      f" | {row['difference']:+.2f} | {row['only_run']}"
      f" | {row['only_baseline']} | {row['p']:.2g} |"
    )
  return "\n".join(found)


def _format_interval(interval, sign=""):
  if interval is None:
    return ""
  low, high = interval
  return f"{low:{sign}.2f} to {high:{sign}.2f}"
