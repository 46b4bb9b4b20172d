# SPDX-License-Identifier: Apache-2.0
"""Freezes a trained model into one file for serving; docs/EXPORT.md.

python -m sgcl_jax.export --checkpoint runs/x --out model.stablehlo
python -m sgcl_jax.export --checkpoint runs/x --out model.onnx
"""

import importlib
import json
import logging
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import sgcl_jax
from sgcl_jax import command, errors
from sgcl_jax.runs import files
from sgcl_jax.serving import model_options

PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIXES = (".stablehlo", ".onnx")
# Members of the archive.
ABOUT, MODEL = "about.json", "model.jax_export"


def describe(model: Any) -> dict[str, Any]:
  """Returns what a user of an exported file needs to know.

  Args:
    model: A `frozen.Frozen`.
  """
  record = model.parts.record
  layout = model.parts.layout
  _, num_persons, window, _, channels = model.parts.clip.shape
  return {
    "class_names": model.class_names,
    "joints": list(layout.recorded or layout.joints),
    "layout": json.loads(layout.to_json()),
    "inputs": {
      "skeleton": [
        "clips",
        "frames",
        num_persons,
        layout.num_recorded,
        channels,
      ],
      "num_frames": ["clips"],
    },
    "output": {"probabilities": ["clips", len(model.class_names)]},
    "backbone": record["backbone"],
    "modality": record["data"]["modality"],
    "transform": record["data"]["transform"],
    "window": window,
    "matmul_precision": record["matmul_precision"],
    "prepared": {k: v for k, v in model.prepared.items() if k != "layout"},
    "version": sgcl_jax.__version__,
  }


def to_stablehlo(model: Any) -> bytes:
  """Returns a model as the bytes of `jax.export`, for all `PLATFORMS`.

  The numbers of clips and of frames stay open.

  Args:
    model: A `frozen.Frozen`.

  Raises:
    ConfigError: If flatbuffers is not installed.
  """
  import jax
  from jax import export

  try:
    importlib.import_module("flatbuffers")
  except ImportError as error:
    raise errors.ConfigError(
      f'{error}: jax.export needs it; run: pip install -e ".[export]"'
    ) from error
  clips, frames = export.symbolic_shape("clips, frames")
  exported = export.export(jax.jit(_make_function(model)), platforms=PLATFORMS)(
    *_make_shapes(model, clips, frames)
  )
  return bytes(exported.serialize())


def to_onnx(model: Any, *, num_clips: int, num_frames: int) -> Any:
  """Returns a model as an `onnx.ModelProto`.

  Args:
    model: A `frozen.Frozen`.
    num_clips: Clips of every call.
    num_frames: Frames that every clip is padded to.

  Raises:
    ConfigError: If jax2onnx or a package that it needs is not installed.
  """
  import jax
  from jax.extend import core

  from sgcl_jax.models import transposition

  try:
    import jax2onnx
    import onnx
  except ImportError as error:
    raise errors.ConfigError(
      f"{error}: ONNX needs packages of its own; docs/EXPORT.md has the two"
      " commands that install them"
    ) from error
  # It warns of each value whose type it fills in itself.
  logging.getLogger("onnx_ir").setLevel(logging.ERROR)
  shapes = _make_shapes(model, num_clips, num_frames)
  # Traced here: jax2onnx replaces functions of JAX while it traces, and knows
  # fewer of their arguments.
  with transposition.plain():
    traced = core.jaxpr_as_fun(jax.make_jaxpr(_make_function(model))(*shapes))
  proto = jax2onnx.to_onnx(
    lambda *inputs: traced(*inputs)[0],
    shapes,
    model_name="sgcl_jax",
    input_names=("skeleton", "num_frames"),
    output_names=("probabilities",),
  )
  _drop_unread(proto.graph)
  about = {k: json.dumps(v) for k, v in describe(model).items()}
  onnx.helper.set_model_props(proto, about)
  return proto


