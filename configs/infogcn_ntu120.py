# SPDX-License-Identifier: Apache-2.0
r"""InfoGCN with SkeletonGCL on NTU RGB+D 120.

python -m sgcl_jax.main \
    --config configs/infogcn_ntu120.py:split=xsub,modality=joint

Top-1 of this stream alone: not measured (paper 85.2, without SkeletonGCL
84.2).
"""

from configs import common


def get_config(arg=None):
  """Options: split=xsub|xset, modality=<stream>, gcl=true|false,
  contrast=paper|released,
  start=auto|stable|reference."""
  arg = common.parse_arg(arg, split=("xsub", "xset"), **common.OPTIONS)
  config = common.base()
  common.ntu120(config, arg.split, arg.modality)
  common.options(config, arg)
  common.infogcn(config)
  common.infogcn_ntu(config)
  return config
