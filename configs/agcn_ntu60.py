# SPDX-License-Identifier: Apache-2.0
r"""2s-AGCN with SkeletonGCL on NTU RGB+D 60.

python -m sgcl_jax.main \
    --config configs/agcn_ntu60.py:split=xsub,modality=joint

Top-1 of this stream alone: not measured (paper 89.9, without SkeletonGCL
88.9).
"""

from configs import common

# <split>_<modality> -> tau, from the authors' scripts.
TEMPERATURES = {
  "xsub_joint": 0.5,
  "xsub_bone": 1.0,
  "xsub_joint_motion": 0.5,
  "xsub_bone_motion": 1.0,
  "xview_joint": 0.8,
  "xview_bone": 0.8,
  "xview_joint_motion": 1.0,
  "xview_bone_motion": 0.5,
}


def get_config(arg=None):
  """Options: split=xsub|xview, modality=<stream>, gcl=true|false,
  contrast=paper|released,
  start=auto|stable|reference."""
  arg = common.parse_arg(arg, split=("xsub", "xview"), **common.OPTIONS)
  config = common.base()
  common.ntu60(config, arg.split, arg.modality)
  common.options(config, arg)
  config.backbone = "agcn"
  config.contrast.temperatures.update(TEMPERATURES)
  return config
