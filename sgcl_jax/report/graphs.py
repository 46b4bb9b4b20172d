# SPDX-License-Identifier: Apache-2.0
"""Sections on the learned graphs: distances, ranks, maps, skeletons."""

import numpy as np

from sgcl_jax.report import (
  content,
  diagnostics,
  figures,
  paper,
  runs,
  skeleton,
)

GRAPH_TEXT = (
  "Connections of the joint {} (ringed) in the learned graph, as in Fig. 1: the"
  " area of a circle and the width of a line grow with them; orange lines are"
  " negative. All clips share one scale. Each row has the clips of which the"
  " model is most certain, each at the frame that is furthest from its first."
)
MAX_CLASSES = 6  # Of a t-SNE, as in Fig. 4, where there are more than ten.
MAX_POINTS = 200  # Of a class in a t-SNE.


def distances(run: runs.Run, baseline: runs.Run | None) -> content.Part:
  """Returns the mean graph distances (Tab. 9)."""
  rows, numbers = [], {}
  for title, member in content.both(run, baseline):
    found = diagnostics.mean_distances(
      _squared(member), member.scores.labels, _predicted(member)
    )
    numbers[title] = found
    for group, values in found.items():
      row = [f"{title}, {group}", f"{values['clips']:,}"]
      for kind in ("all", "cor", "mis"):
        squared, root = values[f"d_{kind}"], values[f"root_{kind}"]
        cell = "" if squared is None else f"{_show(squared)} ({_show(root)})"
        row.append(cell)
      rows.append(tuple(row))
  for group, values in paper.DISTANCES.items():
    cells = ["" if v is None else f"{v:.2f}e-5" for v in values]
    rows.append((f"paper (CTR-GCN, NTU 60), {group}", "", *cells))
  header = (
    "clips",
    "number",
    "d_all, to all classes",
    "d_cor, to the own class",
    "d_mis, to the predicted class",
  )
  text = (
    "Mean squared distance of a clip's graph to the mean graphs of the classes"
    " (Eqs. 9 to 12, Tab. 9), and in brackets the mean of the distances"
    " themselves. The paper's table names Euclidean distances, its equations"
    " squared ones. Distances depend on the size of the graphs: compare within"
    " a row. The graph is averaged over the sub-graphs; the mean graphs are"
    " those of the test clips by their true class."
  )
  table = content.Table("graph_distance", header, rows)
  section = content.Section("Graph distance", text, [], [table])
  return section, {"graph_distance": numbers}


def _show(value):
  """Returns three significant digits, also where the last ones are 0."""
  return f"{value:#.3g}".rstrip(".")


def ranks(run: runs.Run, baseline: runs.Run | None) -> content.Part:
  """Returns the accuracy by rank of the graph distance (Tab. 10)."""
  found = []
  for _, member in content.both(run, baseline):
    labels = member.scores.labels
    ranks = diagnostics.rank(_squared(member), labels)
    found.append(
      diagnostics.accuracy_by_rank(
        ranks, _predicted(member) == labels, len(member.class_names)
      )
    )
  ours, theirs = found[-1], found[0] if baseline is not None else None
  rows = []
  for i, row in enumerate(ours):
    cells = [figures.describe_ranks(row)]
    for group in found:
      cells += [
        f"{group[i]['clips']:,}",
        content.format_number(group[i]["accuracy"], 1),
      ]
    values = paper.RANKS.get(row["last"], (None, None))
    rows.append(
      (*cells, *(content.format_number(value, 1) for value in values))
    )
  header = ["rank"]
  for title, _ in content.both(run, baseline):
    header += [f"{title}, clips", "accuracy"]
  header += ["paper: CTR-GCN", "with SkeletonGCL"]
  drawn = figures.ranks(ours, theirs)
  text = (
    "The classes of each clip are sorted by the distance of its graph to their"
    " mean graphs; rank 1 means that its own class is the nearest (Tab. 10)."
    " The paper's accuracies are those of NTU RGB+D 60; with other numbers of"
    " classes the same rank means something else."
  )
  section = content.Section(
    "Accuracy by rank of the graph distance",
    text,
    [
      content.Figure(
        "ranks", drawn, "Accuracy by rank; groups without clips are empty."
      )
    ],
    [content.Table("accuracy_by_rank", tuple(header), rows)],
  )
  return section, {"accuracy_by_rank": ours}


