# SPDX-License-Identifier: Apache-2.0
"""The numbers of a report, against loops that follow the paper's equations."""

import math

import numpy as np
import pytest

from data_prep import class_names, ntu60, ntu120, nw_ucla
from sgcl_jax import errors, skeletons
from sgcl_jax.report import diagnostics, paper, skeleton


@pytest.fixture(scope="module")
def clips():
  """60 clips, 5 classes; no clip is of class 3, which 4 clips are taken for."""
  rng = np.random.default_rng(0)
  labels = rng.choice([0, 1, 2, 4], 60)
  graphs = rng.normal(size=(60, 3, 4, 4)).astype(np.float32)
  graphs += labels[:, None, None, None] * 0.2
  logits = rng.normal(size=(60, 5)) + 1.5 * np.eye(5)[labels]
  logits[:4] = 9 * np.eye(5)[3]
  return labels, graphs, logits


def naive_embedding(graph):
  """Returns the flat mean over the sub-graphs, as a list."""
  joints = range(len(graph[0]))
  return [
    sum(float(part[u][v]) for part in graph) / len(graph)
    for u in joints
    for v in joints
  ]


def naive_distances(labels, graphs, num_classes):
  """Returns, for each clip, class -> squared distance (Eqs. 9 to 12)."""
  embedded = [naive_embedding(graph) for graph in graphs]
  centroids = {}
  for label in range(num_classes):
    members = [
      e for e, own in zip(embedded, labels, strict=True) if own == label
    ]
    if members:
      centroids[label] = [
        sum(values) / len(members) for values in zip(*members, strict=True)
      ]
  return [
    {
      label: sum((a - b) ** 2 for a, b in zip(e, centroid, strict=True))
      for label, centroid in centroids.items()
    }
    for e in embedded
  ]


def squared_distances(labels, graphs):
  return diagnostics.distances(diagnostics.embed(graphs), labels, 5)


def test_distances_against_loops(clips):
  labels, graphs, _ = clips
  found = squared_distances(labels, graphs)
  expected = naive_distances(labels, graphs, 5)
  assert np.isnan(found[:, 3]).all()
  for row, distances in zip(found, expected, strict=True):
    for label, distance in distances.items():
      assert row[label] == pytest.approx(distance, rel=1e-12)


def test_mean_distances_against_loops(clips):
  labels, graphs, logits = clips
  predicted = logits.argmax(axis=1)
  found = diagnostics.mean_distances(
    squared_distances(labels, graphs), labels, predicted
  )
  rows = naive_distances(labels, graphs, 5)
  for name, wrong in (("incorrect", True), ("correct", False)):
    chosen = [
      (row, int(own), int(answer))
      for row, own, answer in zip(rows, labels, predicted, strict=True)
      if (own != answer) == wrong
    ]
    assert found[name]["clips"] == len(chosen) > 4
    for kind, change in (("d", lambda x: x), ("root", math.sqrt)):
      all_, cor, mis = [], [], []
      for row, own, answer in chosen:
        all_.append(sum(change(d) for d in row.values()) / len(row))
        cor.append(change(row[own]))
        if wrong and answer in row:
          mis.append(change(row[answer]))
      for part, values in (("all", all_), ("cor", cor), ("mis", mis)):
        value = found[name][f"{kind}_{part}"]
        if values:
          assert value == pytest.approx(sum(values) / len(values), rel=1e-12)
        else:
          assert value is None
  assert found["correct"]["d_mis"] is None
  assert found["incorrect"]["d_mis"] > 0


def test_ranks_against_loops(clips):
  labels, graphs, _ = clips
  ranks = diagnostics.rank(squared_distances(labels, graphs), labels)
  for found, row, own in zip(
    ranks, naive_distances(labels, graphs, 5), labels, strict=True
  ):
    order = sorted(row, key=lambda label: (row[label], label))
    assert found == order.index(own) + 1
  assert len(set(ranks)) > 2


def test_equal_distances_are_ranked_by_class():
  squared = np.array([[1.0, 1.0, 0.5], [1.0, 1.0, 1.0], [1.0, np.nan, 1.0]])
  assert diagnostics.rank(squared, np.array([1, 0, 2])).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
  ("num_classes", "groups"),
  [
    (3, ["1-1", "2-3"]),
    (10, ["1-1", "2-5", "6-10"]),
    (60, ["1-1", "2-5", "6-10", "11-20", "21-40", "41-60"]),
    (120, ["1-1", "2-5", "6-10", "11-20", "21-40", "41-60", "61-120"]),
  ],
)
def test_groups_of_ranks(num_classes, groups):
  ranks = np.arange(1, num_classes + 1)
  rows = diagnostics.accuracy_by_rank(ranks, ranks % 2 == 0, num_classes)
  assert [f"{row['first']}-{row['last']}" for row in rows] == groups
  assert sum(row["clips"] for row in rows) == num_classes
  assert rows[0]["accuracy"] == 0.0
  assert rows[1]["accuracy"] == 50.0
  (empty, _, *_) = diagnostics.accuracy_by_rank(
    np.array([2]), np.array([True]), num_classes
  )
  assert empty["clips"] == 0 and empty["accuracy"] is None


