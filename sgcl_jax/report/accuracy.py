# SPDX-License-Identifier: Apache-2.0
"""Sections on accuracies: the result, the training, classes, confusions."""

import numpy as np

from sgcl_jax.report import content, diagnostics, figures, paper, runs

# Title of a chart -> (unit, ends of its axis, split and name of each series).
CHARTS = {
  "loss": ("", (0, None), [("train", "loss"), ("train", "ce")]),
  "accuracy": ("%", (0, 100), [("train", "accuracy"), ("test", "top1")]),
}
CONTRAST_CHARTS = {
  "terms of the contrast": (
    "",
    (0, None),
    [("train", name) for name in ("instance", "semantic", "batch", "graph_ce")],
  ),
  "active anchors and banks": (
    "%",
    (0, 105),
    [("train", "active_anchors"), ("train", "bank_fill")],
  ),
  "similarities": (
    "",
    (None, None),
    [("train", "positive_similarity"), ("train", "negative_similarity")],
  ),
}
SERIES = {
  "ce": "cross-entropy",
  "accuracy": "training clips",
  "top1": "test clips",
  "active_anchors": "active anchors",
  "bank_fill": "bank rows that are filled",
  "positive_similarity": "similarity to the own class",
  "negative_similarity": "similarity to other classes",
}
IN_PERCENT = ("accuracy", "active_anchors", "bank_fill")


def summary(run: runs.Run, baseline: runs.Run | None) -> content.Part:
  """Returns the accuracies, the paper's, and what differs from the paper."""
  rows = []
  for title, member in content.both(run, baseline):
    found = member.summary
    low, high = found["top1_interval"]
    rows.append(
      (
        f"{title}: {content.describe(member)}",
        f"{found['top1']:.2f}",
        f"{low:.1f} to {high:.1f}",
        f"{found['top5']:.2f}",
        f"{found['mean_class_accuracy']:.2f}",
        f"{found['calibration_error']:.2f}",
        str(found["epoch"]),
        str(found["seed"]),
        content.format_number(paper.find_top1(member.config), 1),
      )
    )
  header = (
    "run",
    "top-1",
    "95 % interval",
    "top-5",
    "mean over classes",
    "calibration error",
    "epoch",
    "seed",
    "paper, top-1",
  )
  differing = paper.list_differences(run.config, run.summary["num_clips"])
  text = (
    f"{run.summary['num_clips']:,} test clips; all shares in percent. The"
    " interval (Wilson) covers other clips of the same kind, not other seeds."
    " What differs from the paper:"
  )
  numbers = {
    "workdir": str(run.directory),
    "baseline": None if baseline is None else str(baseline.directory),
    "top1": run.summary["top1"],
    "top5": run.summary["top5"],
    "num_clips": run.summary["num_clips"],
    "paper_top1": paper.find_top1(run.config),
    "differences": differing,
  }
  table = content.Table("result", header, rows)
  section = content.Section("Result", text, [], [table], tuple(differing))
  return section, numbers


def training(run: runs.Run, baseline: runs.Run | None) -> content.Part:
  """Returns the curves of losses and accuracies."""
  members = [("", run.lines)]
  if baseline is not None:
    members.append((figures.BASELINE, baseline.lines))
  drawn = _charts(CHARTS, members)
  if not drawn:
    return None, {}
  text = (
    "Training values are means over the steps of an epoch. The loss is the sum"
    " of all terms; with the contrast it rises when the anchors become active."
  )
  return content.Section("Training", text, drawn, []), {}


def contrast(run: runs.Run) -> content.Part:
  """Returns the values that the contrast logged."""
  drawn = _charts(CONTRAST_CHARTS, [("", run.lines)])
  found = diagnostics.curves(run.lines)["train"]
  names = [
    name
    for _, _, wanted in CONTRAST_CHARTS.values()
    for _, name in wanted
    if name in found
  ]
  if not names:
    return None, {}
  last = {name: found[name][-1] for name in names}
  rows = []
  for name in names:
    factor, unit = (100, ", %") if name in IN_PERCENT else (1, "")
    ends = (found[name][i] for i in (0, -1))
    ends = ("" if v is None else f"{v * factor:.3g}" for v in ends)
    rows.append((SERIES.get(name, name) + unit, *ends))
  text = (
    "An anchor is active when the banks hold enough rows of its class and of"
    " the others; without active anchors the contrast with single clips does"
    " nothing. Similarities are cosines of the projected graphs: to the rows of"
    " the own class that are least similar, and to the rows drawn from other"
    " classes."
  )
  table = content.Table(
    "contrast", ("value", "first epoch", "last epoch"), rows
  )
  return content.Section("Contrast", text, drawn, [table]), {"contrast": last}