def _squared(run):
  embedded = diagnostics.embed(run.embeddings.graphs)
  labels = run.scores.labels
  return diagnostics.distances(embedded, labels, len(run.class_names))


def _predicted(run):
  return run.scores.logits.argmax(axis=1)


def maps(run: runs.Run, baseline: runs.Run | None) -> content.Part:
  """Returns the t-SNE of graphs and features (Fig. 4)."""
  labels, chosen = run.scores.labels, _choose_points(run)
  drawn = []
  for kind in ("graphs", "features"):
    for title, member in content.both(run, baseline):
      values = getattr(member.embeddings, kind)
      if values is None:
        continue
      values = values[chosen]
      places = figures.project(
        diagnostics.embed(values) if kind == "graphs" else values
      )
      drawn.append(
        content.Figure(
          f"tsne_{kind}_{title.replace(' ', '_')}",
          figures.scatter(
            places, labels[chosen], run.class_names, f"{kind}, {title}"
          ),
          f"t-SNE of the {kind} of test clips, {title}.",
        )
      )
  shown = len(np.unique(labels[chosen]))
  text = (
    "t-SNE of the graphs and of the features before the classifier (Fig. 4)."
    f" {len(chosen):,} clips of {shown} classes"
    + (", the hardest ones." if shown < len(np.unique(labels)) else ".")
    + " Distances between groups, and the size of a group, mean little."
  )
  return content.Section("Map of the clips", text, drawn, []), {}


def _choose_points(run):
  """Returns rows of clips: all classes, or the hardest if there are many."""
  labels = run.scores.labels
  classes = np.unique(labels)
  if len(classes) > 10:
    changes = diagnostics.compare_classes(run.confusion())
    hardest = diagnostics.hardest(changes, MAX_CLASSES)
    classes = [change.label for change in hardest]
  rng = np.random.default_rng(0)
  rows = []
  for label in classes:
    members = np.flatnonzero(labels == label)
    rows.append(rng.permutation(members)[:MAX_POINTS])
  return np.sort(np.concatenate(rows))


def skeletons(
  run: runs.Run, anchor: int, pair: tuple[int, int] | None
) -> content.Part:
  """Returns graphs on skeletons (Fig. 1), see `diagnostics.choose_clips`."""
  if pair is None:
    return None, {}
  first, other = (run.class_names[label] for label in pair)
  titles = {
    "correct": f"(a) {first}",
    "other": f"(b) {other}",
    "mistaken": f"(c) {first}, taken for {other}",
  }
  groups = diagnostics.choose_clips(run.scores.logits, run.scores.labels, pair)
  strengths = skeleton.connections(run.embeddings.graphs, anchor)
  rows = [
    skeleton.Row(titles[name], run.embeddings.poses[clips], strengths[clips])
    for name, clips in groups
    if len(clips)
  ]
  if not rows:
    return None, {}
  shown = {
    name: [str(run.scores.names[i]) for i in clips] for name, clips in groups
  }
  joint = run.layout.joints[anchor]
  caption = "; ".join(
    f"{titles[name]}: {', '.join(names) or 'none'}"
    for name, names in shown.items()
  )
  drawn = skeleton.draw(rows, run.layout, anchor)
  section = content.Section(
    "Learned graphs",
    GRAPH_TEXT.format(joint),
    [content.Figure("learned_graphs", drawn, caption)],
    [],
  )
  return section, {"learned_graphs": {"anchor": joint, **shown}}
