# SPDX-License-Identifier: Apache-2.0
"""The preparation inside of an exported model, against the converters'."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.clips import origin, reader, skeleton_array
from data_prep.ntu import actors
from data_prep.ntu import align as converter
from sgcl_jax import skeletons
from sgcl_jax.serving import preparation


@pytest.fixture
def bodies():
  """Two bodies of 12 frames in camera space; the first comes in frame 2."""
  rng = np.random.default_rng(0)
  clip = rng.normal(size=(12, 2, 25, 3)).astype(np.float32)
  clip[:2, 0] = clip[5, 0] = clip[9:, 1] = 0
  return clip


def test_the_center_of_ntu(bodies):
  centered = preparation.center(jnp.asarray(bodies), skeletons.NTU)
  np.testing.assert_array_equal(centered, actors.translate(bodies))
  assert not centered[2, 0, 1].any() and centered[3, 0, 1].any()
  again = preparation.center(centered, skeletons.NTU)
  np.testing.assert_array_equal(again, centered)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("center", [(1,), (1, 2)])
def test_the_center_of_your_own_layout(dimensions, center):
  """Equal to the converter, which also finds centers that come late."""
  layout = skeletons.Skeleton("arm", tuple("abcd"), (0, 0, 1, 2), center)
  layout = dataclasses.replace(layout, dimensions=dimensions)
  rng = np.random.default_rng(0)
  absent = 0 if dimensions == 2 else np.nan
  for joint in ([], [1], [1, 2, 3]):
    clip = rng.uniform(1, 2, (6, 2, 4, 3)).astype("f")
    clip[0] = 0
    clip[:3, 0, joint] = absent
    if len(joint) == 3:
      clip[:, 0, joint] = absent  # Never seen.
    parsed = skeleton_array.parse(clip, layout)
    expected, found = origin.center(parsed, layout)
    assert found == (len(joint) < 3)
    centered = preparation.center(jnp.asarray(clip), layout)
    np.testing.assert_allclose(centered, expected, atol=1e-6)
    np.testing.assert_array_equal(centered == 0, expected == 0)
    if dimensions == 2 or not joint:  # No NaN, so it can go in again.
      again = preparation.center(centered, layout)
      np.testing.assert_allclose(again, centered, atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_computed_joints(dimensions):
  """Recorded joints go in; without one of its joints, a mean is absent."""
  text = {
    "name": "arm",
    "joints": ["a", "b", "c"],
    "computed": {"middle": ["b", "c"]},
    "keep": ["a", "middle"],
    "bones": [["a", "middle"]],
    "center": "middle",
    "dimensions": dimensions,
  }
  layout = skeletons.parse(json.dumps(text), "text")
  clip = np.random.default_rng(0).uniform(1, 2, (5, 2, 3, 3)).astype("f")
  clip[0] = 0
  clip[2, 0, 1, :dimensions] = 0 if dimensions == 2 else np.nan
  parsed = skeleton_array.parse(clip, layout)
  expected, _ = reader.prepare(parsed, reader.Options(layout))
  assert expected.shape == (5, 2, 2, 3) and not expected[2, 0, 1].any()
  found = preparation.make({}, layout, "whole")(jnp.asarray(clip))
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_undetected_joints_in_the_plane():
  """A detector's score above 0 at x = y = 0 says nothing, as in conversion."""
  layout = skeletons.LAYOUTS["coco17"]
  rng = np.random.default_rng(0)
  clip = rng.uniform(100, 600, (20, 2, 17, 3)).astype("f")
  clip[..., 2] = 0.7
  clip[rng.uniform(size=(20, 2, 17)) < 0.2, :2] = 0
  clip[0, 0, layout.center] = (0, 0, 0.7)
  expected, _ = origin.center(skeleton_array.parse(clip, layout), layout)
  centered = preparation.center(jnp.asarray(clip), layout)
  np.testing.assert_allclose(centered, expected, atol=1e-4)
  assert not centered[0, 0, layout.center].any()
  again = preparation.center(centered, layout)
  np.testing.assert_array_equal(again, centered)


def test_a_lone_person(bodies):
  bodies = jnp.asarray(bodies)
  np.testing.assert_array_equal(preparation.repeat_lone(bodies), bodies)
  lone = preparation.repeat_lone(bodies.at[:, 1].set(0))
  np.testing.assert_array_equal(lone[:, 1], bodies[:, 0])


@pytest.mark.parametrize("as_released", [False, True])
def test_aligned_bodies(bodies, as_released):
  # The third clip has no direction of the hips.
  no_hips = np.where(np.isin(np.arange(25), (12, 16))[:, None], 1, bodies)
  for clip in (bodies, bodies[2:], no_hips):
    expected, _ = converter.align(clip, as_released=as_released)
    with jax.default_matmul_precision("highest"):
      found = preparation.align(jnp.asarray(clip), as_released=as_released)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_a_data_set_asks_for(bodies):
  def prepare(transform="ntu", **prepared):
    make = preparation.make(prepared, skeletons.NTU, transform)
    return np.asarray(make(jnp.asarray(bodies)))

  bodies[:, 1] = 0
  centered = actors.translate(bodies)
  np.testing.assert_array_equal(prepare(aligned=False), centered)
  np.testing.assert_array_equal(prepare("ucla"), bodies)
  repeated = prepare(lone_person="repeat")
  np.testing.assert_array_equal(repeated[:, 1], repeated[:, 0])
  aligned, _ = converter.align(centered)
  np.testing.assert_allclose(prepare(aligned=True), aligned, atol=1e-5)
  released = prepare(aligned=True, alignment="released")
  assert aligned.any() and not released.any()  # Nobody is in the first frame.