def test_classes_by_hand():
  ours = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
  theirs = np.array([[1, 3, 0], [0, 3, 1], [0, 0, 0]])
  changes = diagnostics.compare_classes(ours, theirs)
  assert changes == [(0, 4, 75.0, 25.0), (1, 4, 50.0, 75.0)]
  # By the baseline's accuracy, as in Tab. 21; alone, by the run's own.
  assert [c.label for c in diagnostics.hardest(changes)] == [0, 1]
  alone = diagnostics.compare_classes(ours)
  assert [c.label for c in diagnostics.hardest(alone)] == [1, 0]
  assert alone[0].gain is None
  improved = diagnostics.most_improved(changes)
  assert [(c.label, c.gain) for c in improved] == [(0, 50.0)]
  assert diagnostics.confused_pairs(ours) == [(1, 2, 2, 50.0), (0, 1, 1, 25.0)]
  assert diagnostics.confused_pairs(np.diag([1, 2])) == []


def test_the_clips_that_show_a_confusion(clips):
  labels, _, logits = clips
  predicted = logits.argmax(axis=1)
  groups = diagnostics.choose_clips(logits, labels, (1, 2), num=2)
  powers = np.exp(logits)
  certainty = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
  answers = {"correct": (1, 1), "other": (2, 2), "mistaken": (1, 2)}
  assert [name for name, _ in groups] == list(answers)
  for name, rows in groups:
    own, answer = answers[name]
    fitting = [
      i for i in range(60) if (labels[i], predicted[i]) == (own, answer)
    ]
    fitting.sort(key=lambda i: -certainty[i])
    assert list(rows) == fitting[:2]
  assert len(groups[0][1]) == 2


def test_curves_are_means_over_the_steps():
  lines = [
    {"split": "train", "step": 1, "epoch": 1, "loss": 4.0},
    {"split": "train", "step": 2, "epoch": 1, "loss": 2.0},
    {"split": "test", "step": 2, "epoch": 1, "top1": 50.0},
    {"split": "train", "step": 3, "epoch": 2, "loss": 1.0, "instance": 7.0},
  ]
  found = diagnostics.curves(lines)
  train = {"epoch": [1, 2], "loss": [3.0, 1.0], "instance": [None, 7.0]}
  assert found == {"train": train, "test": {"epoch": [1], "top1": [50.0]}}
  assert diagnostics.curves([])["train"] == {"epoch": []}


def test_connections_are_a_row_of_the_mean_graph(clips):
  _, graphs, _ = clips
  found = skeleton.connections(graphs, 2)
  for row, graph in zip(found, graphs, strict=True):
    np.testing.assert_allclose(row, naive_embedding(graph)[8:12], rtol=1e-12)


def make_layout(joints, dimensions=3):
  parents = tuple(max(i - 1, 0) for i in range(len(joints)))
  return skeletons.Skeleton("mine", joints, parents, (0,), dimensions)


def test_the_anchor():
  ntu = skeletons.NTU
  assert ntu.joints[skeleton.find_anchor(ntu)] == "right hand tip"
  assert skeleton.find_anchor(skeletons.UCLA) == 11
  layout = make_layout(("hip", "Right_Wrist", "tail"))
  assert skeleton.find_anchor(layout) == 1
  assert skeleton.find_anchor(make_layout(("a", "b", "c"))) == 2
  assert skeleton.find_anchor(layout, "right wrist") == 1
  with pytest.raises(errors.ConfigError, match="--anchor=knee.*hip, Right_Wri"):
    skeleton.find_anchor(layout, "knee")


def test_the_view_is_upright():
  """The longest channel is vertical, the head above the feet."""
  layout = make_layout(("head", "hip", "left_foot"))
  pose = np.array([[0.1, 0, 2], [0, 0.3, 1], [0, 0, 0.0]])
  assert skeleton.find_view(pose[None], layout) == (1, 2, 1)
  assert skeleton.find_view(pose[None, ::-1], layout) == (1, 2, -1)
  flat = skeleton.flatten(pose[::-1], (1, 2, -1))
  np.testing.assert_array_equal(flat, [[0, 0], [0.3, -1], [0, -2]])
  # In an image the third channel is a score.
  found = skeleton.flatten(pose, (0, 1, -1), dimensions=2)
  assert np.isnan(found[2]).all() and found[1].tolist() == [0, -0.3]
  image = make_layout(("head", "hip", "left_foot"), dimensions=2)
  assert skeleton.find_view(pose[None], image) == (0, 1, -1)
  assert skeleton.find_view(pose[None], skeletons.UCLA) == (0, 1, 1)


def test_the_papers_classes_have_our_names():
  assert paper.CLASSES.keys() <= set(class_names.NTU60)
  # "Average" of Tab. 21, over the ten that are hardest for the baseline.
  hardest = sorted(paper.CLASSES.values())[:10]
  means = np.mean(hardest, axis=0)
  assert means == pytest.approx((73.2, 75.9), abs=0.06)


def test_the_official_test_sets():
  totals = {
    ("ntu60", "xsub"): ntu60.NTU60.totals["xsub_test"],
    ("ntu60", "xview"): ntu60.NTU60.totals["xview_test"],
    ("ntu120", "xsub"): ntu120.NTU120.totals["xsub_test"],
    ("ntu120", "xset"): ntu120.NTU120.totals["xset_test"],
    ("ucla", "xview"): nw_ucla.NUM_CLIPS["test"],
  }
  assert totals == paper.TEST_CLIPS


def test_steps_without_active_anchors_have_no_similarity():
  lines = [
    {"step": step, "epoch": epoch, "split": "train", "active_anchors": active}
    | {"positive_similarity": value}
    for step, epoch, active, value in (
      (1, 1, 0.0, 0.0),
      (2, 2, 0.0, 0.0),
      (3, 2, 0.5, 0.4),
      (4, 2, 1.0, 0.2),
    )
  ]
  found = diagnostics.curves(lines)["train"]
  assert found["positive_similarity"] == [None, pytest.approx(0.3)]
  assert found["active_anchors"] == [0, 0.5]
