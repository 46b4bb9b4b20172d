# SPDX-License-Identifier: Apache-2.0
"""docs/RESULTS.md says what its tables hold."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from sgcl_jax import errors
from sgcl_jax.results import __main__ as command_line
from sgcl_jax.results import curves, lines, page, store
from tests.conftest import ROOT

DOCS = ROOT / "docs"
REMEDY = "run: python -m sgcl_jax.results page"


def test_the_page_agrees_with_its_tables():
  text = (DOCS / page.PAGE).read_text(encoding="utf-8")
  assert text == page.render(DOCS), REMEDY


def test_the_figure_agrees_with_its_tables():
  text = (DOCS / "results" / page.FIGURE).read_text(encoding="utf-8")
  assert curves.digest(page.read(DOCS)) in text, REMEDY
  ElementTree.fromstring(text)
  assert len(text) < 200_000


def test_the_figures_that_the_page_had_by_hand():
  """Of revisions 29b2085 to ca25a23, as 0.2.0 listed them."""
  found = page.read(DOCS)["nw_ucla_first"]
  top1 = {
    (run["contrast"], run["seed"], run["revision"]): round(
      float(run["top1"]), 2
    )
    for run in found.runs
  }
  assert top1["paper", "1", "29b2085"] == 87.72
  assert top1["off", "3", "b737494, ca25a23"] == 83.41
  assert len(top1) == 8 and len(found.curves) == 8 * 8


def make(contrast, seed, top1, **values):
  return {
    **dict.fromkeys(lines.RUN_FIELDS, ""),
    **{"config": "ctrgcn_ucla", "split": "xview", "modality": "joint"},
    **{"contrast": contrast, "preset": "paper", "seed": str(seed)},
    **{"epochs": "65", "top1": str(top1), "top5": "99", "device": "2 x cpu"},
    "run": f"{contrast}{seed}",
    **values,
  }


@pytest.fixture
def docs(tmp_path):
  """A folder with a template and one table."""
  (tmp_path / "results").mkdir()
  text = "# Results\n\n<!-- verdict -->\n\n<!-- gpu -->\n\n<!-- curves -->\n"
  (tmp_path / "results" / page.TEMPLATE).write_text(text)
  return tmp_path


@pytest.mark.parametrize(
  ("ours", "verdict"),
  [
    ((95.0, 95.4, 95.2), "It helps here."),
    ((93.0, 93.4, 93.2), "It harms here."),
    ((94.2, 95.4, 94.9), "The interval contains zero: these runs do not show"),
    ((95.0,), "too few seeds for an interval."),
  ],
)
def test_what_the_runs_show(docs, ours, verdict):
  runs = [make("off", seed, x) for seed, x in enumerate((94.5, 94.6, 94.7))]
  runs += [make("paper", seed, x) for seed, x in enumerate(ours)]
  store.add(docs / "results" / "x.csv", runs, [])
  text = page.render(docs)
  assert verdict in text
  row = (
    "ctrgcn_ucla xview joint | off | 94.60 | 3 | 94.35 to 94.85 | 94.6 | yes"
  )
  assert f"| {row} |" in text
  assert "120 numbers" in text and "; 2 of them have been run" in text
  assert "Not measured." in text and "No curves yet." in text


def test_runs_on_a_gpu(docs):
  device = "1 x NVIDIA H100 80GB HBM3"
  run = make("paper", 1, 95, device=device, minutes="4.5", precision="default")
  store.add(docs / "results" / "x.csv", [run, make("off", 1, 94)], [])
  text = page.render(docs)
  assert f"| paper | 1 | 95.00 | 4.5 | {device} | default |" in text
  assert "Not measured." not in text and text.count("| off | 1 |") == 0


def test_short_runs_are_not_the_papers(docs):
  run = make("paper", 1, 95, preset="short")
  store.add(docs / "results" / "x.csv", [run], [])
  text = page.render(docs)
  assert "Nothing yet" in text and "; 0 of them have been run" in text


def test_the_command_writes_page_and_figure(docs, call_main):
  runs = [make("off", 1, 94), make("paper", 1, 95), make("paper", 2, 95)]
  runs.append(make("paper", 3, 90, modality="bone", overrides="a=1 " * 15))
  epochs = [
    {**dict.fromkeys(lines.CURVE_FIELDS, ""), "run": run["run"]}
    | {"epoch": str(epoch), "top1": str(80 + epoch)}
    for run in runs
    for epoch in (1, 2, 3)
  ]
  store.add(docs / "results" / "x.csv", runs, epochs)
  result = call_main(command_line.main, "page", "--docs", docs)
  assert result.returncode == 0, result.stderr
  assert (docs / page.PAGE).read_text() == page.render(docs)
  figure = (docs / "results" / page.FIGURE).read_text()
  texts = re.findall(r"<text[^>]*>([^<]+)</text>", figure)
  assert "ctrgcn_ucla xview joint, 65 epochs" in texts
  # A long title is wrapped.
  assert any(x.startswith("ctrgcn_ucla xview bone, a=1") for x in texts)
  assert max(map(len, texts)) <= curves.TITLE_WIDTH
  assert {"without, 1 run", "SkeletonGCL, 2 runs", "test top-1, %"} <= {*texts}
  call_main(command_line.main, "page", "--docs", docs)
  assert (docs / "results" / page.FIGURE).read_text() == figure
  # Other curves, another digest.
  before = curves.digest(page.read(docs))
  store.add(docs / "results" / "x.csv", [runs[0]], epochs[:2])
  assert before in figure and curves.digest(page.read(docs)) != before


@pytest.mark.parametrize(
  "placeholder", ["<!-- tables -->", "<!-- table absent -->"]
)
def test_a_wrong_placeholder_is_named(docs, placeholder):
  (docs / "results" / page.TEMPLATE).write_text(f"{placeholder}\n")
  with pytest.raises(errors.DataError, match="template.md: <!-- table"):
    page.render(docs)


def test_a_missing_template(tmp_path):
  with pytest.raises(errors.DataError, match="there is no template"):
    page.write(tmp_path)
