# SPDX-License-Identifier: Apache-2.0
r"""Trains joint, bone and their motions, evaluates them and fuses their scores.

bash launch/four_streams.sh configs/ctrgcn_ucla.py
bash launch/four_streams.sh configs/ctrgcn_ucla.py:gcl=false \
    --config.seed=2 --out runs/nogcl_seed_2

The same command goes on: a finished stream is not trained again.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from sgcl_jax import command, ensemble, errors, modalities
from sgcl_jax.launching import series
from sgcl_jax.runs import workdir
from sgcl_jax.settings import config_file, fields


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`.

  Raises:
    TrainingError: If a stream failed, after the others were trained.
  """
  parser = command.Parser("sgcl_jax.launching.four_streams", __doc__)
  parser.add_argument(
    "config",
    metavar="CONFIG",
    help="an experiment of configs/, with options after a colon; its fields can"
    " be set, as in --config.seed=2",
  )
  parser.add_argument(
    "--out",
    type=command.workdir,
    help="directory for the four runs; by default each has the one of a run"
    " alone, runs/<config>_<split>_<stream>...",
  )
  series.add_options(parser)
  parser.add_json("the table")
  args, settings = parser.parse_known_args(argv)
  options = series.read_options(args)
  runs = plan(args.config, settings, args.out)
  with command.messages(args.json):
    try:
      failed = series.train(list(runs.values()), **options)
    except errors.WorkdirError as error:
      raise errors.WorkdirError(
        str(error).replace("--workdir", "--out")
      ) from error
    if failed:
      reasons = [f"{run.title}: {reason}" for run, reason in failed.items()]
      raise errors.TrainingError("\n".join(["streams are missing", *reasons]))
    result = summarize(runs)
    print(_format(result))
  if args.json:
    command.print_json(result)


def plan(
  spec: str, settings: Sequence[str], out: pathlib.Path | None
) -> dict[str, series.Run]:
  """Returns the run of each stream.

  Args:
    spec: Config, `FILE[:options]`, without the option `modality`.
    settings: Fields to set in all runs, `--config.<key>=<value>`.
    out: Directory for the runs, or None.

  Raises:
    ConfigError: If the spec or a field makes no sense.
  """
  file, chosen = config_file.split(spec)
  if "modality=" in chosen:
    raise errors.ConfigError(
      f"{spec}: the four streams are the values of modality; leave it out"
    )
  runs = {}
  for stream in modalities.NAMES:
    text = ",".join(filter(None, [chosen, f"modality={stream}"]))
    config, keys = fields.override(config_file.load(f"{file}:{text}"), settings)
    if "data.modality" in keys:
      raise errors.ConfigError("config.data.modality is set by the streams")
    name = workdir.default_name(pathlib.Path(file).stem, config.to_dict())
    place = pathlib.Path(out, stream) if out else pathlib.Path("runs", name)
    runs[stream] = series.Run(stream, place, f"{file}:{text}", tuple(settings))
  return runs


def summarize(runs: dict[str, series.Run]) -> dict[str, Any]:
  """Returns the figures of finished streams and of their fusions.

  Args:
    runs: Run of each stream.

  Returns:
    `streams`: `top1`, `top5`, `interval` of top1 and `workdir` of each;
    `fused`: what `ensemble.describe` returns for `J+B` and `4S`; `num_clips`.
  """
  fused = {}
  for name, preset in ensemble.FUSIONS.items():
    streams = ensemble.PRESETS[preset]
    parts = ensemble.load([runs[s].directory for s in streams], preset)
    fused[name] = ensemble.describe(parts)
  return {
    "streams": {
      part.stream: {
        **part.scores.accuracy(),
        "interval": part.scores.interval(),
        "workdir": str(runs[part.stream].directory),
      }
      for part in parts  # Those of 4S, which are all.
    },
    "fused": fused,
    "num_clips": fused["4S"]["num_clips"],
  }


def _format(result):
  """Returns the table as Markdown."""
  lines = [
    "",
    "| | top-1 | 95 % interval | top-5 | from |",
    "|---|---|---|---|---|",
  ]
  for name, row in {**result["streams"], **result["fused"]}.items():
    low, high = row["interval"]
    source = row.get("workdir")
    if source is None:
      weights = " ".join(f"{weight:g}" for weight in row["weights"])
      source = f"weights {weights}"
    lines.append(
      f"| {name} | {row['top1']:.2f} | {low:.2f} to {high:.2f} |"
      f" {row['top5']:.2f} | {source} |"
    )
  lines.append(f"\nPercent of {result['num_clips']} test clips, last epoch.")
  return "\n".join(lines)


if __name__ == "__main__":
  command.run(main, interrupted=command.RESUMABLE)
