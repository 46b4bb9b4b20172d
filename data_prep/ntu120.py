# SPDX-License-Identifier: Apache-2.0
"""NTU RGB+D 120: raw `.skeleton` files to TFRecords.

python -m data_prep.ntu120 --raw nturgbd_skeletons_s001_to_s017.zip \\
    nturgbd_skeletons_s018_to_s032.zip

Each clip is stored once, in the cell of its two protocols, X-Sub and X-Set.
"""

from data_prep import class_names, ntu60
from data_prep.ntu import convert, raw_set, skeleton_file
from sgcl_jax import command
from sgcl_jax.dataset import splits

# Liu et al., 2019, Sec. 3.3; all others are for testing.
TRAIN_PERFORMERS = ntu60.TRAIN_PERFORMERS | frozenset(
  (45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82)
  + (83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103)
)

ACTIONS = class_names.NTU120


def get_cell(name: skeleton_file.Name) -> str:
  """Returns the cell; even setups are for training."""
  xsub = "train" if name.performer in TRAIN_PERFORMERS else "test"
  xset = "train" if name.setup % 2 == 0 else "test"
  return splits.make_cell(f"xsub_{xsub}", f"xset_{xset}")


NTU120 = raw_set.RawSet(
  name="ntu120",
  title="NTU RGB+D 120",
  actions=ACTIONS,
  num_setups=32,
  protocols=("xsub", "xset"),
  get_cell=get_cell,
  totals={
    "xsub_train": 63_026,
    "xsub_test": 50_919,
    "xset_train": 54_468,
    "xset_test": 59_477,
  },
  lone_person="repeat",
)


def main(argv: list[str] | None = None) -> None:
  """Command line; see `--help`."""
  convert.main(NTU120, argv)


if __name__ == "__main__":
  command.run(main, interrupted=command.RESUMABLE)
