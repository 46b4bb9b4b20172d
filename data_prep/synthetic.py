# SPDX-License-Identifier: Apache-2.0
"""Synthetic actions of a kinematic body as NTU-named raw `.skeleton` files.

The twelve actions differ by how joints move, not by where they are on average:
postures are drawn alike for all of them, and every motion swings about its
posture. Classes 13 to 120 are the same actions in other manners: leaning or
turned, and faster.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from data_prep import ntu60
from data_prep.ntu import skeleton_file
from sgcl_jax import command, errors
from sgcl_jax.runs import files
from sgcl_jax.terminal import progress, wording

# X-Sub's training subjects in NTU RGB+D 60, and six of its test ones.
PERFORMERS = tuple(sorted((*ntu60.TRAIN_PERFORMERS, 3, 6, 7, 10, 11, 12)))
# X-View trains on cameras 2 and 3 and tests on 1, which stands between them.
CAMERA_YAW = {1: 0.0, 2: -np.pi / 4, 3: np.pi / 4}

# 0-based joints in NTU's order; the two sides list theirs alike.
# fmt: off
PARENTS = (0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18,
           1, 7, 6, 11, 10)
_TRUNK = [0, 1, 20, 2, 3]
_SIDES = ([4, 5, 6, 7, 21, 22, 12, 13, 14, 15],
          [8, 9, 10, 11, 23, 24, 16, 17, 18, 19])
# fmt: on
# Offsets from the parent, metres: a person of 1.7 m who faces the camera, arms
# down; x to his right, y up, z to his back. The limbs are the right ones.
_TRUNK_BONES = np.array(
  [(0, 0, 0), (0, 0.29, 0), (0, 0.24, 0), (0, 0.08, 0), (0, 0.16, -0.02)]
)
_LIMB_BONES = np.array(
  [(0.17, -0.04, 0), (0.03, -0.27, 0), (0, -0.25, 0), (0, -0.07, 0)]
  + [(0, -0.08, 0), (-0.04, -0.07, -0.03)]
  + [(0.08, -0.03, 0), (0.02, -0.40, 0), (0, -0.39, 0), (0, -0.06, -0.12)]
)
SPINE, NECK, CHEST = 1, 2, 20
SHOULDERS, ELBOWS, WRISTS, HANDS = (4, 8), (5, 9), (6, 10), (7, 11)
HIPS, KNEES = (12, 16), (13, 17)
# Axes of an angle. Positive x swings a hanging limb forwards and up, positive y
# turns what points forwards to the person's left.
_X, _Y, _Z = 0, 1, 2


def _skewed(phase, rise):
  """Zero-mean triangle wave that climbs during the share `rise` of a cycle."""
  u = (phase / (2 * np.pi)) % 1.0
  return np.where(u < rise, 2 * u / rise - 1, 1 - 2 * (u - rise) / (1 - rise))


def _motions(phase, side):
  """Name -> one table per person: (joint, axis) -> angle [T], in class order.

  `phase` [T] is in rad; the arm or leg at `side` leads, 0 left, 1 right.
  """
  sin, cos, later = np.sin(phase), np.cos(phase), np.sin(phase - 0.7)
  up, left = (SHOULDERS[side], _X), (SHOULDERS[side], _Y)
  arm, other_arm = {(ELBOWS[side], _X): sin}, (ELBOWS[1 - side], _X)
  right_hand = {(SHOULDERS[1], _X): 0.5 * sin, (ELBOWS[1], _X): 0.8 * sin}
  both_hands = {(joint, _X): 0.6 * sin for joint in SHOULDERS}
  both_hands |= {(joint, _X): -sin for joint in ELBOWS}
  lean_back = {(SPINE, _X): -0.5 * later}
  leg = {(HIPS[side], _X): 0.4 * sin, (KNEES[side], _X): -0.7 * sin}
  other_hip, other_knee = (HIPS[1 - side], _X), (KNEES[1 - side], _X)
  return {
    "circle a hand clockwise": [{up: sin, left: cos}],
    "circle a hand counter-clockwise": [{up: sin, left: -cos}],
    "raise an arm slowly, drop it fast": [{up: _skewed(phase, 0.8)}],
    "raise an arm fast, drop it slowly": [{up: _skewed(phase, 0.2)}],
    "pump both arms together": [arm | {other_arm: sin}],
    "pump both arms in turn": [arm | {other_arm: -sin}],
    "wave": [{left: sin}],
    "draw an eight": [{left: sin, up: 0.8 * np.sin(2 * phase)}],
    "shake hands": [right_hand, right_hand],
    "push someone": [both_hands, lean_back],
    "bend both knees": [leg | {other_hip: 0.4 * sin, other_knee: -0.7 * sin}],
    "march on the spot": [leg | {other_hip: -0.4 * sin, other_knee: 0.7 * sin}],
  }


ACTIONS: tuple[str, ...] = tuple(_motions(np.zeros(1), 0))
# How an action is done: (tempo, axis of the spine, angle about it in rad).
_MANNERS = [
  (tempo, axis, angle)
  for axis, angle in ((_X, 0.0), (_X, 0.5), (_X, -0.5), (_Y, 0.7), (_Y, -0.7))
  for tempo in (1.0, 1.8)
]
MAX_CLASSES = len(ACTIONS) * len(_MANNERS)

# Kinect's file: joints in metres, then in pixels of the depth and the colour
# picture, no orientation, state "tracked".
_FIRST_BODY_ID = 72057594037931101
_JOINT_LINE = "%.6f %.6f %.6f %.2f %.2f %.2f %.2f 0 0 0 0 2\n"
_BODY = "{id} 0 1 1 1 1 0 0.02 -0.1 2\n25\n" + len(PARENTS) * _JOINT_LINE


def _rotations(angles):
  """Angles [..., 3] about x, y, z to matrices [..., 3, 3], Ry @ Rx @ Rz."""
  cx, cy, cz = np.moveaxis(np.cos(angles), -1, 0)
  sx, sy, sz = np.moveaxis(np.sin(angles), -1, 0)
  rows = [
    [cy * cz + sy * sx * sz, sy * sx * cz - cy * sz, sy * cx],
    [cx * sz, cx * cz, -sx],
    [cy * sx * sz - sy * cz, sy * sz + cy * sx * cz, cy * cx],
  ]
  return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def _turn(joints, yaw):
  """Joints [..., 3] turned about the vertical through the origin."""
  return joints @ _rotations(np.array([0.0, yaw, 0.0])).T


def _forward_kinematics(angles, bones):
  """Joints [T, V, 3] from angles [T, V, 3] and bones [V, 3]; feet at y = 0."""
  turns = _rotations(angles)
  joints = np.zeros(angles.shape)
  for joint in [*_TRUNK[1:], *_SIDES[0], *_SIDES[1]]:
    parent = PARENTS[joint]
    joints[:, joint] = joints[:, parent] + turns[:, parent] @ bones[joint]
    turns[:, joint] = turns[:, parent] @ turns[:, joint]
  joints[..., _Y] -= joints[..., _Y].min(axis=1, keepdims=True)
  return joints


def _bones(rng):
  """Bones [V, 3] of one performer; left and right are equally long."""
  bones = np.zeros((len(PARENTS), 3))
  bones[_TRUNK] = _TRUNK_BONES * rng.normal(1, 0.04, (len(_TRUNK), 1))
  limbs = _LIMB_BONES * rng.normal(1, 0.06, (len(_LIMB_BONES), 1))
  bones[_SIDES[0]], bones[_SIDES[1]] = limbs * (-1, 1, 1), limbs
  return bones * rng.uniform(0.88, 1.12)


def _posture(rng):
  """Angles [V, 3] that a clip's motion swings about, alike for all classes."""
  angles = np.zeros((len(PARENTS), 3))
  angles[SPINE] = rng.normal(0, (0.1, 0.1, 0.06))
  angles[CHEST] = rng.normal(0, (0.06, 0.06, 0.04))
  angles[NECK] = rng.normal(0, (0.08, 0.1, 0.05))
  for side, outwards in enumerate((1, -1)):
    angles[SHOULDERS[side], _X] = rng.uniform(0.65, 1.35)
    angles[SHOULDERS[side], _Y] = outwards * rng.uniform(-0.25, 0.6)
    angles[ELBOWS[side], _X] = rng.uniform(0.8, 1.4)
    angles[WRISTS[side]] = rng.normal(0, 0.1, 3)
    bend = rng.uniform(0.3, 0.45)
    angles[HIPS[side]] = bend + rng.normal(0, 0.05), 0, outwards * -0.05
    angles[KNEES[side], _X] = -2 * bend + rng.uniform(0, 0.1)
  return angles


