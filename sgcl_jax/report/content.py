# SPDX-License-Identifier: Apache-2.0
"""What a report consists of: sections with texts, figures and tables."""

from typing import Any, NamedTuple

from matplotlib import figure

from sgcl_jax.report import paper, runs

BACKBONES = {"ctrgcn": "CTR-GCN", "agcn": "2s-AGCN", "infogcn": "InfoGCN"}
DATA_SETS = {
  "ntu60": "NTU RGB+D 60",
  "ntu120": "NTU RGB+D 120",
  "ucla": "NW-UCLA",
}
SPLITS = {"xsub": "X-Sub", "xview": "X-View", "xset": "X-Set"}


class Figure(NamedTuple):
  """A figure with the name of its files and a text that describes it."""

  name: str
  drawn: figure.Figure
  caption: str


class Table(NamedTuple):
  """A table of texts; numbers come with the decimals to be shown."""

  name: str
  header: tuple[str, ...]
  rows: list[tuple[str, ...]]

  @property
  def title(self) -> str:
    """The name as words."""
    return self.name.replace("_", " ")


class Section(NamedTuple):
  """A part of the page; `points` are listed below its text."""

  title: str
  text: str
  figures: list[Figure]
  tables: list[Table]
  points: tuple[str, ...] = ()


# A section, None where the run has nothing for it, and its numbers for --json.
Part = tuple[Section | None, dict[str, Any]]


def describe(run: runs.Run) -> str:
  """Returns a run in words."""
  data = run.config["data"]
  words = [
    BACKBONES.get(run.config["backbone"], run.config["backbone"]),
    "with SkeletonGCL" if run.config["gcl"] else "without the contrast",
  ]
  known = DATA_SETS.get(paper.find_data_set(run.config))
  split = SPLITS.get(data["split"], data["split"])
  place = f"{known}, {split}" if known else f"{data['dir']}, {split}"
  return f"{' '.join(words)}: {place}, {data['modality'].replace('_', ' ')}"


def both(
  run: runs.Run, baseline: runs.Run | None
) -> list[tuple[str, runs.Run]]:
  """Returns the runs with their titles, the baseline first."""
  pairs = [("this run", run)]
  return pairs if baseline is None else [("baseline", baseline), *pairs]


def format_number(value: float | None, decimals: int) -> str:
  """Returns a number as text, nothing for None."""
  return "" if value is None else f"{value:.{decimals}f}"
