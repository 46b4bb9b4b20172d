# SPDX-License-Identifier: Apache-2.0
"""The cells of a data set, and the splits that they make up.

A data set with two protocols is stored once, in cells such as
`xsub_train_xview_test`; the split `xsub_train` is the sum of its two cells.
"""

from collections.abc import Iterable

# Cross-subject, cross-view and cross-setup (NTU RGB+D 60 and 120).
PROTOCOLS = ("xsub", "xview", "xset")


def make_cell(*splits: str) -> str:
  """Returns the name of the cell of clips that are in all these splits."""
  return "_".join(splits)


def get_splits(cell: str) -> tuple[str, ...]:
  """Returns the splits that a cell is part of.

  `xsub_train_xview_test` is part of `xsub_train` and `xview_test`. A name
  without protocols, such as `train`, is a split of one cell.
  """
  words = cell.split("_")
  pairs = tuple(zip(words[::2], words[1::2], strict=False))
  if len(words) % 2 or any(name not in PROTOCOLS for name, _ in pairs):
    return (cell,)
  return tuple(f"{protocol}_{part}" for protocol, part in pairs)


def get_protocol(split: str) -> str:
  """Returns the protocol of a split, "" for `train`, `val` and `test`."""
  return split.rpartition("_")[0]


def find_cells(split: str, cells: Iterable[str]) -> list[str]:
  """Returns the cells that make up a split, sorted; none if it is unknown.

  The name of a cell is also that of a split.
  """
  return sorted(cell for cell in cells if split in (cell, *get_splits(cell)))
