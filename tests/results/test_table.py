# SPDX-License-Identifier: Apache-2.0
"""The figures of a table of runs, and how they are printed."""

import json
import re

import pytest

from sgcl_jax.evaluation import statistics
from sgcl_jax.results import __main__ as command_line
from sgcl_jax.results import lines, published, store, table
from tests.conftest import SHARED

PAPER = SHARED / "paper"


def make(contrast, seed, top1, **fields):
  return {
    **dict.fromkeys(lines.RUN_FIELDS, ""),
    "run": f"{contrast}{seed}",
    "config": "ctrgcn_ucla",
    "split": "xview",
    "modality": "joint",
    "contrast": contrast,
    "preset": "paper",
    "seed": str(seed),
    "epochs": "65",
    "top1": str(top1),
    **fields,
  }


RUNS = [
  *(make("paper", seed, x) for seed, x in ((1, 95.0), (2, 94.0), (3, 96.0))),
  *(make("off", seed, x) for seed, x in ((1, 94.0), (2, 95.0))),
  make("released", 1, 93.0),
  make(
    *("paper", 1, 96.5),
    run="fused",
    modality="4S",
    overrides="data.window=32 a=1",
  ),
  # A second run of a seed counts with the first as one.
  make("off", 2, 94.0, run="again"),
  make("paper", 3, 95.5, run="again_with"),
  make("paper", 3, 96.5, run="and_again"),
]


def test_rows_and_differences():
  found = table.describe(store.Tables(RUNS, [], []))
  off, paper, released, fused = found["rows"]
  assert (off["contrast"], off["paper"], off["seeds"]) == ("off", 94.6, [1, 2])
  assert (paper["mean"], paper["std"], paper["paper"]) == (95, 1, 95.1)
  assert (fused["modality"], fused["paper"], fused["std"]) == ("4S", 96.8, None)
  assert (off["top1"], off["runs"], paper["runs"]) == ([94, 94.5], 3, 5)
  assert off["full"] and not fused["full"]
  first, second = found["differences"]  # 4S has no baseline.
  expected = statistics.compare_seeds([95, 94, 96], [94, 94.5])
  assert {key: first[key] for key in expected} == expected
  assert (first["num"], first["paper"]) == ([3, 2], 0.5)
  needed = statistics.find_num_seeds(expected["std"], 0.5)
  assert first["seeds_needed"] == needed
  assert second["contrast"] == "released" and second["interval"] is None
  assert second["difference"] == pytest.approx(-1.25)
  assert released["interval"] is None


def test_what_is_printed(call_main, tmp_path):
  path = tmp_path / "x.csv"
  store.add(path, RUNS, [])
  result = call_main(command_line.main, "table", "--csv", path)
  assert result.returncode == 0, result.stderr
  found = table.describe(store.read(path))
  low, high = found["rows"][1]["interval"]
  assert (
    "| ctrgcn_ucla xview joint | paper | 1, 2, 3 (5 runs) | 95.00 | 1.00 |"
    f" {low:.2f} to {high:.2f} | 95.1 |"
  ) in result.stdout
  first = found["differences"][0]
  low, high = first["interval"]
  assert (
    f"| paper | 3 and 2 | +0.75 | {low:+.2f} to {high:+.2f} |"
    f" {first['p']:.2g} | +0.5 | {first['seeds_needed']} |"
  ) in result.stdout
  line = "4S, data.window=32, a=1 | paper | 1 | 96.50 |  |  | (96.8) |"
  assert line in result.stdout and "in parentheses where" in result.stdout
  result = call_main(command_line.main, "table", "--csv", path, "--json")
  assert json.loads(result.stdout) == json.loads(json.dumps(found))


def test_what_all_rows_share_is_said_once():
  runs = [
    make(contrast, seed, 90 + seed, preset="short", overrides=f"{more}x=1 y=2")
    for contrast, more in (("paper", "contrast.margin=1 "), ("off", ""))
    for seed in (1, 2)
  ]
  found = table.describe(store.Tables(runs, [], []))
  # The fields of the contrast do not hide the baseline, which comes first.
  assert [row["contrast"] for row in found["rows"]] == ["off", "paper"]
  assert len(found["differences"]) == 1
  text = table.format(found)
  assert text.count("x=1") == 1 and "All with `x=1`, `y=2`." in text
  assert "| ctrgcn_ucla xview joint, preset=short | off | 1, 2 |" in text
  assert "joint, preset=short, contrast.margin=1 | paper | 1, 2 |" in text


def test_pairs_are_printed():
  pair = {
    **{key: RUNS[0][key] for key in lines.GROUP},
    **{"run": "a", "baseline": "b", "seed": "1", "difference": "0.43103"},
    **{"only_run": "7", "only_baseline": "5", "p": "0.7744"},
  }
  text = table.format(table.describe(store.Tables(RUNS, [], [pair])))
  assert "| paper | 1 | +0.43 | 7 | 5 | 0.77 |" in text


def read_paper(number):
  """Returns the numbers of the retrained rows of a table of the paper."""
  if not PAPER.exists():
    pytest.skip(f"the paper's text is not here: {PAPER}")
  text = "".join(path.read_text() for path in PAPER.iterdir())
  text = text.split(f"\nTable {number}: ")[1].split("\n#")[0]
  rows = {}
  for line in text.splitlines():
    found = re.match(r"(\S+GCN)\\?\* (w/)?", line)
    if found:
      numbers = re.sub(r"</?b>", "", line).split("\t")[1:]
      name = found[1].lower().replace("-", "").removeprefix("2s")
      rows[name, found[2] is not None] = [float(x) for x in numbers]
  return rows


@pytest.mark.parametrize("number", [1, 2])
def test_the_papers_numbers(number):
  rows = read_paper(number)
  columns = (
    [("ntu60", "xsub"), ("ntu60", "xview"), ("ntu120", "xsub")]
    + [("ntu120", "xset")]
    if number == 1
    else [("ucla", "xview")]
  )
  assert len(rows) == 6
  assert len(published.TABLES[number]) == 3 * len(columns)
  for (name, contrast), numbers in rows.items():
    for i, (data, split) in enumerate(columns):
      ours = [
        published.find_top1(f"{name}_{data}", split, stream, contrast)
        for stream in published.STREAMS
      ]
      assert ours == numbers[4 * i : 4 * i + 4], (name, data, split)


def test_numbers_that_the_paper_does_not_have():
  assert (
    published.find_top1("ctrgcn_ucla", "xview", "bone_motion", True) is None
  )
  assert published.find_top1("quickstart", "xsub", "joint", True) is None
