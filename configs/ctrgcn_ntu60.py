# SPDX-License-Identifier: Apache-2.0
r"""CTR-GCN with SkeletonGCL on NTU RGB+D 60.

python -m sgcl_jax.main \
    --config configs/ctrgcn_ntu60.py:split=xsub,modality=joint

Top-1 of this stream alone: not measured (paper 90.8, without SkeletonGCL
89.8).
"""

from configs import common

# <split>_<modality> -> tau. X-Sub joint is from Tab. 16, where the authors'
# scripts differ; the rest is from these scripts.
TEMPERATURES = {
  "xsub_joint": 1.0,
  "xsub_bone": 0.5,
  "xsub_joint_motion": 0.5,
  "xsub_bone_motion": 0.5,
  "xview_joint": 0.8,
  "xview_bone": 0.5,
  "xview_joint_motion": 1.0,
  "xview_bone_motion": 0.8,
}
RELEASED_TEMPERATURES = {"xsub_joint": 0.8}


def get_config(arg=None):
  """Options: split=xsub|xview, modality=<stream>, gcl=true|false,
  contrast=paper|released,
  start=auto|stable|reference."""
  arg = common.parse_arg(arg, split=("xsub", "xview"), **common.OPTIONS)
  config = common.base()
  common.ntu60(config, arg.split, arg.modality)
  common.options(config, arg)
  config.contrast.temperatures.update(TEMPERATURES)
  config.contrast.released_temperatures.update(RELEASED_TEMPERATURES)
  return config