def _sway(rng, time):
  """Slow unrest [T, V, 3] of all angles, rad; the classes share it."""
  shape = (2, 1, len(PARENTS), 3)
  cycles = rng.uniform(0.3, 1.0, shape)
  phase = 2 * np.pi * (cycles * time[:, None, None] + rng.uniform(0, 1, shape))
  return (rng.normal(0, 0.025, shape) * np.sin(phase)).sum(axis=0)


def clip(name: str, *, seed: int, noise: bool = True) -> np.ndarray:
  """Performs one clip.

  Args:
    name: As in `S001C002P003R001A004`. Cameras share no performance.
    seed: Seed and name determine the clip.
    noise: False leaves out the sensor's noise, so bones keep their lengths.

  Returns:
    joints: [T, M, V, 3] in metres before the camera (y up, z away from it), M
      is 2 for actions of two persons and 1 for the others.

  Raises:
    ValueError: The name is malformed or names no known action or camera.
  """
  match = skeleton_file.NAME.fullmatch(name)
  numbers = [int(number) for number in match.groups()] if match else [0] * 5
  _, camera, performer, _, action = numbers
  if camera not in CAMERA_YAW or not 1 <= action <= MAX_CLASSES:
    raise ValueError(f"{name}: no synthetic clip is called so")
  rng = np.random.default_rng([seed, *numbers])
  # A performer keeps his body and his preferred hand in all his clips.
  own = np.random.default_rng([seed, performer])
  bodies = [_bones(own), _bones(rng)]
  side = int((own.uniform() < 0.7) == (rng.uniform() < 0.7))

  num_frames = rng.integers(40, 91)
  manner, motion = divmod(action - 1, len(ACTIONS))
  tempo, lean_axis, lean = _MANNERS[manner]
  time = np.linspace(0, 1, num_frames)
  warp = 0.02 * np.sin(2 * np.pi * (time + rng.uniform()))
  shift, cycles = rng.uniform(), tempo * rng.uniform(2.2, 3.2)
  phase = 2 * np.pi * (shift + cycles * (time + warp))
  start, end = rng.uniform(-0.05, 0.08), 1 - rng.uniform(-0.05, 0.08)
  envelope = np.clip(np.minimum(time - start, end - time) / 0.06, 0, 1)
  amplitude = rng.uniform(0.55, 0.85) * envelope

  motions = _motions(phase, side)[ACTIONS[motion]]
  persons = []
  for bones, channels in zip(bodies, motions, strict=False):
    angles = _posture(rng) + _sway(rng, time)
    angles[:, SPINE, lean_axis] += lean
    for (joint, axis), wave in channels.items():
      angles[:, joint, axis] += amplitude * wave
    persons.append(_forward_kinematics(angles, bones))
  if len(persons) == 2:
    persons = _face_each_other(rng, persons)
  joints = np.stack(persons, axis=1)  # [T, M, V, 3]
  joints = _turn(joints, CAMERA_YAW[camera] + rng.normal(0, 0.12))
  joints += rng.uniform((-0.4, -1.2, 2.6), (0.4, -0.9, 3.4))
  if noise:
    blur = np.full((len(PARENTS), 1), 0.004)
    blur[[7, 11, 21, 22, 23, 24]] = 0.008  # Hands are tracked worst.
    joints += rng.normal(0, 1, joints.shape) * blur
  return joints


