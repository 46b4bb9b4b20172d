# SPDX-License-Identifier: Apache-2.0
"""The operations of a clip, against a count of the reference models' own."""

import pytest

from sgcl_jax.benchmark import flops

# torch.utils.flop_counter on the references' forward pass, one clip.
COUNTED = {
  ("ctrgcn", "ucla"): 1_235_453_440,
  ("ctrgcn", "ntu"): 3_878_328_320,
  ("agcn", "ucla"): 2_667_105_920,
  ("agcn", "ntu"): 8_280_510_720,
  ("infogcn", "ucla"): 1_139_298_176,
  ("infogcn", "ntu"): 3_567_035_136,
}
SIZES = {
  "ucla": {"num_classes": 10, "num_persons": 1, "num_frames": 52},
  "ntu": {"num_classes": 60, "num_persons": 2, "num_frames": 64},
}


@pytest.mark.parametrize(("backbone", "skeleton"), COUNTED)
def test_operations_are_those_of_the_reference(backbone, skeleton):
  found = flops.forward(backbone, skeleton=skeleton, **SIZES[skeleton])
  assert found == COUNTED[backbone, skeleton]


def test_of_others_nothing_is_known():
  sizes = SIZES["ntu"]
  assert flops.forward("mine:create", skeleton="ntu", **sizes) is None
