# SPDX-License-Identifier: Apache-2.0
"""The command that trains on a new data set, for the terminal."""

import os
import pathlib
from collections.abc import Mapping

from sgcl_jax.settings import config_file
from sgcl_jax.terminal import wording

# Printed instead of the command, with the name of the class.
ONE_CLASS = (
  "all clips are of one class, {!r}: training needs two or more classes"
)


def make_command(
  config: str,
  out: pathlib.Path,
  clips: Mapping[str, Mapping[str | int, int]],
  workdir: str | os.PathLike | None = None,
) -> str:
  """Returns the command, with the fields without which few clips are refused.

  It imports the package `configs`: a converter calls
  `config_file.check_clash` before it begins.

  Args:
    config: Name of a config, with its options.
    out: Directory of the data set.
    clips: Of each split, the clips of each class.
    workdir: Directory of the run, None for its default.
  """
  from configs import small

  found = config_file.load(config)
  counts = [*clips.get(found.data.train_split, {}).values()]
  if found.num_classes is None:  # Own data, of any size.
    option, fields = small.suggest(counts)
    config += option.replace(":", ",") if ":" in config else option
  else:
    fields = small.fit(found, counts)
  if workdir is not None:
    fields = ["--workdir", str(workdir), *fields]
  return wording.command_line(
    "sgcl_jax.main", "--config", config, f"--config.data.dir={out}", *fields
  )
