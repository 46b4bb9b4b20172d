# SPDX-License-Identifier: Apache-2.0
r"""CTR-GCN with SkeletonGCL on NTU RGB+D 120.

python -m sgcl_jax.main \
    --config configs/ctrgcn_ntu120.py:split=xsub,modality=joint

Top-1 of this stream alone: not measured (paper 85.6, without SkeletonGCL
84.9).
"""

from configs import common

# <split>_<modality> -> tau, from the authors' scripts.
TEMPERATURES = {
  "xsub_joint": 0.8,
  "xsub_bone": 0.5,
  "xsub_joint_motion": 0.8,
  "xsub_bone_motion": 1.0,
  "xset_joint": 0.5,
  "xset_bone": 0.5,
  "xset_joint_motion": 0.5,
  "xset_bone_motion": 0.5,
}


def get_config(arg=None):
  """Options: split=xsub|xset, modality=<stream>, gcl=true|false,
  contrast=paper|released,
  start=auto|stable|reference."""
  arg = common.parse_arg(arg, split=("xsub", "xset"), **common.OPTIONS)
  config = common.base()
  common.ntu120(config, arg.split, arg.modality)
  common.options(config, arg)
  config.contrast.temperatures.update(TEMPERATURES)
  return config
