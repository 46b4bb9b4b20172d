# SPDX-License-Identifier: Apache-2.0
"""Cells and the splits they make up."""

from sgcl_jax.dataset import splits

CELLS = [
  f"xsub_{a}_xview_{b}" for a in ("train", "test") for b in ("train", "test")
]


def test_a_split_is_the_sum_of_its_cells():
  assert splits.find_cells("xsub_train", CELLS) == [
    "xsub_train_xview_test",
    "xsub_train_xview_train",
  ]
  assert splits.find_cells("xview_test", CELLS) == [
    "xsub_test_xview_test",
    "xsub_train_xview_test",
  ]
  assert splits.find_cells("xset_test", CELLS) == []
  assert splits.find_cells("train", CELLS) == []


def test_other_names_stand_for_themselves():
  for name in ("train", "test", "my_train_set_a", "train_test"):
    assert splits.get_splits(name) == (name,)
    assert splits.find_cells(name, ["train", "test", name])[0] == name


def test_cells_and_splits_are_inverse():
  for cell in CELLS:
    assert splits.make_cell(*splits.get_splits(cell)) == cell


def test_protocols():
  names = ("xsub_train", "xset_test", "train", "val")
  assert [splits.get_protocol(name) for name in names] == [
    "xsub",
    "xset",
    "",
    "",
  ]
