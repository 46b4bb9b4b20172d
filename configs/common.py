# SPDX-License-Identifier: Apache-2.0
"""The fields that all experiments share, and the options after the colon."""

import difflib
from typing import Any

from ml_collections import ConfigDict, config_dict

from sgcl_jax import errors, modalities

# Options of every experiment.
OPTIONS = {
  "modality": modalities.NAMES,
  "gcl": True,
  "contrast": ("paper", "released"),
  "start": ("auto", "stable", "reference"),
}
# Options for your own data. It has one split, or those of the protocols of NTU
# RGB+D.
CUSTOM_OPTIONS = {
  "split": ("all", "xsub", "xview", "xset"),
  "preset": ("paper", "small"),
  **OPTIONS,
}
# Largest norm of the gradient with start=stable. Of the values 0.5, 1, 2 and 5,
# docs/RESULTS.md has the figures.
STABLE_CLIP_NORM = 1.0


def parse_arg(arg: str | None, **options: Any) -> ConfigDict:
  """Parses `split=xview,gcl=false`.

  Args:
    arg: Text after the colon that follows the config's file.
    **options: Name of each option and its default, if it is a bool, or a tuple
      of its choices, the default first.

  Returns:
    The value of each option.

  Raises:
    ConfigError: If an option or its value is unknown.
  """
  parsed = ConfigDict(
    {
      name: value[0] if isinstance(value, tuple) else value
      for name, value in options.items()
    }
  )
  for item in filter(None, (arg or "").split(",")):
    name, _, value = item.partition("=")
    if name not in options:
      raise errors.ConfigError(
        f"unknown option {name!r}; {_nearest(name, options)}options are"
        f" {', '.join(options)}"
      )
    if isinstance(options[name], bool):
      choices = {"true": True, "false": False}
      value = value.lower()
    else:
      choices = {choice: choice for choice in options[name]}
    if value not in choices:
      raise errors.ConfigError(
        f"option {name}={value!r} is not one of {', '.join(choices)}"
      )
    parsed[name] = choices[value]
  return parsed


def base() -> ConfigDict:
  """Returns the fields of every experiment with the paper's defaults."""
  config = ConfigDict()
  config.seed = 1
  config.preset = "paper"
  config.start = "auto"
  config.backbone = "ctrgcn"
  # Fields of the backbone's module; None stands for the module's default.
  config.model = ConfigDict()
  config.model.graph_block = config_dict.placeholder(int)
  config.model.width = config_dict.placeholder(int)
  config.model.dropout = config_dict.placeholder(float)
  # Type that the blocks compute in, such as bfloat16. Parameters and statistics
  # stay in float32.
  config.model.dtype = config_dict.placeholder(str)
  # Whether the backward pass computes the blocks again: less memory, more time.
  config.model.remat = config_dict.placeholder(bool)
  config.matmul_precision = "highest"
  # Makes a GPU give the same bits each time (docs/PERFORMANCE.md). A CPU always
  # does.
  config.deterministic = False
  config.init_from = config_dict.placeholder(str)  # Workdir of another run.
  config.batch_size = 64  # Over all devices.
  config.eval_batch_size = 64
  config.eval_every_epochs = 1
  # A checkpoint is saved after each epoch, and every so many minutes during the
  # epoch. None: only after each epoch.
  config.save_every_minutes = config_dict.placeholder(float)
  config.save_every_minutes = 10.0
  # Every so many epochs a checkpoint is kept, besides the last two.
  config.keep_every_epochs = config_dict.placeholder(int)

  # The paper uses the SGD of CTR-GCN (Sec. 4.2).
  config.optim = ConfigDict()
  config.optim.num_epochs = 65
  config.optim.base_lr = 0.1
  config.optim.warmup_epochs = 5
  config.optim.decay_epochs = (35, 55)
  config.optim.decay_rate = 0.1
  config.optim.momentum = 0.9
  config.optim.nesterov = True
  config.optim.weight_decay = 4e-4
  # Largest global norm of the gradient; the references have no limit.
  config.optim.clip_norm = config_dict.placeholder(float)
  # `backbone`: train the classifier alone, after `init_from`.
  config.optim.freeze = config_dict.placeholder(str)

  config.loss = ConfigDict()
  config.loss.label_smoothing = 0.0
  config.loss.latent_prior = 0.0  # Weights of InfoGCN's own terms.
  config.loss.latent_mean = 0.0

  config.gcl = True
  config.contrast = _contrast()
  return config


def _contrast():
  """Returns the fields of SkeletonGCL (Sec. 4.2)."""
  contrast = ConfigDict()
  # The switches of the paper's tables. Their other values, and those that
  # contradict each other: sgcl_jax/contrast/switches.py, docs/ABLATIONS.md.
  contrast.variant = "paper"  # released: the authors' published code.
  contrast.memory = "both"
  contrast.source = "graph"
  contrast.loss = "infonce"
  contrast.margin = 0.2  # For loss=triplet.
  contrast.projection = "dense"
  contrast.positives = "hard"
  contrast.negatives = "both"
  # While the bank holds too few rows for an anchor: skip it, or use the rows
  # that the bank holds (partial).
  contrast.cold_start = "skip"
  contrast.features = 256  # Width of the embedding; unused by projection=none.
  contrast.rows_per_class = 684
  contrast.momentum = 0.85
  # Temperatures by <split>_<modality>, used unless `temperature` is set.
  contrast.temperatures = ConfigDict()
  # Those that differ for variant=released.
  contrast.released_temperatures = ConfigDict()
  contrast.temperature = config_dict.placeholder(float)
  contrast.num_hard_positives = 128
  contrast.num_hard_negatives = 512
  contrast.num_random_negatives = 512
  return contrast


