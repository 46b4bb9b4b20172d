# SPDX-License-Identifier: Apache-2.0
"""Input transforms against the reference feeders and against themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgcl_jax import augment, modalities, skeletons


def make_transform(name, modality, window):
  return augment.make_transform(
    name,
    modality=modality,
    window=window,
    layout=skeletons.LAYOUTS.get(name, skeletons.NTU),
    max_angle=0.3,
  )


def ntu_clips(data):
  """Returns golden NTU sequences [n, 140, 150] as [n, T, M, V, C]."""
  x = data["ntu/x"].astype(np.float32)
  return x.reshape(*x.shape[:2], 2, 25, 3)


def as_golden(x):
  """Returns [T, M, V, C] as [C, T, V, M]."""
  return np.asarray(x).transpose(3, 0, 2, 1)


def assert_close(actual, expected):
  np.testing.assert_allclose(as_golden(actual), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("modality", modalities.NAMES)
def test_ntu_test_transform_equals_reference(golden, modality):
  data = golden("G_feeders.npz")
  clips = ntu_clips(data)
  transform = make_transform("ntu", modality, 64)
  rows = data[f"ntu/test_p0.95/{modality}_rows"]
  lengths = jnp.full(len(rows), clips.shape[1])
  ours = jax.jit(lambda x, n: transform(x, n, None))(clips[rows], lengths)
  for clip, expected in zip(
    ours, data[f"ntu/test_p0.95/{modality}"], strict=True
  ):
    assert_close(clip.transpose(1, 0, 2, 3), expected)


def test_ntu_valid_frames_equal_reference(golden):
  data = golden("G_feeders.npz")
  counts = jax.vmap(augment.count_frames)(ntu_clips(data))
  np.testing.assert_array_equal(counts, data["ntu/valid_frame_num"])


@pytest.mark.parametrize("window", [32, 100])
def test_ntu_windows_equal_reference(golden, window):
  data = golden("G_feeders.npz")
  clips = ntu_clips(data)
  group = f"ntu/test_p0.95_window{window}"
  for row, expected in zip(
    data[f"{group}/rows"], data[f"{group}/joint"], strict=True
  ):
    clip = jnp.asarray(clips[row])
    draw = augment.center_ntu(augment.count_frames(clip))
    assert_close(augment.apply_ntu(clip, draw, window), expected)


def test_the_test_crop_of_every_length():
  """In double precision, the reference drops (1 - 0.95) * n / 2 at each end."""
  num_frames = np.arange(1, 20_000)
  draw = augment.center_ntu(num_frames)
  expected = np.floor((1 - 0.95) * num_frames / 2)
  np.testing.assert_array_equal(draw.start, expected)
  np.testing.assert_array_equal(draw.length, num_frames - 2 * expected)


@pytest.mark.parametrize("modality", modalities.NAMES)
def test_ntu_train_transform_equals_reference(golden, modality):
  data = golden("G_feeders.npz")
  clips = ntu_clips(data)
  group = f"ntu/train_rot/{modality}"
  for i, row in enumerate(data[f"{group}_rows"]):
    num_frames = data["ntu/valid_frame_num"][row]
    length = np.floor(num_frames * data[f"{group}_p"][i])
    draw = augment.NtuDraw(
      jnp.asarray(data[f"{group}_bias"][i], jnp.int32),
      jnp.asarray(min(max(length, 64), num_frames), jnp.int32),
      jnp.asarray(data[f"{group}_angles"][i]),
    )
    clip = augment.apply_ntu(jnp.asarray(clips[row]), draw, 64)
    clip = augment.to_modality(clip, modality, skeletons.NTU)
    assert_close(clip, data[group][i])


def test_rotation_equals_reference(golden):
  data = golden("G_feeders.npz")
  matrices = jax.vmap(augment.rotation_matrix)(data["rotation/angles"])
  np.testing.assert_allclose(matrices, data["rotation/matrix"], atol=1e-6)


@pytest.mark.parametrize("modality", modalities.NAMES)
@pytest.mark.parametrize("part", ["train", "val"])
def test_ucla_transforms_equal_reference(golden, modality, part):
  data = golden("G_feeders.npz")
  layout = skeletons.UCLA
  for i, name in enumerate(data[f"ucla/{part}/file"]):
    raw = data[f"ucla/raw/{name}"].astype(np.float32)
    # Padding must not matter.
    clip = np.zeros((250, 1, 20, 3), np.float32)
    clip[: len(raw), 0] = raw
    group = f"ucla/{part}/{modality}"
    if part == "val":
      draw = augment.spread_ucla(jnp.asarray(len(raw)), window=52)
    else:
      degrees = [data[f"{group}_agx"][i], data[f"{group}_agy"][i], 0.0]
      draw = augment.UclaDraw(
        jnp.asarray(data[f"{group}_idx"][i]), jnp.deg2rad(jnp.array(degrees))
      )
    ours = augment.apply_ucla(
      jnp.asarray(clip), jnp.asarray(len(raw)), draw, layout.center
    )
    ours = augment.to_modality(ours, modality, layout)
    assert_close(ours, data[group][i])


@pytest.mark.parametrize("window", [8, 32, 52, 64, 100])
def test_ucla_test_frames_equal_the_references_rounding(window):
  """Its frames are NumPy's: linspace in double precision, truncated."""
  spread = jax.jit(
    jax.vmap(lambda n: augment.spread_ucla(n, window=window).frames)
  )
  lengths = np.arange(1, 2001)
  expected = [np.linspace(0, n - 1, window).astype(int) for n in lengths]
  np.testing.assert_array_equal(spread(lengths), expected)


