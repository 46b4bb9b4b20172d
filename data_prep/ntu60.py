# SPDX-License-Identifier: Apache-2.0
"""NTU RGB+D 60: raw `.skeleton` files to TFRecords.

python -m data_prep.ntu60 --raw data/raw/nturgb+d_skeletons

Each clip is stored once, in the cell of its two protocols, X-Sub and X-View.
"""

from data_prep import class_names
from data_prep.ntu import convert, raw_set, skeleton_file
from sgcl_jax import command
from sgcl_jax.dataset import splits

# Shahroudy et al., 2016, Sec. 4.3; all others are for testing.
TRAIN_PERFORMERS = frozenset(
  (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
)
TRAIN_CAMERAS = frozenset((2, 3))

ACTIONS = class_names.NTU60


def get_cell(name: skeleton_file.Name) -> str:
  """Returns the cell, for example `xsub_train_xview_test`."""
  xsub = "train" if name.performer in TRAIN_PERFORMERS else "test"
  xview = "train" if name.camera in TRAIN_CAMERAS else "test"
  return splits.make_cell(f"xsub_{xsub}", f"xview_{xview}")


NTU60 = raw_set.RawSet(
  name="ntu60",
  title="NTU RGB+D 60",
  actions=ACTIONS,
  num_setups=17,
  protocols=("xsub", "xview"),
  get_cell=get_cell,
  totals={
    "xsub_train": 40_091,
    "xsub_test": 16_487,
    "xview_train": 37_646,
    "xview_test": 18_932,
  },
  lone_person="zeros",
)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  convert.main(NTU60, argv)


if __name__ == "__main__":
  command.run(main, interrupted=command.RESUMABLE)