def options(
  config: ConfigDict, arg: ConfigDict, *, stable: bool = False
) -> None:
  """Sets the options `gcl`, `contrast` and `start`.

  Args:
    config: Config to change.
    arg: Values of the options.
    stable: Whether start=auto clips the gradient, as start=stable does. The
      references do not clip, but their recipes diverge on some seeds and on
      small sets of classes.
  """
  config.gcl = arg.gcl
  config.contrast.variant = arg.contrast
  config.start = arg.start
  if arg.start == "stable" or (arg.start == "auto" and stable):
    config.optim.clip_norm = STABLE_CLIP_NORM


def ntu60(config: ConfigDict, split: str, modality: str) -> None:
  """Sets the data of NTU RGB+D 60: 64 frames of two persons."""
  _ntu(config, "ntu60", 60, split, modality)


def ntu120(config: ConfigDict, split: str, modality: str) -> None:
  """Sets the data of NTU RGB+D 120: 64 frames of two persons."""
  _ntu(config, "ntu120", 120, split, modality)


def _ntu(config, name, num_classes, split, modality):
  config.num_classes = num_classes
  config.skeleton = "ntu"
  config.num_persons = 2
  config.data = ConfigDict(
    {
      "dir": f"data/{name}",
      "prepare": f"python -m data_prep.{name} --raw DIR",
      "split": split,
      "modality": modality,
      "transform": "ntu",
      "window": 64,
      "max_angle": 0.3,  # Radians.
      "repeats": 1,
      "require_aligned": False,
    }
  )
  config.data.train_split = config.data.get_ref("split") + "_train"
  config.data.test_split = config.data.get_ref("split") + "_test"


def ucla(config: ConfigDict, modality: str) -> None:
  """Sets the data of NW-UCLA, 52 frames of one person, and its common recipe.

  Batch, repeats and window are from the released configurations of CTR-GCN and
  SkeletonGCL.
  """
  config.num_classes = 10
  config.skeleton = "ucla"
  config.num_persons = 1
  config.data = ConfigDict(
    {
      "dir": "data/nw_ucla",
      "prepare": "python -m data_prep.nw_ucla --raw DIR",
      "split": "xview",  # Trains on cameras 1 and 2, tests on camera 3.
      "train_split": "train",
      "test_split": "test",
      "modality": modality,
      "transform": "ucla",
      "window": 52,
      "max_angle": 60.0,  # Degrees.
      "repeats": 5,  # Passes over the clips in one epoch.
      "require_aligned": False,
    }
  )
  config.batch_size = 16
  config.contrast.rows_per_class = 342  # Sec. 4.2.
  # The default of the released code: its scripts for NW-UCLA set none.
  config.contrast.temperature = 0.8


def custom(config: ConfigDict, split: str, modality: str) -> None:
  """Sets your own data (docs/CUSTOM_DATA.md), with the recipe of NTU RGB+D.

  Unlike there, frames in which nobody is seen count as frames of the clip.

  Classes, persons and joint layout are read from the data set's metadata.
  """
  _ntu(config, "custom", None, split, modality)
  config.num_classes = config_dict.placeholder(int)
  config.num_persons = config_dict.placeholder(int)
  config.skeleton = config_dict.placeholder(str)
  if split == "all":
    config.data.train_split = "train"
    config.data.test_split = "test"
    config.data.prepare = (
      "python -m data_prep.custom --raw DIR --layout NAME_OR_FILE (or"
      " data_prep.pyskl or data_prep.ctrgcn_npz --raw FILE)"
    )
  else:  # A protocol of NTU RGB+D in 2D (docs/HELD_DATA.md).
    config.data.prepare = "python -m data_prep.pyskl --raw FILE"
  config.data.transform = "whole"
  config.contrast.temperature = 0.8  # Ours.


def ctrgcn_ucla_optim(config: ConfigDict) -> None:
  """Sets the SGD that was released for CTR-GCN and 2s-AGCN on NW-UCLA."""
  config.optim.weight_decay = 1e-4
  config.optim.decay_epochs = (50,)


def short(config: ConfigDict) -> None:
  """Sets a recipe of ours for NW-UCLA: 45,900 clips, with start=stable."""
  config.preset = "short"
  config.data.repeats = 1
  config.optim.num_epochs = 45
  config.optim.decay_epochs = (30, 39)


def infogcn(config: ConfigDict) -> None:
  """Sets InfoGCN with the losses and the SGD of its released code."""
  config.backbone = "infogcn"
  # Hops to the joint that is subtracted. The default depends on the modality: 8
  # for joints, 1 for bones.
  config.model.k = config_dict.placeholder(int)
  config.model.edges = config_dict.placeholder(str)
  config.loss.label_smoothing = 0.1
  config.loss.latent_prior = 0.1
  config.loss.latent_mean = 1e-4
  config.optim.num_epochs = 110
  config.optim.decay_epochs = (90, 100)
  config.optim.weight_decay = 5e-4
  # Ours: SkeletonGCL's code for InfoGCN was never released.
  config.contrast.temperature = 0.8


def infogcn_ntu(config: ConfigDict) -> None:
  """Sets InfoGCN's batch on NTU, and its aligned bodies."""
  config.batch_size = 128
  config.model.remat = True  # Without it, this batch takes 22 GiB.
  config.data.require_aligned = True
  config.data.dir += "_aligned"
  config.data.prepare += " --align"


def _nearest(name, names):
  close = difflib.get_close_matches(name, names, n=1)
  return f"did you mean {close[0]!r}? " if close else ""
