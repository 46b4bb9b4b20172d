#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the project into .venv, writes small synthetic raw NTU files, converts
# them, trains CTR-GCN with SkeletonGCL and evaluates the checkpoint. The same
# command resumes it.
set -euo pipefail
if [ $# -gt 0 ]; then
  echo "error: $0 takes no arguments" >&2
  exit 1
fi
source "$(dirname "$0")/environment.sh"
install_project ""
python=.venv/bin/python

if [ ! -d data/quickstart ]; then
  rm -rf data/quickstart_raw
  # The converter, which it names, follows here.
  $python -m data_prep.synthetic --out data/quickstart_raw --seed 0 |
    sed 's/; next: .*//'
  $python -m data_prep.ntu60 --raw data/quickstart_raw --out data/quickstart
fi
$python -m sgcl_jax.main --config configs/quickstart.py
echo "evaluating the checkpoint once more, as for any run:"
run=runs/quickstart_xsub_joint_motion
$python -m sgcl_jax.main --mode=evaluate --workdir $run
clips=(data/quickstart_raw/*.skeleton)
echo "next    $python -m sgcl_jax.predict --checkpoint $run ${clips[0]}"
