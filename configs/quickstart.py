# SPDX-License-Identifier: Apache-2.0
r"""CTR-GCN with SkeletonGCL on the synthetic actions of data_prep.synthetic.

bash launch/quickstart.sh

A small version of ctrgcn_ntu60.py for two CPU cores; measured in
docs/RESULTS.md.
"""

from configs import common


def get_config(arg=None):
  """Options: split=xsub|xview, modality=<stream>, gcl=true|false,
  contrast=paper|released,
  start=auto|stable|reference."""
  arg = common.parse_arg(
    arg,
    split=("xsub", "xview"),
    # The actions differ in their motion, so this stream learns them fastest.
    **common.OPTIONS
    | {"modality": ("joint_motion", "joint", "bone", "bone_motion")},
  )
  config = common.base()
  common.ntu60(config, arg.split, arg.modality)
  common.options(config, arg)
  config.num_classes = 10
  config.contrast.temperature = 0.8
  config.model.width = 32  # Half of CTR-GCN's width takes a third of the time.
  config.data.dir = "data/quickstart"
  config.data.window = 16
  config.batch_size = 16
  config.optim.num_epochs = 6
  config.optim.warmup_epochs = 1
  config.optim.decay_epochs = (4,)
  return config
