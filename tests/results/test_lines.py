# SPDX-License-Identifier: Apache-2.0
"""A finished workdir becomes a line of a CSV, each run once."""

import csv
import json
import shutil

import pytest

from sgcl_jax.results import __main__ as command_line
from sgcl_jax.results import lines, origin, store


@pytest.fixture
def add(call_main, tmp_path):
  """Returns a runner of `add`, which writes runs.csv."""

  def run(*args):
    path = tmp_path / "runs.csv"
    return call_main(command_line.main, "add", *args, "--csv", path)

  return run


def read(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def test_the_line_of_a_run(make_run):
  path = make_run(
    "x", "modality=bone,preset=short", 3, **{"optim.base_lr": 0.05}
  )
  assert lines.describe(path) == {
    "run": lines.describe(path)["run"],
    "config": "ctrgcn_ucla",
    "split": "xview",
    "modality": "bone",
    "contrast": "paper",
    "preset": "short",
    "overrides": "optim.base_lr=0.05 optim.num_epochs=2",
    "seed": "3",
    "epochs": "2",
    "top1": "75.00000",
    "top5": lines.describe(path)["top5"],
    "num_clips": "20",
    "best_top1_on_test": "90.00000",
    "best_epoch_on_test": "1",
    "minutes": "1.5",
    "device": "1 x cpu",
    "precision": "highest",
    "revision": "aaaaaaa, bbbbbbb",
    "versions": "jax 1.2, numpy 3",
    "scores": str(path / "scores" / "xview_bone.npz"),
  }
  assert tuple(lines.describe(path)) == lines.RUN_FIELDS


def test_the_lines_of_its_epochs(make_run):
  """Means over the steps; without the contrast its columns are empty."""
  first, second = lines.describe_epochs(make_run("x"), "r")
  assert (first["ce"], first["instance"], first["top1"]) == (
    "3.5000",
    "1.5000",
    "90.00000",
  )
  assert (second["epoch"], second["ce"], second["top1"]) == (
    "2",
    "1.5000",
    "45.00000",
  )
  off = lines.describe_epochs(make_run("y", "gcl=false"), "r")
  assert [line["instance"] for line in off] == ["", ""]
  assert tuple(first) == lines.CURVE_FIELDS


@pytest.mark.parametrize(
  ("arg", "fields", "contrast", "overrides"),
  [
    ("gcl=false", {"contrast.temperature": 3.0}, "off", ""),
    ("contrast=released", {}, "released", ""),
    (None, {"data.dir": "elsewhere", "eval_batch_size": 3}, "paper", ""),
    (None, {"data.window": 32}, "paper", "data.window=32"),
    (None, {"model.dtype": "bfloat16"}, "paper", "model.dtype=bfloat16"),
    (None, {"init_from": "runs/my run"}, "paper", "init_from=#ec4b80be"),
    (
      None,
      {"optim.decay_epochs": (1, 2)},
      "paper",
      "optim.decay_epochs=[1,2]",
    ),
  ],
)
def test_what_a_run_has_set(make_run, arg, fields, contrast, overrides):
  line = lines.describe(make_run("x", arg, **fields))
  assert line["config"] == "ctrgcn_ucla" and line["contrast"] == contrast
  rest = line["overrides"].split()
  rest.remove("optim.num_epochs=2")
  assert " ".join(rest) == overrides


@pytest.mark.parametrize(
  ("name", "arg"),
  [
    ("infogcn_ntu60", "split=xview,modality=bone"),
    ("agcn_ntu120", "split=xset,contrast=released"),
    ("ctrgcn_ntu60", "gcl=false"),
    ("infogcn_ucla", "preset=short"),
    ("quickstart", ""),
  ],
)
def test_the_config_is_recognised(name, arg):
  loaded = __import__(f"configs.{name}", fromlist=["get_config"])
  config = loaded.get_config(arg).copy_and_resolve_references()
  record = json.loads(json.dumps(config.to_dict()))
  assert origin.find(record) == (name, "")


def test_a_config_of_your_own(make_run, tmp_path):
  text = (
    "from configs import ctrgcn_ucla\n"
    "def get_config(arg=None):\n"
    "  config = ctrgcn_ucla.get_config(arg)\n"
    "  config.optim.num_epochs = 2\n"
    "  return config\n"
  )
  (tmp_path / "mine.py").write_text(text)
  path = make_run("x", "modality=bone")
  line = lines.describe(path, spec=f"{tmp_path}/mine.py:modality=bone")
  assert (line["config"], line["overrides"]) == ("mine", "")


def test_runs_are_added_once_and_sorted(add, make_run, tmp_path):
  paths = [make_run(f"run{seed}", seed=seed) for seed in (10, 9)]
  result = add(*paths)
  assert result.returncode == 0, result.stderr
  assert "2 runs in" in result.stdout and "0 of them" in result.stdout
  text = (tmp_path / "runs.csv").read_text()
  curves = (tmp_path / "runs_curves.csv").read_text()
  assert [line["seed"] for line in read(tmp_path / "runs.csv")] == ["9", "10"]
  assert len(read(tmp_path / "runs_curves.csv")) == 4
  result = add(paths[0])
  assert "1 run in" in result.stdout and "1 of them" in result.stdout
  assert (tmp_path / "runs.csv").read_text() == text
  assert (tmp_path / "runs_curves.csv").read_text() == curves
  assert add(make_run("more", "gcl=false", 9, 12)).returncode == 0
  found = read(tmp_path / "runs.csv")
  assert [line["contrast"] for line in found] == ["off", "paper", "paper"]
  assert found[0]["top1"] == "60.00000"


def break_nothing(path):
  pass


def remove_summary(path):
  (path / "summary.json").unlink()


def cut_summary(path):
  text = (path / "summary.json").read_text()
  (path / "summary.json").write_text(text[:20])


def change_top1(path):
  summary = json.loads((path / "summary.json").read_text())
  (path / "summary.json").write_text(json.dumps({**summary, "top1": 76}))


def remove_field(path):
  summary = json.loads((path / "summary.json").read_text())
  del summary["device"]
  (path / "summary.json").write_text(json.dumps(summary))


def damage_metrics(path):
  with (path / "metrics.jsonl").open("a") as file:
    file.write("not JSON\n")


def remove_scores(path):
  (path / "scores" / "xview_joint.npz").unlink()


@pytest.mark.parametrize(
  ("summary", "options", "damage", "message"),
  [
    (
      {},
      [],
      remove_summary,
      "finished, or it was not evaluated",
    ),
    ({}, [], cut_summary, "summary.json is damaged"),
    ({}, [], change_top1, "gives top-1 75.000 %, summary.json says 76.000"),
    ({}, [], remove_scores, "there is no score file"),
    ({}, [], remove_field, "summary.json has no device; evaluate the run"),
    ({}, [], damage_metrics, "metrics.jsonl, line 7 is damaged"),
    ({"epoch": 1}, [], break_nothing, "has 1 of 2 epochs; finish it first"),
    ({"revisions": None}, [], break_nothing, "add --revision"),
    ({}, ["--revision", "c"], break_nothing, "leave out --revision"),
  ],
)
def test_runs_that_are_refused(
  add, make_run, tmp_path, summary, options, damage, message
):
  good, bad = make_run("good"), make_run("bad", seed=2, summary=summary)
  damage(bad)
  result = add(good, bad, *options)
  assert result.returncode == 1 and message in result.stderr
  assert result.stderr.count("\n") == 1
  assert not list(tmp_path.glob("runs*"))


def test_a_revision_for_code_without_a_checkout(add, make_run, tmp_path):
  old = {"revisions": None, "seconds": None}
  assert add(make_run("x", summary=old), "--revision", "c").returncode == 0
  packed = {"revisions": ["version 0.2.0"]}
  result = add(make_run("y", seed=2, summary=packed), "--revision", "d")
  assert result.returncode == 0, result.stderr
  assert add(make_run("z", seed=3, summary=packed)).returncode == 0
  found = read(tmp_path / "runs.csv")
  assert [x["revision"] for x in found] == ["c", "d", "version 0.2.0"]
  assert [x["minutes"] for x in found] == ["", "1.5", "1.5"]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("a,b\n1,2\n", "runs.csv has the columns a, b; this table has"),
    (",".join(lines.RUN_FIELDS) + "\n1,2\n", "runs.csv, line 2: a line has 20"),
  ],
)
def test_another_file_is_not_overwritten(
  add, make_run, tmp_path, text, message
):
  (tmp_path / "runs.csv").write_text(text)
  result = add(make_run("x"))
  assert result.returncode == 1 and message in result.stderr
  assert (tmp_path / "runs.csv").read_text() == text


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["add", "x"], "--csv is missing"),
    (["add", "--csv", "x.csv"], "name the directories of finished runs"),
    (["table", "x", "--csv", "x.csv"], "and none after table or page"),
    (["table", "--csv", "absent.csv"], "there is no file absent.csv"),
    (["add", "absent", "--csv", "x.csv"], "there is no directory absent"),
  ],
)
def test_arguments_that_make_no_sense(call_main, args, message):
  result = call_main(command_line.main, *args)
  assert result.returncode == 1 and message in result.stderr