def _charts(charts, members):
  drawn = []
  for title, (unit, limits, wanted) in charts.items():
    series = {}
    for member, lines in members:
      found = diagnostics.curves(lines)
      for split, name in wanted:
        values = found[split].get(name)
        # Without other terms the loss is the cross-entropy.
        known = name == "ce" and values == found[split].get("loss")
        if values is not None and not known:
          factor = 100 if name in IN_PERCENT else 1
          values = [None if v is None else v * factor for v in values]
          label = f"{member}{SERIES.get(name, name)}"
          series[label] = found[split]["epoch"], values
    if series:
      name = title.replace(" ", "_")
      chart = figures.curves(series, title, unit, limits)
      drawn.append(
        content.Figure(name, chart, f"{title.capitalize()} by epoch.")
      )
  return drawn


def confusion(run: runs.Run) -> content.Part:
  """Returns the confusion matrix and the classes confused most often."""
  matrix = run.confusion()
  pairs = diagnostics.confused_pairs(matrix)
  drawn = figures.confusion(matrix, run.class_names)
  caption = "Clips by true and predicted class; blue is correct, red is wrong."
  rows = [
    (
      run.class_names[pair.label],
      run.class_names[pair.predicted],
      str(pair.clips),
      f"{pair.share:.1f}",
    )
    for pair in pairs
  ]
  header = ("true class", "taken for", "clips", "% of the class")
  figure = content.Figure("confusion", drawn, caption)
  table = content.Table("confused_classes", header, rows)
  section = content.Section(
    "Confusion",
    "" if pairs else "No clip is taken for another class.",
    [figure],
    [table] if pairs else [],
  )
  names = ("class", "taken_for", "clips", "share")
  found = [
    dict(
      zip(
        names,
        (*(run.class_names[i] for i in pair[:2]), *pair[2:]),
        strict=True,
      )
    )
    for pair in pairs
  ]
  return section, {"confused": found}


def classes(run: runs.Run, baseline: runs.Run | None) -> content.Part:
  """Returns the hardest and the most improved classes (Tab. 21 and 22)."""
  theirs = None if baseline is None else baseline.confusion()
  changes = diagnostics.compare_classes(run.confusion(), theirs)
  groups = {"hardest_classes": diagnostics.hardest(changes)}
  if baseline is not None:
    groups["most_improved_classes"] = diagnostics.most_improved(changes)
  drawn, tables, numbers = [], [], {}
  for name, group in groups.items():
    title = name.replace("_", " ")
    if group:
      chart = figures.classes(group, run.class_names, title)
      drawn.append(content.Figure(name, chart, f"Accuracy of the {title}."))
      tables.append(_class_table(name, group, run))
    numbers[name] = [
      {"class": run.class_names[c.label], **c._asdict(), "gain": c.gain}
      for c in group
    ]
  text = (
    "The classes of the lowest accuracy"
    + (" of the baseline" if baseline is not None else "")
    + " (the paper's Tab. 21)"
    + (
      ", and those that gain most over it (Tab. 22)."
      if baseline is not None
      else "; with --baseline also those that gain most (Tab. 22)."
    )
  )
  return content.Section("Classes", text, drawn, tables), numbers


def _class_table(name, group, run):
  """Returns a table with the paper's values where it has these classes."""
  paired = bool(group) and group[0].baseline is not None
  known = paper.find_data_set(run.config) == "ntu60"
  header = ["class", "clips", *(["baseline"] if paired else []), "this run"]
  header += ["+/-"] if paired else []
  header += ["paper: CTR-GCN", "with SkeletonGCL"] if known else []
  rows = []
  for change in group:
    row = [run.class_names[change.label], str(change.clips)]
    row += [f"{change.baseline:.1f}"] if paired else []
    row += [f"{change.accuracy:.1f}"]
    row += [f"{change.gain:+.1f}"] if paired else []
    if known:
      values = paper.CLASSES.get(run.class_names[change.label], (None, None))
      row += [content.format_number(value, 1) for value in values]
    rows.append(tuple(row))
  if paired and group:
    means = [np.mean([c[i] for c in group]) for i in (3, 2)]
    rows.append(
      (
        "mean",
        "",
        f"{means[0]:.1f}",
        f"{means[1]:.1f}",
        f"{means[1] - means[0]:+.1f}",
        *(("", "") if known else ()),
      )
    )
  return content.Table(name, tuple(header), rows)
