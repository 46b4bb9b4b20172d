# SPDX-License-Identifier: Apache-2.0
r"""Times an experiment and prints or compares the figures.

python -m sgcl_jax.benchmark --config configs/ctrgcn_ntu60.py
python -m sgcl_jax.benchmark --config configs/agcn_ucla.py \
  --config.batch_size=16 --json > before.json
python -m sgcl_jax.benchmark --config configs/agcn_ucla.py \
  --config.batch_size=16 --compare before.json
python -m sgcl_jax.benchmark --all --out h100.json --jobs 4
"""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Sequence

from sgcl_jax import command, errors
from sgcl_jax.benchmark import sweep
from sgcl_jax.settings import config_file, fields

# Headings of the table of `--all`, by the name of the figure.
COLUMNS = {
  "train_ms_per_clip": "train, ms/clip",
  "train_clips_per_second": "train, clips/s",
  "inference_clips_per_second": "inference, clips/s",
  "compile_seconds": "compiling, s",
  "peak_memory_gib": "peak, GiB",
}
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
  parser.add_argument(
    "--lock",
    type=command.path,
    help="file that measurements share which compile at the same time; each is"
    " timed while no other computes",
  )
  _add_options_of_all(parser)
  parser.add_json("the figures")
  args = parser.parse_args(argv)
  if args.repeats < 1:
    raise errors.ConfigError(f"--repeats={args.repeats} is less than 1")
  _check_options(args)
  if args.all:
    _run_all(args)
    return
  config = command.require_config(args)
  if args.json and args.compare:
    raise errors.ConfigError(
      "--json has no room for a comparison; leave out --json or --compare"
    )
  with command.messages(args.json), _sharing(args.lock) as wait:
    setting, before, figures = _run(args, config, wait)
  if args.json:
    command.print_json(setting | figures)
  else:
    _print_table(setting, before, figures)


def _add_options_of_all(parser):
  group = parser.add_argument_group("all configs of the paper")
  group.add_argument(
    "--all",
    action="store_true",
    help="measure them at several precisions into one file; fields"
    " --config.<key>=... hold for all, and what is in the file is not measured"
    " again",
  )
  group.add_argument(
    "--out",
    type=command.path,
    metavar="FILE.json",
    help="the file (benchmark.json)",
  )
  group.add_argument(
    "--configs",
    metavar="NAME,...",
    help="some of ctrgcn, agcn, infogcn with _ucla, _ntu60, _ntu120",
  )
  group.add_argument(
    "--precisions",
    metavar="NAME,...",
    help=f"some of {', '.join(sweep.PRECISIONS)}",
  )
  group.add_argument(
    "--jobs",
    type=int,
    help="measurements that compile at the same time and share the memory (1);"
    " each is timed alone",
  )


def _check_options(args):
  """Refuses options that do not go with `--all`, or need it."""
  wrong = ("config", "compare", "lock")
  if not args.all:
    wrong = ("out", "configs", "precisions", "jobs")
  for name in wrong:
    if getattr(args, name) is not None:
      reason = "does not go with --all" if args.all else "needs --all"
      raise errors.ConfigError(f"--{name} {reason}")


def _run_all(args):
  out = args.out or pathlib.Path("benchmark.json")
  configs = _choose("--configs", args.configs, sweep.CONFIGS)
  precisions = _choose("--precisions", args.precisions, sweep.PRECISIONS)
  jobs = 1 if args.jobs is None else args.jobs
  if jobs < 1:
    raise errors.ConfigError(f"--jobs={jobs} is less than 1")
  for name in configs:
    _, keys = fields.override(config_file.load(name), args.pending)
    for key in {"matmul_precision", "model.dtype"} & set(keys):
      raise errors.ConfigError(f"config.{key} is chosen with --precisions")
  options = {"overrides": args.pending, "repeats": args.repeats, "jobs": jobs}
  try:
    with command.messages(args.json):
      rows = sweep.run(out, configs, precisions, **options)
  except KeyboardInterrupt:
    raise KeyboardInterrupt(command.RESUMABLE) from None
  if args.json:
    command.print_json({"out": str(out), "rows": rows})
  else:
    _print_rows(rows)
    print(f"in {out}")
  failed = [
    f"{row['config']} {row['precision']}: {row['error']}"
    for row in rows
    if not sweep.is_final(row)
  ]
  if failed:
    raise errors.TrainingError("\n".join(["not measured:", *failed]))


def _choose(option, text, choices):
  chosen = choices if text is None else text.split(",")
  for name in chosen:
    if name not in choices:
      raise errors.ConfigError(
        f"{option}={text}: {name!r} is none of {', '.join(choices)}"
      )
  return list(dict.fromkeys(chosen))


def _print_rows(rows):
  titles = "".join(f"  {title}" for title in COLUMNS.values())
  print(f"\n{'config':16} {'precision':10}{titles}")
  for row in rows:
    line = f"{row['config']:16} {row['precision']:10}"
    if "error" in row:
      line += f"  {row['error'][:80]}"
    else:
      for name, title in COLUMNS.items():
        line += f"  {_rounded(row['result'][name]):>{len(title)}}"
    print(line)


@contextlib.contextmanager
def _sharing(path):
  """Yields a function that waits until no other measurement computes.

  Until it is called, the lock is shared by all that compile.
  """
  if path is None:
    yield lambda: None
    return
  with path.open("a", encoding="utf-8") as lock:
    fcntl.flock(lock, fcntl.LOCK_SH)
    yield lambda: fcntl.flock(lock, fcntl.LOCK_EX)


def _run(args, config, wait):
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
  return setting, before, measure.run(parts, args.repeats, wait)


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
