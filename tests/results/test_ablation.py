# SPDX-License-Identifier: Apache-2.0
"""The rows of one of the paper's tables."""

import pytest

from configs import tables
from sgcl_jax.evaluation import statistics
from sgcl_jax.results import ablation

WITH = {
  "Baseline": [89.0, 90.0],
  "Triplet loss": [],
  "InfoNCE loss": [90.0, 91.0, 92.0],
}


def test_rows_are_compared_with_the_baseline():
  base, triplet, infonce = ablation.describe(tables.TABLES[7], WITH)
  assert (base["mean"], base["seeds"], base["paper"]) == (89.5, 2, 89.8)
  assert base["difference"] is None
  assert triplet["seeds"] == 0 and triplet["mean"] is None
  spread = statistics.summarize_seeds(WITH["InfoNCE loss"])
  assert (infonce["low"], infonce["high"]) == spread["interval"]
  other = statistics.compare_seeds(WITH["InfoNCE loss"], WITH["Baseline"])
  assert infonce["difference"] == other["difference"] == 1.5
  bounds = infonce["difference_low"], infonce["difference_high"]
  assert bounds == other["interval"] and infonce["p"] == other["p"]


def test_what_is_printed():
  content = ablation.describe(tables.TABLES[7], WITH)
  lines = ablation.format(tables.TABLES[7], content).splitlines()
  assert len({line.count("|") for line in lines}) == 1
  low, high = statistics.summarize_seeds(WITH["InfoNCE loss"])["interval"]
  infonce = content[-1]
  assert lines[-1] == (
    f"| InfoNCE loss | 91.00 | 1.00 | {low:.2f} to {high:.2f} | 3 | +1.50 |"
    f" {infonce['difference_low']:+.2f} to {infonce['difference_high']:+.2f} |"
    " 90.8 |"
  )
  assert lines[3] == "| Triplet loss |  |  |  | 0 |  |  | 90.7 |"


@pytest.mark.parametrize("number", tables.TABLES)
def test_every_table_is_formatted(number):
  """One seed; Tables 6 and from 14 on have no baseline."""
  chosen = tables.TABLES[number]
  top1 = {row.name: [90.0] for row in chosen.rows}
  text = ablation.format(chosen, ablation.describe(chosen, top1))
  assert ("to the baseline" in text) == (tables.BASELINE in chosen.rows)
  assert text.count("| 90.00 |") == len(chosen.rows)
