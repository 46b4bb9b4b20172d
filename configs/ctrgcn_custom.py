# SPDX-License-Identifier: Apache-2.0
r"""CTR-GCN with SkeletonGCL on your own data (docs/CUSTOM_DATA.md).

python -m sgcl_jax.main --config configs/ctrgcn_custom.py

The recipe is the one for NTU RGB+D; preset=small is for fewer than 3,200 clips.
Not measured.
"""

from configs import common, small


def get_config(arg=None):
  """Options: split=all|xsub|xview|xset, modality=<stream>, gcl=true|false,
  contrast=paper|released, preset=paper|small, start=auto|stable|reference."""
  arg = common.parse_arg(arg, **common.CUSTOM_OPTIONS)
  config = common.base()
  common.custom(config, arg.split, arg.modality)
  common.options(config, arg, stable=True)
  if arg.preset == "small":
    small.apply(config)
  return config
