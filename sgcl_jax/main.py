# SPDX-License-Identifier: Apache-2.0
"""Trains and evaluates an experiment of configs/; the same command resumes it.

python -m sgcl_jax.main --config configs/ctrgcn_ucla.py:modality=bone,gcl=false
python -m sgcl_jax.main --config configs/agcn_ucla.py --config.seed=2
python -m sgcl_jax.main --mode=evaluate --workdir runs/agcn_ucla_xview_joint
"""

import os
import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from sgcl_jax import command, errors
from sgcl_jax.devices import hosts
from sgcl_jax.runs import workdir
from sgcl_jax.settings import fields


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("sgcl_jax.main", __doc__)
  parser.add_config()
  parser.add_argument(
    "--mode",
    choices=("train", "evaluate"),
    default="train",
    help="train (and then evaluate), or evaluate the newest checkpoint",
  )
  parser.add_argument(
    "--workdir",
    type=command.workdir,
    help="directory of the run; a run found there is resumed",
  )
  parser.add_argument(
    "--save_embeddings",
    action="store_true",
    help="write the graph, the feature and one pose of each test clip as well",
  )
  hosts.add_options(parser)
  parser.add_json("the summary")
  args = parser.parse_args(argv)
  if args.config is None and args.mode == "evaluate" and args.workdir:
    config = ConfigDict(workdir.read_config(args.workdir))
    config, _ = fields.override(config, args.pending)
  elif args.mode == "evaluate" and args.config is None:
    raise errors.ConfigError(
      "--workdir is missing: name the directory of a run, or its --config"
    )
  else:
    config = command.require_config(args)
  _run(args, config)


def _run(args, config):
  """Joins the processes of the run, and parts from them at its end."""
  with hosts.join(args):
    with command.messages(args.json):
      summary = _train_or_evaluate(args, config)
    if args.json:
      command.print_json(summary)


def _train_or_evaluate(args, config):
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax import evaluate, experiment, train
  from sgcl_jax.runs import embeddings

  experiment.prepare(config)
  parts = experiment.make(config)
  directory = args.workdir or pathlib.Path(
    "runs", workdir.default_name(args.config_name, parts.record)
  )
  print(f"workdir: {directory}", flush=True)
  if args.mode == "train":
    summary = train.run(parts, directory)
  if args.mode == "evaluate" or args.save_embeddings:
    summary = evaluate.run(parts, directory, args.save_embeddings)
  weights = f"epoch {summary['epoch']}"
  if not summary["epoch"]:
    weights = "imported" if summary["imported_from"] else "within epoch 1"
  print(
    f"{weights}: top-1 {summary['top1']:.2f} %,"
    f" top-5 {summary['top5']:.2f} % of {summary['num_clips']} test clips"
  )
  low, high = summary["top1_interval"]
  print(
    f"95 % interval of top-1 {low:.2f} to {high:.2f} %, mean over classes"
    f" {summary['mean_class_accuracy']:.2f} %, calibration error"
    f" {summary['calibration_error']:.2f} %"
  )
  path = os.path.join(directory, summary["scores"])
  place = os.path.dirname(os.path.dirname(path))
  if os.path.dirname(summary["scores"]) != "scores":
    print("these are not the run's own test clips; its summary.json stays")
  print(f"classes: {os.path.join(place, workdir.CLASSES)}")
  if args.save_embeddings:
    print(f"embeddings: {embeddings.find_path(place, parts.record)}")
  print(f"scores: {path}")
  return summary


if __name__ == "__main__":
  command.run(main, interrupted=command.RESUMABLE)
