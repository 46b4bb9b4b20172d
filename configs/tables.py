# SPDX-License-Identifier: Apache-2.0
"""The rows of the paper's ablations, as fields of a config.

`python launch/ablate.py --table 5` trains them. In the paper, all rows are
CTR-GCN on NTU RGB+D 60, X-Sub, joint (Sec. 4.4 and App. 6.2).
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
  """One experiment.

  Attributes:
    name: Name in the paper.
    top1: Top-1 accuracy in the paper, in percent.
    fields: Fields to set in the config; all others follow the paper's method.
  """

  name: str
  top1: float
  fields: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
  """One of the paper's tables.

  Attributes:
    title: Title in the paper.
    rows: Rows in the order of the paper.
    note: Our reading of what the paper leaves open.
  """

  title: str
  rows: tuple[Row, ...]
  note: str = ""


BASELINE = Row("Baseline", 89.8, {"gcl": False})


def _contrast(name, top1, **fields):
  return Row(name, top1, {f"contrast.{k}": v for k, v in fields.items()})


def _values(field, values):
  return tuple(Row(str(value), top1, {field: value}) for value, top1 in values)


TABLES = {
  3: Table(
    "Comparison of intra-batch and inter-batch contrast",
    (
      BASELINE,
      _contrast("Intra-batch contrast (no bank)", 90.2, memory="batch"),
      _contrast("Inter-batch contrast", 90.8, memory="both"),
    ),
    "Within the batch, all other clips are positives or negatives, and the"
    " gradient flows to both sides.",
  ),
  4: Table(
    "Comparison of feature and graph contrast",
    (
      BASELINE,
      _contrast("Feature contrast", 90.2, source="feature"),
      _contrast("Graph contrast", 90.8, source="graph"),
    ),
    "The feature is the pooled one before the classifier.",
  ),
  5: Table(
    "Impact of memory banks",
    (
      BASELINE,
      _contrast("Instance memory", 90.3, memory="instance"),
      _contrast("Semantic memory", 90.2, memory="semantic"),
      _contrast("Instance + semantic", 90.8, memory="both"),
    ),
  ),
  6: Table(
    "Impact of sampling strategies (positive / negative; R random, H hard)",
    (
      _contrast("R / R", 90.1, positives="random", negatives="random"),
      _contrast("R / H", 90.2, positives="random", negatives="hard"),
      _contrast("R / R+H", 90.5, positives="random", negatives="both"),
      _contrast("H / R", 90.4, positives="hard", negatives="random"),
      _contrast("H / H", 90.6, positives="hard", negatives="hard"),
      _contrast("H / R+H", 90.8, positives="hard", negatives="both"),
      _contrast("R+H / R+H", 90.3, positives="both", negatives="both"),
    ),
    "The paper does not say how many. Assumed: a random draw takes as many as"
    " the hard one would (K_H+ positives, K_H- negatives), and R+H takes both,"
    " disjoint.",
  ),
  7: Table(
    "Comparison with using triplet loss",
    (
      BASELINE,
      _contrast("Triplet loss", 90.7, loss="triplet"),
      _contrast("InfoNCE loss", 90.8, loss="infonce"),
    ),
    "The paper does not say which triplet loss. Assumed: squared distances of"
    " unit vectors, margin 0.2, the hardest pair of each bank.",
  ),
  11: Table(
    "Comparison of using cross-entropy loss to supervise graph learning",
    (
      BASELINE,
      _contrast("w/ cross-entropy loss", 89.7, loss="classifier"),
      _contrast("w/ SkeletonGCL", 90.8, loss="infonce"),
    ),
    "The classifier is one dense layer on the graph, its loss has weight 1.",
  ),
  12: Table(
    "Impact of the FC layer in graph projection head",
    (
      BASELINE,
      _contrast("Graph projection w/o FC", 90.1, projection="none"),
      _contrast("Graph projection w/ FC", 90.8, projection="dense"),
      _contrast("Graph projection w/ MLP", 90.6, projection="mlp"),
    ),
  ),
  13: Table(
    "Apply graph contrast on different layers",
    (
      BASELINE,
      Row("7th layer", 89.8, {"model.graph_block": 6}),
      Row("8th layer", 90.0, {"model.graph_block": 7}),
      Row("9th layer", 90.4, {"model.graph_block": 8}),
      Row("10th layer", 90.8, {}),  # The last: what every backbone returns.
    ),
  ),
  14: Table(
    "Impact of the size P of the instance memory",
    _values(
      "contrast.rows_per_class",
      ((128, 90.3), (342, 90.5), (684, 90.8), (1368, 90.4), (2736, 90.0)),
    ),
  ),
  15: Table(
    "Performance with different C_g",
    _values(
      "contrast.features", ((64, 90.4), (128, 90.6), (256, 90.8), (512, 90.5))
    ),
  ),
  16: Table(
    "Impact of tau",
    _values(
      "contrast.temperature",
      ((0.5, 90.4), (0.8, 90.6), (1.0, 90.8), (1.5, 90.5)),
    ),
  ),
  17: Table(
    "Impact of alpha",
    _values(
      "contrast.momentum",
      ((0.75, 90.6), (0.8, 90.7), (0.85, 90.8), (0.9, 90.6)),
    ),
  ),
  18: Table(
    "Performance with different K_H+",
    _values(
      "contrast.num_hard_positives",
      ((64, 90.6), (128, 90.8), (256, 90.6), (512, 90.5)),
    ),
  ),
  19: Table(
    "Performance with different K_H-",
    _values(
      "contrast.num_hard_negatives",
      ((128, 90.5), (256, 90.7), (512, 90.8), (1024, 90.5)),
    ),
  ),
  20: Table(
    "Performance with different K_R-",
    _values(
      "contrast.num_random_negatives",
      ((128, 90.6), (256, 90.7), (512, 90.8), (1024, 90.6)),
    ),
  ),
}
