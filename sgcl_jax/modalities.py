# SPDX-License-Identifier: Apache-2.0
"""What a stream of a skeleton shows: joints, bones, or their motions."""

NAMES = ("joint", "bone", "joint_motion", "bone_motion")
