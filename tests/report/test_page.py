# SPDX-License-Identifier: Apache-2.0
"""The report of a made-up run: its page, its files, and what it refuses."""

import csv
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import ctrgcn_ucla
from data_prep import class_names
from sgcl_jax.evaluation import metrics
from sgcl_jax.report import __main__, content, graphs, page, runs, sections
from sgcl_jax.runs import embeddings, scores, workdir

NAMES = np.array(list(class_names.NW_UCLA.values()))
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "chrome")


def make_run(path, seed, gcl="true"):
  """Writes what an evaluated run leaves, from random numbers."""
  rng = np.random.default_rng(seed)
  config = ctrgcn_ucla.get_config(f"gcl={gcl}")
  config.optim.update({"num_epochs": 2, "weight_decay": 1e-3})
  config = json.loads(config.to_json())
  workdir.write_config(path, config)
  labels = np.arange(60, dtype=np.int32) % 10
  logits = rng.normal(size=(60, 10)) + 2 * np.eye(10)[labels]
  logits = logits.astype(np.float32)
  names = np.array([f"clip_{i:02}" for i in range(60)])
  found = scores.Scores(names, labels, logits, NAMES)
  scores.write(scores.find_path(path, config), found)
  graphs = rng.normal(size=(60, 3, 20, 20)) + labels[:, None, None, None] / 5
  pose = rng.normal(size=(60, 20, 3)).astype(np.float32)
  features = rng.normal(size=(60, 8)).astype(np.float32) + labels[:, None]
  kept = embeddings.Embeddings(
    names, logits, graphs.astype(np.float32), pose, features
  )
  embeddings.write(embeddings.find_path(path, config), kept)
  summary = metrics.summarize(logits, labels)
  summary |= {"num_clips": 60, "epoch": 2, "seed": seed}
  (path / workdir.SUMMARY).write_text(json.dumps(summary))
  lines = []
  for step in range(1, 5):
    values = {"loss": 5.0 / step, "ce": 3.0 / step, "accuracy": step / 5}
    if gcl == "true":
      values |= {"instance": 2.0 / step, "active_anchors": 0.5}
      values |= {"positive_similarity": 0.1, "negative_similarity": 0.2}
    place = {"step": step, "epoch": (step + 1) // 2}
    lines.append({**place, "split": "train", **values})
    if step % 2 == 0:
      lines.append({**place, "split": "test", "top1": 10.0 * step})
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (path / "metrics.jsonl").write_text(text)
  return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("run"), 1)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("baseline"), 2, gcl="false")


