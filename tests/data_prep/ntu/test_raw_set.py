# SPDX-License-Identifier: Apache-2.0
"""What NTU RGB+D 60 and 120 consist of."""

import pytest

from data_prep import ntu60, ntu120
from data_prep.ntu import skeleton_file


@pytest.mark.parametrize("raw_set", [ntu60.NTU60, ntu120.NTU120])
def test_totals_add_up(raw_set):
  other = raw_set.protocols[1]
  assert raw_set.num_clips == sum(
    raw_set.totals[f"{other}_{part}"] for part in ("train", "test")
  )
  assert len(raw_set.actions) == len(set(raw_set.actions))
  for name in raw_set.missing:
    parsed = skeleton_file.parse_name(name)
    assert parsed.setup <= raw_set.num_setups
    assert parsed.action <= len(raw_set.actions)


def test_what_the_sets_are():
  assert (ntu60.NTU60.num_clips, len(ntu60.NTU60.missing)) == (56_578, 302)
  assert (ntu120.NTU120.num_clips, len(ntu120.NTU120.missing)) == (113_945, 535)
  assert (len(ntu60.ACTIONS), len(ntu120.ACTIONS)) == (60, 120)
  assert len(ntu120.TRAIN_PERFORMERS) == 53
  assert ntu60.ACTIONS[42] == "falling"
  assert ntu60.ACTIONS[49] == "punching/slapping other person"
  assert ntu60.ACTIONS[59] == "walking apart from each other"
  assert ntu120.ACTIONS[60] == "put on headphone"
  assert ntu120.ACTIONS[105] == "hit other person with something"
