# SPDX-License-Identifier: Apache-2.0
"""Converts a reference's PyTorch checkpoint to one that evaluation reads.

python -m sgcl_jax.import_torch --backbone ctrgcn --checkpoint X.pt --out DIR

--config names the split and the modality of the weights, as in
--config configs/ctrgcn_ntu60.py:split=xview,modality=bone.
"""

from collections.abc import Sequence

from sgcl_jax import command

BACKBONES = ("agcn", "ctrgcn", "infogcn")


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("sgcl_jax.import_torch", __doc__)
  parser.add_argument(
    "--backbone",
    required=True,
    choices=BACKBONES,
    help="the model that the weights are for",
  )
  parser.add_argument(
    "--checkpoint",
    type=command.path,
    required=True,
    help="a .pt or .pth file of weights",
  )
  parser.add_argument(
    "--out",
    type=command.workdir,
    required=True,
    help="workdir to write, new or empty",
  )
  parser.add_config()
  args = parser.parse_args(argv)
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax.devices import set_up
  from sgcl_jax.import_torch import write

  set_up.check_devices()
  write.run(args.backbone, args.checkpoint, args.out, command.find_config(args))


if __name__ == "__main__":
  command.run(main)
