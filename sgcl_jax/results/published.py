# SPDX-License-Identifier: Apache-2.0
"""The paper's Tables 1 and 2: top-1 in percent, with and without SkeletonGCL.

The rows without it are those that the authors trained again. `python
launch/ablate.py --table 2` trains all of them.
"""

STREAMS = ("joint", "bone", "J+B", "4S")

# (config, split) -> top-1 of STREAMS, without SkeletonGCL and with it.
TABLES = {
  1: {
    ("agcn_ntu60", "xsub"): (
      (88.9, 89.2, 91.0, 91.5),
      (89.9, 90.0, 91.6, 92.2),
    ),
    ("agcn_ntu60", "xview"): (
      (94.5, 94.1, 95.7, 95.9),
      (95.0, 94.4, 96.1, 96.4),
    ),
    ("agcn_ntu120", "xsub"): (
      (84.0, 85.1, 87.8, 88.2),
      (84.7, 86.0, 88.4, 88.7),
    ),
    ("agcn_ntu120", "xset"): (
      (85.3, 86.3, 89.0, 89.6),
      (86.1, 86.8, 89.7, 90.2),
    ),
    ("ctrgcn_ntu60", "xsub"): (
      (89.8, 90.2, 92.0, 92.4),
      (90.8, 91.1, 92.6, 93.1),
    ),
    ("ctrgcn_ntu60", "xview"): (
      (94.8, 94.8, 96.3, 96.8),
      (95.3, 95.4, 96.6, 97.0),
    ),
    ("ctrgcn_ntu120", "xsub"): (
      (84.9, 85.7, 88.7, 88.9),
      (85.6, 86.9, 89.2, 89.5),
    ),
    ("ctrgcn_ntu120", "xset"): (
      (86.7, 87.5, 90.1, 90.5),
      (87.3, 88.2, 90.5, 91.0),
    ),
    ("infogcn_ntu60", "xsub"): (
      (89.4, 90.6, 91.3, 92.3),
      (90.1, 91.0, 91.9, 92.8),
    ),
    ("infogcn_ntu60", "xview"): (
      (95.2, 95.4, 96.2, 96.7),
      (95.5, 95.7, 96.6, 97.1),
    ),
    ("infogcn_ntu120", "xsub"): (
      (84.2, 86.9, 88.2, 89.2),
      (85.2, 87.4, 88.8, 89.8),
    ),
    ("infogcn_ntu120", "xset"): (
      (86.3, 88.5, 89.4, 90.7),
      (87.2, 88.7, 90.0, 91.2),
    ),
  },
  2: {
    ("agcn_ucla", "xview"): (
      (92.0, 92.2, 95.0, 95.5),
      (92.6, 93.0, 95.7, 96.3),
    ),
    ("ctrgcn_ucla", "xview"): (
      (94.6, 91.8, 94.2, 96.5),
      (95.1, 95.0, 95.9, 96.8),
    ),
    ("infogcn_ucla", "xview"): (
      (93.8, 94.2, 95.5, 96.1),
      (94.8, 94.6, 96.1, 96.8),
    ),
  },
}


def find_top1(
  config: str, split: str, stream: str, contrast: bool
) -> float | None:
  """Returns a number of Table 1 or 2, None if the paper has none.

  Args:
    config: Name of the config, such as `ctrgcn_ucla`.
    split: Such as `xview`.
    stream: One of `STREAMS`, or another one.
    contrast: Whether with SkeletonGCL.
  """
  for rows in TABLES.values():
    if (config, split) in rows and stream in STREAMS:
      return rows[config, split][contrast][STREAMS.index(stream)]
  return None
