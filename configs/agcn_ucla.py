# SPDX-License-Identifier: Apache-2.0
r"""2s-AGCN with SkeletonGCL on NW-UCLA.

python -m sgcl_jax.main --config configs/agcn_ucla.py:modality=joint

Top-1 of the joint stream: docs/RESULTS.md (paper 92.6, without SkeletonGCL
92.0).
"""

from configs import common


def get_config(arg=None):
  """Options: modality=<stream>, gcl=true|false,
  contrast=paper|released, preset=paper|short,
  start=auto|stable|reference."""
  arg = common.parse_arg(arg, preset=("paper", "short"), **common.OPTIONS)
  config = common.base()
  common.ucla(config, arg.modality)
  common.options(config, arg, stable=arg.preset == "short")
  config.backbone = "agcn"
  common.ctrgcn_ucla_optim(config)
  if arg.preset == "short":
    common.short(config)
  return config
