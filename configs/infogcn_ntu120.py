# SPDX-License-Identifier: Apache-2.0
r"""InfoGCN with SkeletonGCL on NTU RGB+D 120.

python -m sgcl_jax.main \
    --config configs/infogcn_ntu120.py:split=xsub,modality=joint

Top-1 of this stream alone: not measured (paper 85.2, without SkeletonGCL
84.2).
"""

from configs import common


def get_config(arg=None):
  """Options: split=xsub|xset, modality=<stream>, gcl=true|false."""
  arg = common.parse_arg(
    arg, split=("xsub", "xset"), modality=common.MODALITIES, gcl=True
  )
  config = common.base()
  common.ntu120(config, arg.split, arg.modality)
  config.gcl = arg.gcl
  common.infogcn(config)
  common.infogcn_ntu(config)
  return config