def test_ntu_draws_follow_their_distribution():
  keys = jax.random.split(jax.random.key(0), 4000)
  draw = jax.vmap(
    lambda key: augment.draw_ntu(
      key, jnp.asarray(200), min_length=64, max_angle=0.3
    )
  )(keys)
  assert draw.length.min() >= 100 and draw.length.max() <= 200
  assert abs(draw.length.mean() - 150) < 2
  assert draw.start.min() == 0
  assert jnp.all(draw.start + draw.length <= 200)
  assert jnp.any(draw.start + draw.length == 200)
  assert jnp.abs(draw.angles).max() <= 0.3
  assert jnp.all(jnp.abs(draw.angles.mean(0)) < 0.02)
  short = augment.draw_ntu(
    keys[0], jnp.asarray(40), min_length=64, max_angle=0.3
  )
  assert (int(short.start), int(short.length)) == (0, 40)


def test_ucla_draws_follow_their_distribution():
  keys = jax.random.split(jax.random.key(0), 2000)
  draw = jax.vmap(
    lambda key: augment.draw_ucla(
      key, jnp.asarray(7), window=20, max_degrees=60
    )
  )(keys)
  assert jnp.all(jnp.diff(draw.frames, axis=1) >= 0)
  assert set(np.unique(draw.frames)) == set(range(7))
  degrees = np.rad2deg(draw.angles)
  np.testing.assert_allclose(degrees, np.round(degrees), atol=1e-4)
  assert degrees[:, 0].min() <= -59.9 and degrees[:, 1].max() >= 59.9
  assert not degrees[:, 2].any()


@pytest.mark.parametrize("name, joints", [("ntu", 25), ("ucla", 20)])
@pytest.mark.parametrize("train", [True, False])
def test_one_frame_and_empty_clips_stay_finite(name, joints, train):
  transform = make_transform(name, "joint_motion", 8)
  clips = np.zeros((2, 5, 1, joints, 3), np.float32)
  clips[0, 0] = np.random.default_rng(0).normal(size=(1, joints, 3))
  keys = jax.random.split(jax.random.key(0), 2) if train else None
  x = transform(jnp.asarray(clips), jnp.array([1, 1]), keys)
  assert x.shape == (2, 1, 8, joints, 3)
  np.testing.assert_array_equal(x, 0)  # One frame does not move.


def test_unknown_names_are_refused():
  with pytest.raises(
    ValueError, match="unknown transform 'x'; known: ntu, ucla"
  ):
    make_transform("x", "joint", 8)
  with pytest.raises(ValueError, match="unknown modality 'velocity'"):
    make_transform("ntu", "velocity", 8)


def test_empty_frames_count_as_frames_of_the_clip_only_where_wanted():
  """`whole` equals `ntu` where no frame is empty."""
  clip = np.random.default_rng(0).normal(size=(1, 90, 2, 25, 3))
  clip = clip.astype(np.float32)
  lengths = np.array([80])
  clip[:, 80:] = 0  # Padding.
  keys = jax.random.split(jax.random.key(0), 1)
  ntu, whole = (make_transform(name, "joint", 64) for name in ("ntu", "whole"))
  for key in (None, keys):
    np.testing.assert_array_equal(
      whole(clip, lengths, key), ntu(clip, lengths, key)
    )
  clip[:, :50] = 0
  assert not ntu(clip, lengths, None).any()
  assert (
    np.asarray(whole(clip, lengths, None)).any(axis=(0, 1, 3, 4))[45:].all()
  )


@pytest.mark.parametrize("name", ["ntu", "ucla"])
def test_padding_changes_no_bit(name):
  """`Clips.padded_lengths` relies on it."""
  rng = np.random.default_rng(0)
  transform = jax.jit(make_transform(name, "bone_motion", 64))
  joints = 20 if name == "ucla" else 25
  clips = [rng.normal(size=(n, 1, joints, 3)) for n in (250, 37, 120, 1)]
  lengths = np.array([len(clip) for clip in clips])
  keys = jax.random.split(jax.random.key(0), 4)
  found = []
  for padded in (250, 5000):
    x = np.zeros((4, padded, 1, joints, 3), np.float32)
    for i, clip in enumerate(clips):
      x[i, : len(clip)] = clip
    found.append(transform(x, lengths, keys))
  assert np.any(found[0])
  np.testing.assert_array_equal(*found)
