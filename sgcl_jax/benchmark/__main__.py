# SPDX-License-Identifier: Apache-2.0
r"""Times an experiment and prints or compares the figures.

python -m sgcl_jax.benchmark --config configs/ctrgcn_ntu60.py
python -m sgcl_jax.benchmark --config configs/agcn_ucla.py \
  --config.batch_size=16 --json > before.json
python -m sgcl_jax.benchmark --config configs/agcn_ucla.py \
  --config.batch_size=16 --compare before.json
"""

import json
from collections.abc import Sequence

from sgcl_jax import command, errors

# Fields that may differ between two measurements that are compared.
MAY_DIFFER = ("jax", "devices")


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("sgcl_jax.benchmark", __doc__)
  parser.add_config()
  parser.add_argument(
    "--repeats",
    type=int,
    default=10,
    help="runs of each part, in turn; the medians are reported (%(default)s)",
  )
  parser.add_argument(
    "--compare",
    type=command.path,
    help="file with an earlier output of --json; prints its figures beside"
    " the new ones",
  )
  parser.add_json("the figures")
  args = parser.parse_args(argv)
  config = command.require_config(args)
  if args.repeats < 1:
    raise errors.ConfigError(f"--repeats={args.repeats} is less than 1")
  if args.json and args.compare:
    raise errors.ConfigError(
      "--json has no room for a comparison; leave out --json or --compare"
    )
  with command.messages(args.json):
    setting, before, figures = _run(args, config)
  if args.json:
    command.print_json(setting | figures)
  else:
    _print_table(setting, before, figures)


def _run(args, config):
  # JAX is imported late, so that mistakes in the arguments show at once.
  import jax

  from sgcl_jax import experiment
  from sgcl_jax.benchmark import measure

  experiment.prepare(config)
  # The cache would hide the time that compilation takes.
  jax.config.update("jax_enable_compilation_cache", False)
  parts = experiment.make(config)
  setting = measure.describe(parts)
  before = _read(args.compare, setting) if args.compare else {}
  return setting, before, measure.run(parts, args.repeats)


def _read(path, setting):
  """Returns the figures of an earlier run; refuses another setting."""
  try:
    with open(path, encoding="utf-8-sig") as file:
      earlier = json.load(file)
    theirs = {name: earlier[name] for name in setting}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.ConfigError(
      f"--compare={path}: is no output of --json ({error!r})"
    ) from error
  for name, value in setting.items():
    if name not in MAY_DIFFER and theirs[name] != value:
      raise errors.ConfigError(
        f"--compare={path}: its {name} is {theirs[name]}, and here {value}"
      )
  return earlier


def _print_table(setting, before, figures):
  for name, value in setting.items():
    print(f"{name:28} {value}")
  if before:
    print(f"{'':28} {'now':>12} {'before':>12} {'now / before':>13}")
  for name, value in figures.items():
    line = f"{name:28} {_rounded(value):>12}"
    if value is not None and before.get(name):
      ratio = value / before[name]
      line += f" {_rounded(before[name]):>12} {ratio:>12.2f}x"
    print(line)


def _rounded(value):
  if value is None:
    return "-"
  return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


if __name__ == "__main__":
  command.run(main)