def _face_each_other(rng, persons):
  """Turns two persons to each other, hands about touching, in random order."""
  gap = sum(-joints[:, HANDS, _Z].mean() for joints in persons)
  half = rng.choice((-0.5, 0.5)) * gap
  placed = [
    _turn(joints, np.copysign(np.pi / 2, x)) + (x, 0, 0)
    for joints, x in zip(persons, (half, -half), strict=True)
  ]
  return placed[:: rng.choice((-1, 1))]


def skeleton_text(joints: np.ndarray) -> str:
  """The raw file of a clip's joints [T, M, V, 3]."""
  num_frames, num_persons, _, _ = joints.shape
  x, y, z = np.moveaxis(joints, -1, 0)
  depth = [256 + 366 * x / z, 212 - 366 * y / z]
  colour = [960 + 1060 * x / z, 540 - 1060 * y / z]
  numbers = np.stack([x, y, z, *depth, *colour], axis=-1)
  bodies = [_BODY.format(id=_FIRST_BODY_ID + m) for m in range(num_persons)]
  frames = num_frames * "".join([f"{num_persons}\n", *bodies])
  return f"{num_frames}\n" + frames % tuple(numbers.ravel().tolist())


def names(
  num_classes: int, clips_per_class: int, performers: Sequence[int] = PERFORMERS
) -> list[str]:
  """Clip names; performers and cameras rotate, so three clips fill each split.

  A performer always has the same setup. Replications count from 3, where the
  recorded ones end, so no name is that of a recorded clip.
  """
  turns = [divmod(i, len(performers)) for i in range(clips_per_class)]
  return [
    f"S{who % ntu60.NTU60.num_setups + 1:03d}C{(turn + who) % 3 + 1:03d}"
    f"P{performers[who]:03d}R{turn // 3 + 3:03d}A{action:03d}"
    for action in range(1, num_classes + 1)
    for turn, who in turns
  ]


