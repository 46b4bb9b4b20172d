#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains joint, bone, joint_motion and bone_motion of a config, evaluates them and
# fuses their scores: bash launch/four_streams.sh configs/ctrgcn_ucla.py. Options:
# --help. The same command goes on where it stopped.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
install_project ""
exec .venv/bin/python -m sgcl_jax.launching.four_streams "$@"