def write(
  model: Any,
  out: pathlib.Path,
  *,
  num_clips: int = 1,
  num_frames: int = 300,
) -> None:
  """Writes a model as its file's suffix says, whole or not at all.

  Args:
    model: A `frozen.Frozen`.
    out: A file `*.stablehlo`, or `*.onnx`.
    num_clips: Of `to_onnx`.
    num_frames: Of `to_onnx`.
  """
  if out.suffix == ".onnx":
    proto = to_onnx(model, num_clips=num_clips, num_frames=num_frames)
    with files.replacing(out) as partial:
      partial.write_bytes(proto.SerializeToString())
    return
  data = to_stablehlo(model)
  with (
    files.replacing(out) as partial,
    zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
  ):
    archive.writestr(ABOUT, json.dumps(describe(model), indent=1))
    archive.writestr(MODEL, data)


def main(argv: Sequence[str] | None = None) -> None:
  """Command line; see `--help`."""
  parser = command.Parser("sgcl_jax.export", __doc__)
  model_options.add(parser)
  parser.add_argument(
    "--out",
    type=command.path,
    required=True,
    metavar="FILE",
    help="file to write, *.stablehlo (jax.export) or *.onnx",
  )
  parser.add_argument(
    "--num_clips",
    type=int,
    default=1,
    help="ONNX: clips of a call (default: %(default)s)",
  )
  parser.add_argument(
    "--num_frames",
    type=int,
    default=300,
    help="ONNX: frames that clips are padded to (default: %(default)s)",
  )
  args = parser.parse_args(argv)
  if args.out.suffix not in SUFFIXES:
    raise errors.ConfigError(
      f"--out {args.out} must end in {' or '.join(SUFFIXES)}"
    )
  for name in ("num_clips", "num_frames"):
    if getattr(args, name) < 1:
      raise errors.ConfigError(f"--{name} must be 1 or more")
  _run(args)


def _run(args):
  # JAX is imported late, so that mistakes in the arguments show at once.
  from sgcl_jax.serving import frozen

  model = frozen.open(args, batch_size=1)
  write(model, args.out, num_clips=args.num_clips, num_frames=args.num_frames)
  size = args.out.stat().st_size / 1e6
  print(f"wrote {args.out} ({size:.1f} MB): {len(model.class_names)} classes")


def _drop_unread(graph):
  """Removes constants that no node reads: ONNX Runtime warns of each."""
  read = set(_list_reads(graph))
  kept = [each for each in graph.initializer if each.name in read]
  del graph.initializer[:]
  graph.initializer.extend(kept)


def _list_reads(graph):
  """Yields the names of the values that a graph and those in it read."""
  for node in graph.node:
    yield from node.input
    for attribute in node.attribute:
      if attribute.HasField("g"):
        yield from _list_reads(attribute.g)
  yield from (each.name for each in graph.output)


def _make_shapes(model, num_clips, num_frames):
  import jax
  import numpy as np

  _, num_persons, _, _, channels = model.parts.clip.shape
  num_joints = model.parts.layout.num_recorded
  shape = num_clips, num_frames, num_persons, num_joints, channels
  return (
    jax.ShapeDtypeStruct(shape, np.float32),
    jax.ShapeDtypeStruct(shape[:1], np.int32),
  )


def _make_function(model) -> Callable[..., Any]:
  """Returns f(skeleton [N, T, M, V, C], num_frames [N]) -> [N, L]."""
  import jax

  from sgcl_jax.serving import preparation

  prepare = preparation.make(
    model.prepared, model.parts.layout, model.parts.record["data"]["transform"]
  )
  classify = model.make_classifier()

  def function(skeleton, num_frames):
    clips = jax.vmap(prepare)(skeleton)
    x = model.parts.transform(clips, num_frames, None)
    return jax.nn.softmax(classify(model.variables, x))

  return function


if __name__ == "__main__":
  command.run(main)
