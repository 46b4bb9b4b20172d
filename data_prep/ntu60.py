# SPDX-License-Identifier: Apache-2.0
"""NTU RGB+D 60: raw `.skeleton` files to TFRecords.

python -m data_prep.ntu60 --raw data/raw/nturgb+d_skeletons

Each clip is stored once, in the cell of its two protocols, X-Sub and X-View.
"""

from data_prep.ntu import convert, raw_set, skeleton_file
from sgcl_jax import command, splits

# Shahroudy et al., 2016, Sec. 4.3; all others are for testing.
TRAIN_PERFORMERS = frozenset(
  (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
)
TRAIN_CAMERAS = frozenset((2, 3))

# In the words of the data set's page.
# fmt: off
ACTIONS = (
  "drink water", "eat meal/snack", "brushing teeth", "brushing hair", "drop",
  "pickup", "throw", "sitting down", "standing up (from sitting position)",
  "clapping", "reading", "writing", "tear up paper", "wear jacket",
  "take off jacket", "wear a shoe", "take off a shoe", "wear on glasses",
  "take off glasses", "put on a hat/cap", "take off a hat/cap", "cheer up",
  "hand waving", "kicking something", "reach into pocket",
  "hopping (one foot jumping)", "jump up", "make a phone call/answer phone",
  "playing with phone/tablet", "typing on a keyboard",
  "pointing to something with finger", "taking a selfie",
  "check time (from watch)", "rub two hands together", "nod head/bow",
  "shake head", "wipe face", "salute", "put the palms together",
  "cross hands in front (say stop)", "sneeze/cough", "staggering", "falling",
  "touch head (headache)", "touch chest (stomachache/heart pain)",
  "touch back (backache)", "touch neck (neckache)",
  "nausea or vomiting condition", "use a fan (with hand or paper)/feeling warm",
  "punching/slapping other person", "kicking other person",
  "pushing other person", "pat on back of other person",
  "point finger at the other person", "hugging other person",
  "giving something to other person", "touch other person's pocket",
  "handshaking", "walking towards each other", "walking apart from each other",
)
# fmt: on


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