def write(
  out: str | os.PathLike,
  *,
  seed: int,
  num_classes: int = 10,
  clips_per_class: int = 130,
  performers: Sequence[int] = PERFORMERS,
) -> list[str]:
  """Writes the raw files; `out` appears complete or not at all.

  Args:
    out: Directory that does not exist yet or is empty.
    seed: The same seed gives the same bytes.
    num_classes: The first so many; up to twelve are those of `ACTIONS`.
    clips_per_class: By default 100 of X-Sub's training subjects and 30 others.
    performers: Their numbers, used in turn.

  Returns:
    The clips' names.

  Raises:
    DataError: `out` is a file or holds files.
    ConfigError: A number is out of range.
  """
  shown, out = out, pathlib.Path(out).resolve()
  if not 1 <= num_classes <= MAX_CLASSES or clips_per_class < 1 or seed < 0:
    raise errors.ConfigError(
      f"num_classes must be 1 to {MAX_CLASSES}, clips_per_class at least 1 and"
      f" seed at least 0, not {num_classes}, {clips_per_class} and {seed}"
    )
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise errors.DataError(
      f"{shown}: exists and is not empty; remove it or choose another --out"
    )
  clip_names = names(num_classes, clips_per_class, performers)
  with files.writing(out, *out.parents):
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = tempfile.mkdtemp(dir=out.parent, prefix=".synthetic-")
  partial = pathlib.Path(partial)
  try:
    with files.writing(out, partial):
      for name in progress.bar(clip_names, unit="clips"):
        text = skeleton_text(clip(name, seed=seed))
        (partial / f"{name}.skeleton").write_text(text, encoding="utf-8")
      partial.chmod(0o755)  # mkdtemp keeps others out.
      partial.replace(out)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise
  return clip_names


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("data_prep.synthetic", __doc__)
  parser.add_argument(
    "--out", type=command.path, required=True, help="directory to write"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--num_classes", type=int, default=10)
  parser.add_argument("--clips_per_class", type=int, default=130)
  args = parser.parse_args(argv)
  written = write(**vars(args))
  converter = (
    "data_prep.ntu60" if args.num_classes <= 60 else "data_prep.ntu120"
  )
  print(
    f"Wrote {wording.count(len(written), 'clip')} of"
    f" {wording.count(args.num_classes, 'action')} to {args.out}; next: "
    + wording.command_line(converter, "--raw", str(args.out))
    + " --out data/synthetic"
  )


if __name__ == "__main__":
  command.run(main)
