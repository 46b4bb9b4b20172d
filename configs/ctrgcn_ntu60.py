# SPDX-License-Identifier: Apache-2.0
r"""CTR-GCN with SkeletonGCL on NTU RGB+D 60.

python -m sgcl_jax.main \
    --config configs/ctrgcn_ntu60.py:split=xsub,modality=joint

Top-1 of this stream alone: not measured (paper 90.8).
"""

from configs import common

# (split, modality) -> tau. X-Sub joint: Tab. 16; the rest: the authors'
# scripts.
TEMPERATURE = {
  ("xsub", "joint"): 1.0,
  ("xsub", "bone"): 0.5,
  ("xsub", "joint_motion"): 0.5,
  ("xsub", "bone_motion"): 0.5,
  ("xview", "joint"): 0.8,
  ("xview", "bone"): 0.5,
  ("xview", "joint_motion"): 1.0,
  ("xview", "bone_motion"): 0.8,
}


def get_config(arg=None):
  """Options: split=xsub|xview, modality=<stream>, gcl=true|false."""
  arg = common.parse_arg(
    arg, split=("xsub", "xview"), modality=common.MODALITIES, gcl=True
  )
  config = common.base()
  common.ntu60(config, arg.split, arg.modality)
  config.gcl = arg.gcl
  config.contrast.temperature = TEMPERATURE[arg.split, arg.modality]
  return config