@pytest.fixture(scope="module")
def report(run, baseline, tmp_path_factory):
  """Returns the directory of a report and the JSON that was printed."""
  out = tmp_path_factory.mktemp("out") / "report"
  done = subprocess.run(
    [sys.executable, "-W", "error", "-m", "sgcl_jax.report", "--json"]
    + ["--workdir", run, "--baseline", baseline, "--out", out],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return out, json.loads(done.stdout)


class Reader(html.parser.HTMLParser):
  """Collects tags, ids, references and text; notes tags that do not match."""

  VOID = ("meta", "br", "link", "img", "hr")

  def __init__(self):
    super().__init__()
    self.open, self.ids, self.references, self.text = [], [], [], []
    self.tags = []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    for name, value in attrs:
      if name == "id":
        self.ids.append(value)
      if name in ("href", "src", "xlink:href"):
        self.references.append(value)
      self.references += re.findall(r"url\((.*?)\)", value or "")
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in self.VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def test_the_page_needs_no_other_file(report):
  out, _ = report
  reader = Reader()
  reader.feed((out / "index.html").read_text(encoding="utf-8"))
  assert reader.open == []
  assert len(set(reader.ids)) == len(reader.ids)
  targets = {f"#{name}" for name in reader.ids}
  assert set(reader.references) <= targets and len(reader.references) > 50
  assert "script" not in reader.tags
  assert reader.tags.count("svg") == reader.tags.count("figure") == 14


def test_the_page_follows_the_colours_of_the_reader(report):
  out, _ = report
  text = (out / "index.html").read_text(encoding="utf-8")
  assert "prefers-color-scheme: dark" in text
  assert 'name="viewport"' in text
  figures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
  assert "currentColor" in figures
  # No text or background of a fixed light or dark colour.
  assert not re.search(r"#(000000|ffffff|1d1d1f)", figures)


def test_classes_are_named(report):
  out, _ = report
  reader = Reader()
  reader.feed((out / "index.html").read_text(encoding="utf-8"))
  text = "\n".join(reader.text)
  for name in NAMES:
    assert name in text
  for title in ("Result", "Training", "Contrast", "Confusion", "Classes"):
    assert title in reader.text
  assert "with SkeletonGCL: NW-UCLA, X-View, joint" in text
  # The paper's values, and what differs.
  assert "95.1" in text and "94.6" in text
  assert "60 test clips; the official set has 464" in text
  assert "optim.num_epochs 2 (65), optim.weight_decay 0.001 (0.0001)" in text


def test_the_files_beside_the_page(report):
  out, _ = report
  markdown = (out / "report.md").read_text(encoding="utf-8")
  pictures = re.findall(r"\]\((figures/.*?\.png)\)", markdown)
  assert len(pictures) == 14
  for name in pictures:
    with Image.open(out / name) as image:
      assert image.getpixel((0, 0))[:3] == (255, 255, 255)
      assert min(image.size) > 200
      assert len(image.convert("RGB").getcolors(1 << 24)) > 10  # Not blank.
  tables = sorted(path.stem for path in (out / "tables").iterdir())
  assert tables == [
    "accuracy_by_rank",
    "confused_classes",
    "contrast",
    "graph_distance",
    "hardest_classes",
    "most_improved_classes",
    "result",
  ]
  for name in tables:
    text = (out / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    assert rows and all(len(row) == len(header) for row in rows)
    assert f"| {' | '.join(header)} |" in markdown


def test_the_numbers(report, run, baseline):
  _, numbers = report
  config = workdir.read_config(run)
  ours, theirs = (
    scores.read(scores.find_path(path, config)) for path in (run, baseline)
  )
  assert numbers["top1"] == metrics.top_k(ours.logits, ours.labels, 1)
  assert numbers["paper_top1"] == 95.1
  assert numbers["graph_distance"]["this run"]["correct"]["clips"] == sum(
    ours.correct()
  )
  for row in numbers["hardest_classes"]:
    own = ours.labels == list(NAMES).index(row["class"])
    assert row["accuracy"] == pytest.approx(ours.correct()[own].mean() * 100)
    assert row["baseline"] == pytest.approx(theirs.correct()[own].mean() * 100)
  assert sum(row["clips"] for row in numbers["accuracy_by_rank"]) == 60
  assert numbers["contrast"]["active_anchors"] == 0.5
  assert numbers["learned_graphs"]["anchor"] == "right hand"


def test_imported_weights_without_features_alone(run, tmp_path):
  """No record, no features, no baseline: the sections that remain."""
  copy = shutil.copytree(run, tmp_path / "copy")
  (copy / "metrics.jsonl").unlink()
  path = embeddings.find_path(copy, workdir.read_config(copy))
  embeddings.write(path, embeddings.read(path)._replace(features=None))
  parts, numbers = sections.make(runs.load(copy), None)
  names = [figure.name for part in parts for figure in part.figures]
  assert names == [
    "confusion",
    "hardest_classes",
    "ranks",
    "tsne_graphs_this_run",
    "learned_graphs",
  ]
  assert numbers["baseline"] is None and "contrast" not in numbers
  assert numbers["hardest_classes"][0]["gain"] is None


def test_distances_have_three_digits(run, monkeypatch):
  values = {"d_all": 0.013, "root_all": 0.52, "d_cor": 120.0, "root_cor": 2.0}
  found = {"clips": 60, **values, "d_mis": None, "root_mis": None}
  monkeypatch.setattr(
    graphs.diagnostics, "mean_distances", lambda *_: {"correct": found}
  )
  (section, _) = graphs.distances(runs.load(run), None)
  cells = "0.0130 (0.520)", "120 (2.00)", ""
  assert section.tables[0].rows[0] == ("this run, correct", "60", *cells)


def test_a_data_set_that_moved(run, tmp_path, call_main, monkeypatch):
  monkeypatch.chdir(tmp_path)  # Without data/nw_ucla.
  copy = shutil.copytree(run, tmp_path / "copy")
  embeddings.find_path(copy, workdir.read_config(copy)).unlink()
  for options in ([], ["--data", "elsewhere"]):
    result = call_main(__main__.main, "--workdir", copy, *options)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    place = "elsewhere" if options else "data/nw_ucla"
    assert line.startswith(f"error: no data set in {place}, on which")
    assert line.endswith("--data") and "--config" not in line


def test_a_run_of_another_version(run, tmp_path, call_main):
  """It cannot be evaluated by its own config; the remedy is a command."""
  copy = shutil.copytree(run, tmp_path / "a copy")
  config = workdir.read_config(copy)
  embeddings.find_path(copy, config).unlink()
  del config["optim"]["momentum"]
  workdir.write_config(copy, config)
  result = call_main(__main__.main, "--workdir", copy)
  assert result.returncode == 1
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: config.optim.momentum is missing")
  assert line.endswith(
    "python -m sgcl_jax.main --mode=evaluate --save_embeddings"
    f" --workdir '{copy}' --config FILE"
  )
  assert not (copy / "report").exists()


MISTAKES = {
  "no workdir": ([], "--workdir is missing"),
  "no run": (["--workdir", "{tmp}"], "holds no config.json"),
  "taken": (["--workdir", "{run}", "--out", "{run}"], "is not a report"),
  "joint": (["--workdir", "{run}", "--anchor", "tail"], "has the joints hip"),
  "class": (["--workdir", "{run}", "--classes", "carry", "x"], "no class 'x'"),
  "pair": (["--workdir", "{run}", "--classes", "carry", "carry"], "twice"),
  "baseline": (
    ["--workdir", "{run}", "--baseline", "{other}"],
    "hold other clips: clip_59 is in",
  ),
  "itself": (["--workdir", "{run}", "--baseline", "{run}"], "is given twice"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_answered_in_one_line(
  case, run, baseline, tmp_path, call_main
):
  other = shutil.copytree(baseline, tmp_path / "other")
  config = workdir.read_config(other)
  for module in (scores, embeddings):
    path = module.find_path(other, config)
    found = module.read(path)
    cut = {k: v[:-1] for k, v in found._asdict().items() if k != "class_names"}
    module.write(path, found._replace(**cut))
  before = sorted(run.rglob("*"))
  args, message = MISTAKES[case]
  args = [arg.format(tmp=tmp_path, run=run, other=other) for arg in args]
  result = call_main(__main__.main, *args)
  assert result.returncode == 1
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ") and message in line
  assert sorted(run.rglob("*")) == before


def test_an_earlier_report_is_replaced_whole(tmp_path):
  out = tmp_path / "report"
  section = content.Section("Result", "Fine.", [], [])
  page.write(out, "First", [section])
  (out / "tables" / "old.csv").write_text("")
  page.check_out(out)
  page.write(out, "Second", [section])
  assert "Second" in (out / "index.html").read_text()
  assert not (out / "tables" / "old.csv").exists()
  broken = content.Section("Result", "Fine.", [None], [])
  with pytest.raises(AttributeError):
    page.write(out, "Third", [broken])
  assert "Second" in (out / "index.html").read_text()
  assert list(tmp_path.iterdir()) == [out]


def test_an_interruption_keeps_the_earlier_report(tmp_path, monkeypatch):
  out = tmp_path / "report"
  section = content.Section("Result", "Fine.", [], [])
  page.write(out, "First", [section])
  rename = pathlib.Path.rename

  def interrupt(path, target):
    if ".open-" in path.name:
      raise KeyboardInterrupt
    rename(path, target)

  monkeypatch.setattr(pathlib.Path, "rename", interrupt)
  with pytest.raises(KeyboardInterrupt):
    page.write(out, "Second", [section])
  assert "First" in (out / "index.html").read_text()
  assert list(tmp_path.iterdir()) == [out]


def test_text_is_escaped():
  table = content.Table("t", ("a",), [("<b>|x",)])
  section = content.Section("<i>", "", [], [table])
  assert "<b>" not in page.to_html("title", [section])
  assert "&lt;i&gt;" in page.to_html("title", [section])
  assert "| &lt;b>\\|x |" in page.to_markdown("title", [section])


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1100])
def test_a_browser_shows_it(report, tmp_path, width):
  """Chromium draws the figures; nothing is wider than a phone's window."""
  found = [shutil.which(name) for name in BROWSERS]
  browser = next((path for path in found if path), None)
  if browser is None:
    pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
  out, _ = report
  # The page tells its own width in its title.
  probe = tmp_path / "probe.html"
  text = (out / "index.html").read_text(encoding="utf-8")
  script = (
    "<script>document.title = [document.documentElement.scrollWidth,"
    "document.querySelectorAll('svg').length,"
    "[...document.querySelectorAll('svg')].every("
    "s => s.getBoundingClientRect().height > 80)].join()</script>"
  )
  probe.write_text(text.replace("</body>", f"{script}</body>"), "utf-8")
  flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
  picture = tmp_path / "page.png"
  for extra in (["--dump-dom"], [f"--screenshot={picture}"]):
    done = subprocess.run(
      [browser, *flags, f"--window-size={width},3000", *extra, probe.as_uri()],
      capture_output=True,
      text=True,
      timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if extra == ["--dump-dom"]:
      (title,) = re.findall(r"<title>(\d+),14,true</title>", done.stdout)
      assert int(title) <= width
  with Image.open(picture) as image:
    assert image.size == (width, 3000)
    assert len(image.convert("RGB").getcolors(1 << 24)) > 100
