# SPDX-License-Identifier: Apache-2.0
"""Score files that are damaged, or that do not match each other."""

import numpy as np
import pytest

from sgcl_jax import errors
from sgcl_jax.runs import scores


def make(**changes):
  arrays = {
    "names": np.array(["a", "b", "c"]),
    "labels": np.array([0, 1, 1], np.int32),
    "logits": np.arange(6, dtype=np.float32).reshape(3, 2),
  }
  return {**arrays, **changes}


def test_what_is_written_is_read(tmp_path):
  path = tmp_path / "scores" / "xsub_joint.npz"
  arrays = make(class_names=np.array(["walk", "sit down"]))
  scores.write(path, scores.Scores(**arrays))
  for name, found in scores.read(path)._asdict().items():
    np.testing.assert_array_equal(found, arrays[name])
  scores.write(path, scores.Scores(**make()))
  assert scores.read(path).class_names is None


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"names": np.array(["a", "b"])}, r"names \(2,\), labels \(3,\)"),
    ({"names": np.array(["a", "b", "a"])}, "has the clip a more than once"),
    ({"labels": np.array([0, 2, 1])}, "label 2 of the clip b is none of the 2"),
    ({"labels": np.array([0, 1, -1])}, "label -1 of the clip c"),
    (
      {"logits": np.array([[0, 1], [np.nan, 0], [np.inf, 0]])},
      "2 of 3 clips are not finite, first those of b",
    ),
    ({"class_names": np.array(["walk"])}, r"class_names \(1,\) are not"),
    ({"names": np.array(["a", "b", None])}, "damaged or not a score file"),
    ({k: v[:0] for k, v in make().items()}, "are not"),
  ],
)
def test_arrays_that_are_no_scores(tmp_path, changes, message):
  path = tmp_path / "x.npz"
  np.savez(path, **make(**changes))
  with pytest.raises(errors.DataError, match=message) as caught:
    scores.read(path)
  assert str(path) in str(caught.value)


def test_files_that_are_no_scores(tmp_path):
  with pytest.raises(errors.DataError, match="there is no score file"):
    scores.read(tmp_path / "x.npz")
  whole = tmp_path / "whole.npz"
  np.savez(whole, **make())
  for size in (0, 10, 300):
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:size])
    with pytest.raises(errors.DataError, match="cut.npz is damaged"):
      scores.read(cut)
  np.save(tmp_path / "x.npy", np.zeros(3))
  with pytest.raises(errors.DataError, match="is damaged or not a score file"):
    scores.read(tmp_path / "x.npy")
  np.savez(tmp_path / "x.npz", names=make()["names"])
  with pytest.raises(errors.DataError, match="it has no array labels"):
    scores.read(tmp_path / "x.npz")


def test_join_takes_the_order_of_the_first():
  first = scores.Scores(**make())
  turned = scores.Scores(*(array[[2, 0, 1]] for array in first[:3]))
  joined = scores.join(first, turned, ("A", "B"))
  for ours, theirs in zip(first[:3], joined[:3], strict=True):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"names": np.array(["a", "x", "c"])},
      "b is in A and not in B; 2 clips differ in all",
    ),
    ({"labels": np.array([0, 0, 1])}, "label of b is 1 in A and 0 in B; 1 lab"),
    ({"logits": np.zeros((3, 4))}, "A has 2 classes, B has 4"),
  ],
)
def test_what_does_not_match_is_refused(changes, message):
  first, other = scores.Scores(**make()), scores.Scores(**make(**changes))
  with pytest.raises(errors.DataError, match=message):
    scores.join(first, other, ("A", "B"))


def test_clips_that_only_the_second_has():
  first = scores.Scores(*(array[:2] for array in make().values()))
  with pytest.raises(errors.DataError, match="c is in B and not in A; 1 clips"):
    scores.join(first, scores.Scores(**make()), ("A", "B"))
