# SPDX-License-Identifier: Apache-2.0
"""The options that name a trained model; `frozen.open` reads them.

A file without JAX, so that `--help` is fast.
"""

from sgcl_jax import command


def add(parser: command.Parser) -> None:
  """Declares `--checkpoint`, `--class_names` and `--config`."""
  parser.add_argument(
    "--checkpoint",
    type=command.workdir,
    required=True,
    metavar="DIR",
    help="directory of a run; its newest checkpoint is used",
  )
  parser.add_argument(
    "--class_names",
    type=command.path,
    metavar="FILE",
    help="names of the classes, one per line in label order (default: those of"
    " the training)",
  )
  parser.add_config()
