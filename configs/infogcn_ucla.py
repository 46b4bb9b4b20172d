# SPDX-License-Identifier: Apache-2.0
r"""InfoGCN with SkeletonGCL on NW-UCLA.

python -m sgcl_jax.main --config configs/infogcn_ucla.py:modality=joint

Top-1 of the joint stream: docs/RESULTS.md (paper 94.8, without SkeletonGCL
93.8).
"""

from configs import common


def get_config(arg=None):
  """Options: modality=<stream>, gcl=true|false,
  contrast=paper|released, preset=paper|short,
  start=auto|stable|reference."""
  arg = common.parse_arg(arg, preset=("paper", "short"), **common.OPTIONS)
  config = common.base()
  common.ucla(config, arg.modality)
  common.options(config, arg, stable=True)
  # InfoGCN's released command is for NTU only: batch and repeats are CTR-GCN's.
  common.infogcn(config)
  if arg.preset == "short":
    common.short(config)
  return config
