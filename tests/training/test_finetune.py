# SPDX-License-Identifier: Apache-2.0
"""A run that starts from another: other classes, and a frozen backbone."""

import contextlib

import jax
import numpy as np
import pytest

from sgcl_jax import errors, state, train
from sgcl_jax.evaluation import provenance
from sgcl_jax.runs import checkpoint
from sgcl_jax.training import finetune

# The tiny backbone's classifier.
HEAD = "Dense_1"


@pytest.fixture(scope="module")
def origin(tiny, tmp_path_factory):
  """Returns the workdir of a run of one epoch on ten classes."""
  path = tmp_path_factory.mktemp("origin") / "run"
  train.run(tiny("gcl=false", **{"optim.num_epochs": 1}), path)
  return path


@pytest.fixture(scope="module")
def seven(make_data):
  """Returns the fields of a set whose clips have seven classes."""
  data = make_data({"train": 48, "test": 13}, num_classes=7)
  return {"data.dir": str(data), "num_classes": 7, "optim.num_epochs": 1}


def read(parts, workdir):
  """Returns the last state of a run."""
  optimizer = parts.optimizer.follow(parts.schedule, 1)
  like = train.init_state(parts, optimizer, parts.source.repeats * 48)
  with contextlib.closing(checkpoint.Checkpoints(workdir)) as checkpoints:
    return checkpoints.restore(like, parts.identity)


def read_backbone(parts, workdir):
  shapes = state.variable_shapes(parts.model, parts.clip)
  with contextlib.closing(checkpoint.Checkpoints(workdir)) as checkpoints:
    return checkpoints.restore_model(shapes, parts.identity)


def start(parts, origin):
  """Returns the state of a run before its first step, and what it drew."""
  optimizer = parts.optimizer.follow(parts.schedule, 1)
  drawn = train.init_state(parts, optimizer, parts.source.repeats * 48)
  taken = finetune.take_backbone(
    drawn,
    origin,
    model=parts.model,
    clip=parts.clip,
    identity=parts.identity,
    class_names=[f"class {i}" for i in range(parts.source.num_classes)],
    inputs=provenance.describe_inputs(parts),
  )
  return taken, drawn


def test_other_classes_take_the_backbone(origin, tiny, seven, capsys):
  parts = tiny(init_from=str(origin), **seven)
  taken, drawn = start(parts, origin)
  assert capsys.readouterr().out == (
    f"{origin} has 10 classes, not 7: its backbone is taken, and {HEAD}/bias,"
    f" {HEAD}/kernel are drawn anew\n"
  )
  theirs = read_backbone(tiny(), origin)
  ours, params = taken.params["backbone"], theirs["params"]
  assert ours.keys() == params.keys()
  for name in ours.keys() - {HEAD}:
    jax.tree.map(np.testing.assert_array_equal, ours[name], params[name])
  assert ours[HEAD]["bias"].shape == (7,)
  jax.tree.map(
    np.testing.assert_array_equal,
    (ours[HEAD], taken.params["contrast"], taken.memory),
    (drawn.params["backbone"][HEAD], drawn.params["contrast"], drawn.memory),
  )
  jax.tree.map(
    np.testing.assert_array_equal, taken.batch_stats, theirs["batch_stats"]
  )
  assert taken.memory.semantic.rows.shape[0] == 7


def test_other_names_of_as_many_classes_are_noticed(origin, tiny, capsys):
  parts = tiny()
  drawn = start(parts, origin)[1]
  assert capsys.readouterr().err == ""
  finetune.take_backbone(
    drawn,
    origin,
    model=parts.model,
    clip=parts.clip,
    identity=parts.identity,
    class_names=["other"] * 10,
    inputs=provenance.describe_inputs(parts),
  )
  assert "the 10 classes of" in capsys.readouterr().err


def test_other_inputs_are_noticed(origin, tiny, capsys):
  start(tiny("modality=bone"), origin)
  printed = capsys.readouterr().err
  assert "was trained with config.data.modality='joint', not 'bone'" in printed


FREEZE = {"optim.freeze": "backbone"}


def test_a_frozen_backbone_does_not_move(origin, tiny, seven, tmp_path):
  parts = tiny("gcl=false", init_from=str(origin), **seven, **FREEZE)
  train.run(parts, tmp_path / "run")
  after = read(parts, tmp_path / "run")
  theirs = read_backbone(tiny(), origin)
  params = after.params["backbone"]
  for name in params.keys() - {HEAD}:
    jax.tree.map(
      np.testing.assert_array_equal, params[name], theirs["params"][name]
    )
  jax.tree.map(
    np.testing.assert_array_equal, after.batch_stats, theirs["batch_stats"]
  )
  drawn = start(parts, origin)[1].params["backbone"]
  assert not np.allclose(params[HEAD]["kernel"], drawn[HEAD]["kernel"])
  # Momentum of the classifier alone: its kernel and its bias.
  buffers = [x for x in jax.tree.leaves(after.opt_state) if x.ndim]
  assert sorted(x.shape for x in buffers) == [(7,), (16, 7)]
  # Resumed, it equals a run without an interruption.
  fields = {**seven, **FREEZE, "optim.num_epochs": 2}
  parts = tiny("gcl=false", init_from=str(origin), **fields)
  for name in ("run", "whole"):
    train.run(parts, tmp_path / name)
  jax.tree.map(
    np.testing.assert_array_equal,
    *(read(parts, tmp_path / name) for name in ("run", "whole")),
  )


@pytest.mark.parametrize(
  ("arg", "fields", "message"),
  [
    ("gcl=false", {}, "freeze=backbone would keep random weights"),
    (None, {"init_from": "x"}, "does not reach; add --config.gcl=false"),
    (
      "gcl=false",
      {"init_from": "x", "backbone": "ctrgcn", "model.dropout": 0.5},
      "config.model.dropout=0.5 has no effect",
    ),
  ],
)
def test_what_a_frozen_backbone_contradicts(tiny, arg, fields, message):
  with pytest.raises(errors.ConfigError, match=message):
    tiny(arg, **FREEZE, **fields)


@pytest.mark.parametrize("backbone", ["ctrgcn", "agcn", "infogcn"])
def test_the_classifier_of_each_backbone(tiny, backbone):
  parts = tiny(backbone=backbone)
  found = finetune.find_classifier(parts.model, parts.clip)
  head = {"head/bias", "head/kernel"}
  assert set(finetune._list(found).split(", ")) == (
    head | {"z_prior"} if backbone == "infogcn" else head
  )
  frozen = tiny(
    "gcl=false", backbone=backbone, init_from="x", **FREEZE
  ).optimizer.frozen["backbone"]
  assert frozen.pop("head") == {"bias": False, "kernel": False}
  assert all(jax.tree.leaves(frozen))


def test_a_backbone_without_a_classifier(tiny):
  with pytest.raises(errors.ConfigError, match="does not show which variables"):
    tiny(
      "gcl=false", backbone="tests.tiny:create_deaf", init_from="x", **FREEZE
    )
