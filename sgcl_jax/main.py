# SPDX-License-Identifier: Apache-2.0
"""Trains and evaluates an experiment of configs/; run again, it resumes.

python -m sgcl_jax.main --config configs/ctrgcn_ucla.py:modality=bone,gcl=false
python -m sgcl_jax.main --config configs/agcn_ucla.py --config.seed=2
"""

import contextlib
import json
import os
import sys

from absl import flags
from ml_collections import config_flags

from sgcl_jax import errors, parallel
from sgcl_jax import workdir as workdir_lib

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
_JSON = flags.DEFINE_bool(
  "json", False, "Print the summary as one JSON object, and nothing else."
)


def main() -> None:
  """Runs one mode."""
  if _CONFIG.value is None:
    raise errors.ConfigError(
      "--config is missing, as in --config configs/ctrgcn_ntu60.py"
    )
  overrides = config_flags.get_override_values(flags.FLAGS["config"])
  if "recipe" in overrides:
    raise errors.ConfigError(
      "recipe is an option after the colon: --config FILE:recipe=..."
    )
  with contextlib.redirect_stdout(sys.stderr if _JSON.value else sys.stdout):
    summary = _run(_CONFIG.value)
  if _JSON.value:
    print(json.dumps(summary))


def _run(config):
  source = config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = _WORKDIR.value or os.path.join(
    "runs", workdir_lib.default_name(source, config)
  )
  print(f"workdir: {workdir}", flush=True)
  parallel.set_up(config)
  # Imported late, so that a mistake in the flags is answered at once.
  from sgcl_jax import evaluate, train

  run = evaluate.run if _MODE.value == "evaluate" else train.run
  summary = run(config, workdir)
  weights = f"epoch {summary['epoch']}" if summary["epoch"] else "imported"
  print(
    f"{weights}: top-1 {summary['top1']:.2f} %,"
    f" top-5 {summary['top5']:.2f} % of {summary['num_clips']} test clips"
  )
  print(f"scores: {evaluate.scores_path(config, workdir)}")
  return summary


if __name__ == "__main__":
  errors.run_with_flags(main, errors.RESUMABLE)
