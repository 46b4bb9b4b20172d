# SPDX-License-Identifier: Apache-2.0
"""Trains and evaluates: flags and dispatch, nothing else.

python -m sgcl_jax.main --config configs/ctrgcn_ntu60.py
"""

import os
import pathlib
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "An experiment of configs/, with options after a colon."
)
_MODE = flags.DEFINE_enum(
  "mode",
  "train",
  ["train", "evaluate"],
  "Train (and then evaluate), or evaluate the newest checkpoint.",
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Where the run lives; run again, it is resumed."
)


def main(argv: list[str]) -> None:
  """Runs one mode."""
  if len(argv) > 1:
    raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
  if _CONFIG.value is None:
    raise ValueError("--config is missing, as in configs/ctrgcn_ntu60.py")
  config = _CONFIG.value
  workdir = _WORKDIR.value or _default_workdir(config)
  print(f"workdir: {workdir}")
  _set_up_jax(config)
  # Imported late, so that a mistake in the flags is answered at once.
  from sgcl_jax import evaluate, train

  if _MODE.value == "evaluate":
    summary = evaluate.run(config, workdir)
  else:
    summary = train.run(config, workdir)
  print(
    f"epoch {summary['epoch']}: top-1 {summary['top1']:.2f} %,"
    f" top-5 {summary['top5']:.2f} % of {summary['num_clips']} test clips"
  )


def _default_workdir(config):
  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"]))
  parts = [name.stem, config.data.split, config.data.modality]
  if not config.gcl:
    parts.append("nogcl")
  if config.recipe != "paper":
    parts.append(config.recipe)
  return os.path.join("runs", "_".join(parts))


def _set_up_jax(config):
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file.
  jax.config.update("jax_default_matmul_precision", config.matmul_precision)
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    cache = pathlib.Path.home() / ".cache" / "sgcl_jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))


def _parse(argv):
  try:
    return flags.FLAGS(argv)
  except (ValueError, AttributeError, KeyError, TypeError, OSError) as error:
    _fail(error)
  except flags.Error as error:
    _fail(error)


def _fail(error):
  """Ends with one line: a mistake of the user's needs no traceback."""
  print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
  sys.exit(1)


def _main(argv):
  try:
    main(argv)
  except (ValueError, OSError) as error:
    _fail(error)


if __name__ == "__main__":
  app.run(_main, flags_parser=_parse)
