# SPDX-License-Identifier: Apache-2.0
"""The report of a conversion."""

import dataclasses

import pytest

from data_prep import ntu60
from data_prep.ntu import raw_set, report
from sgcl_jax import errors


@pytest.mark.parametrize("right", [True, False])
def test_a_complete_set_is_checked_against_its_totals(right):
  wanted = dataclasses.replace(
    ntu60.NTU60,
    totals={
      "xsub_train": 2,
      "xsub_test": 1,
      "xview_train": 3 if right else 1,
      "xview_test": 0,
    },
  )
  cells = ["xsub_train_xview_train", "xsub_test_xview_train"]
  results = [
    {"lengths": [5] * n, "labels": [0] * n, "broken": [], "notes": {}}
    for n in (2, 1)
  ]
  make = lambda: report.make(wanted, raw_set.Found(), cells, results)
  if right:
    assert make()["complete"]
  else:
    with pytest.raises(errors.DataError, match="3 clips fall into"):
      make()
