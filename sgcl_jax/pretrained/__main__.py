# SPDX-License-Identifier: Apache-2.0
r"""Writes the shipped model as a run, for every command that takes one.

python -m sgcl_jax.pretrained --out runs/pretrained
python -m sgcl_jax.main --mode=evaluate --workdir runs/pretrained

CTR-GCN with SkeletonGCL on the joints of NW-UCLA, trained by
configs/ctrgcn_ucla.py:preset=short; its weights are rounded to half precision.
"""

from collections.abc import Sequence

from sgcl_jax import command
from sgcl_jax.terminal import wording


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("sgcl_jax.pretrained", __doc__)
  parser.add_argument(
    "--out",
    type=command.workdir,
    required=True,
    help="workdir to write, new or empty",
  )
  parser.add_json("how the model was trained, and where it is now")
  args = parser.parse_args(argv)
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax.devices import set_up
  from sgcl_jax.pretrained import store

  with command.messages(args.json):
    set_up.check_devices()
    about = store.unpack(args.out)
    del about["metadata"]  # The checkpoint has it.
    print(
      f"{about['config']}, seed {about['seed']}, epoch {about['epoch']}:"
      f" top-1 {about['top1']:.2f} % of {about['num_clips']} test clips before"
      f" its weights were rounded; written to {args.out}\n"
      "next    "
      + wording.command_line(
        "sgcl_jax.main", "--mode=evaluate", "--workdir", str(args.out)
      )
    )
  if args.json:
    command.print_json({**about, "workdir": str(args.out)})


if __name__ == "__main__":
  command.run(main)
