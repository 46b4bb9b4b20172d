# SPDX-License-Identifier: Apache-2.0
"""The recipe for your own data, from the number of their clips."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from configs import common

# Own data with fewer training clips are small: NTU's recipe would take fewer
# than 50 steps an epoch.
SMALL_SET = 3200


def apply(config: ConfigDict) -> None:
  """Sets a recipe of ours for own data of fewer than `SMALL_SET` clips.

  Batch and repeats are those of NW-UCLA.
  """
  config.preset = "small"
  config.batch_size = 16
  config.data.repeats = 5
  config.optim.num_epochs = 40
  config.optim.decay_epochs = (25, 35)


def suggest(clips: Sequence[int]) -> tuple[str, list[str]]:
  """Finds the recipe for own data.

  Args:
    clips: [L] training clips of each class.

  Returns:
    What to add to `--config configs/ctrgcn_custom.py`: the option `preset` for
    a small set, or nothing; and arguments `--config.<key>=<value>`: so many
    repeats that at most a tenth of an epoch is dropped, and those of `fit`.
  """
  config = common.base()
  common.custom(config, "all", "joint")
  option, fields, num_clips = "", [], sum(clips)
  if num_clips < SMALL_SET:
    apply(config)
    option, repeats = ":preset=small", config.data.repeats
    while 10 * (repeats * num_clips % config.batch_size) > repeats * num_clips:
      repeats += 1
    if repeats > config.data.repeats:
      fields.append(f"--config.data.repeats={repeats}")
      config.data.repeats = repeats
  return option, [*fields, *fit(config, clips)]


def fit(config: ConfigDict, clips: Sequence[int]) -> list[str]:
  """Finds the fields without which too few clips would be refused.

  Args:
    config: The recipe to train with.
    clips: [L] training clips of each class.

  Returns:
    Arguments `--config.<key>=<value>`: a smaller batch if the clips fill none,
    and cold_start=partial if the bank could never hold as many rows as the
    contrast wants.
  """
  fields, repeats = [], config.data.repeats
  if 0 < repeats * sum(clips) < config.batch_size:
    fields.append(f"--config.batch_size={repeats * sum(clips)}")
  wanted = config.contrast
  visits = config.optim.num_epochs * repeats
  rows = [min(wanted.rows_per_class, visits * n) for n in clips if n]
  others = sum(rows) - max(rows, default=0)
  negatives = wanted.num_hard_negatives + wanted.num_random_negatives
  if min(rows, default=0) < wanted.num_hard_positives or others < negatives:
    fields.append("--config.contrast.cold_start=partial")
  return fields