def test_a_copy_of_a_run_counts_once(add, make_run, tmp_path):
  """Named twice, or copied: otherwise its streams would not be fused."""
  joint, bone = make_run("joint"), make_run("bone", "modality=bone", right=12)
  copy = shutil.copytree(joint, tmp_path / "copy")
  result = add(joint, joint, copy, bone)
  assert result.returncode == 0, result.stderr
  assert "2 runs in" in result.stdout
  assert f"{copy} holds the same run as {joint}" in result.stdout
  names = [line["modality"] for line in read(tmp_path / "runs.csv")]
  assert sorted(names) == ["J+B", "bone", "joint"]
  assert len(read(tmp_path / "runs_curves.csv")) == 2 * 2


def test_a_table_keeps_each_run_once(make_run, tmp_path):
  joint, bone = make_run("joint"), make_run("bone", "modality=bone", right=12)
  runs = [lines.describe(path) for path in (joint, joint, bone)]
  epochs = [
    line
    for path, run in zip((joint, joint, bone), runs, strict=True)
    for line in lines.describe_epochs(path, run["run"])
  ]
  path = tmp_path / "runs.csv"
  assert store.add(path, runs, epochs) == 0
  found = store.read(path)
  assert len(found.runs) == 3 and len(found.curves) == 4
  # A table that an older version wrote, with copies in it.
  text = path.read_text().splitlines(keepends=True)
  path.write_text("".join([*text, *text[1:]]))
  store.add(path, runs[2:], [])
  assert len(store.read(path).runs) == 3
