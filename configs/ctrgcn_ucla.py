# SPDX-License-Identifier: Apache-2.0
r"""CTR-GCN with SkeletonGCL on NW-UCLA.

python -m sgcl_jax.main --config configs/ctrgcn_ucla.py:modality=joint

Top-1 of the joint stream: docs/RESULTS.md (paper 95.1, without SkeletonGCL
94.6).
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
  common.ctrgcn_ucla_optim(config)
  if arg.preset == "short":
    common.short(config)
  return config
