# SPDX-License-Identifier: Apache-2.0
"""Starts a run from the backbone of another run.

The two runs may have different classes. The classifier is found by its shapes,
which depend on the number of classes, so a user's own backbone may name it
freely.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import lax

from sgcl_jax import errors, models, state
from sgcl_jax.runs import checkpoint
from sgcl_jax.terminal import output


def find_classifier(
  model: nn.Module, clip: jax.ShapeDtypeStruct
) -> dict[str, Any]:
  """Returns which variables of a backbone depend on the number of classes.

  Args:
    model: Backbone with the field `num_classes`.
    clip: Shape of one clip, [1, M, T, V, C].

  Returns:
    A tree of bools like `state.variable_shapes`.

  Raises:
    ConfigError: If there are none, or if the backbone has no such field.
  """
  shapes = state.variable_shapes(model, clip)
  others = state.variable_shapes(
    _set_classes(model, lambda count: count + 1), clip
  )
  if jax.tree.structure(shapes) != jax.tree.structure(others):
    raise _refusal(model)
  found = jax.tree.map(lambda a, b: a.shape != b.shape, shapes, others)
  if not any(jax.tree.leaves(found["params"])):
    raise _refusal(model)
  return found


def find_frozen(model: nn.Module, clip: jax.ShapeDtypeStruct) -> dict[str, Any]:
  """Returns which parameters stay as they are if only the classifier trains.

  Args:
    model: Backbone with the field `num_classes`.
    clip: Shape of one clip, [1, M, T, V, C].

  Returns:
    A tree of bools like `TrainState.params` of a run without a contrast.

  Raises:
    ConfigError: As `find_classifier`.
  """
  classifier = find_classifier(model, clip)["params"]
  return {
    "backbone": jax.tree.map(lambda trains: not trains, classifier),
    "contrast": {},
  }


def make_apply(frozen: dict[str, Any] | None) -> Callable[..., tuple]:
  """Returns how the training step applies a backbone.

  A frozen backbone computes as in an evaluation: its BatchNorm keeps its
  statistics. No gradient reaches its frozen parameters.

  Args:
    frozen: Returned by `find_frozen`; None if all parameters are trained.
  """
  if frozen is None:
    return models.apply_train

  def apply(model, variables, x, rngs):
    del rngs  # No dropout, see `check_freeze`.
    hold = lambda x, is_frozen: lax.stop_gradient(x) if is_frozen else x
    params = jax.tree.map(hold, variables["params"], frozen["backbone"])
    out = models.apply_eval(model, {**variables, "params": params}, x)
    return out, variables["batch_stats"]

  return apply


def check_freeze(
  freeze: str, *, init_from: str | None, gcl: bool, dropout: float | None
) -> None:
  """Refuses fields that contradict a frozen backbone.

  Args:
    freeze: What is frozen, for messages.
    init_from: Workdir of the run that the backbone is taken from, if any.
    gcl: Whether the run has a contrast.
    dropout: Rate of the dropout before the classifier.

  Raises:
    ConfigError: Names the field and the remedy.
  """
  cause = f"config.optim.freeze={freeze}"
  if init_from is None:
    raise errors.ConfigError(
      f"{cause} would keep random weights; name a run as --config.init_from"
    )
  if gcl:
    raise errors.ConfigError(
      f"{cause} trains the classifier alone, which the contrast does not reach;"
      " add --config.gcl=false"
    )
  if dropout:
    raise errors.ConfigError(
      f"config.model.dropout={dropout} has no effect, because {cause} computes"
      " the backbone as in an evaluation"
    )


def take_backbone(
  start: state.TrainState,
  origin: str | os.PathLike,
  *,
  model: nn.Module,
  clip: jax.ShapeDtypeStruct,
  identity: dict[str, Any],
  class_names: Sequence[str],
  inputs: dict[str, Any],
) -> state.TrainState:
  """Replaces the initial backbone by the one of another run.

  The classifier comes along if the other run has as many classes; otherwise it
  stays as it was drawn, and a line says so. The contrast always starts anew.

  Args:
    start: Initial state.
    origin: Workdir of the other run.
    model: Backbone.
    clip: Shape of one clip, [1, M, T, V, C].
    identity: Fields of the model that the other run must share, but for
      `num_classes`.
    class_names: [L] names of the classes.
    inputs: Of this run, see `provenance.describe_inputs`.

  Raises:
    CheckpointError: If there is no checkpoint, or if it is of another model.
    ConfigError: As `find_classifier`.
  """
  ours = identity["num_classes"]
  metadata, variables = _restore(origin, model, clip, identity)
  theirs = metadata["model"].get("num_classes", ours)
  if theirs != ours:
    classifier = find_classifier(model, clip)
    variables = jax.tree.map(
      lambda drawn, restored, is_new: drawn if is_new else restored,
      start.variables(),
      variables,
      classifier,
    )
    print(
      f"{origin} has {theirs} classes, not {ours}: its backbone is taken, and"
      f" {_list(classifier)} are drawn anew",
      flush=True,
    )
  elif tuple(metadata.get("classes", class_names)) != tuple(class_names):
    output.notice(
      f"the {theirs} classes of {origin} have other names; its"
      " classifier is taken along with its backbone"
    )
  for key in ("data.modality", "data.transform"):
    trained = metadata.get("inputs", {}).get(key, inputs[key])
    if trained != inputs[key]:
      output.notice(
        f"{origin} was trained with config.{key}={trained!r}, not"
        f" {inputs[key]!r}: its backbone has seen other inputs"
      )
  params = {**start.params, "backbone": variables.pop("params")}
  return start.replace(params=params, **variables)


def check_origin(origin: str | os.PathLike, identity: dict[str, Any]) -> None:
  """Refuses a run whose backbone cannot be taken; errors as `take_backbone`."""
  with _open(origin) as checkpoints:
    _check_model(checkpoints, identity)


def _restore(origin, model, clip, identity):
  """Returns the metadata and the variables of another run."""
  with _open(origin) as checkpoints:
    metadata, theirs = _check_model(checkpoints, identity)
    if theirs != identity:
      model = _set_classes(model, lambda _: theirs["num_classes"])
    shapes = state.variable_shapes(model, clip)
    return metadata, checkpoints.restore_model(shapes, theirs)


@contextlib.contextmanager
def _open(origin):
  """Opens the checkpoints of another run; their errors name the key."""
  if not pathlib.Path(origin).exists():
    raise errors.CheckpointError(
      f"config.init_from: there is no directory {origin}: name the directory of"
      " a run"
    )
  try:
    with contextlib.closing(checkpoint.Checkpoints(origin)) as checkpoints:
      yield checkpoints
  except errors.CheckpointError as error:
    raise errors.CheckpointError(f"config.init_from: {error}") from error


def _check_model(checkpoints, identity):
  """Returns the metadata, and the identity with the classes of that run."""
  metadata = checkpoints.metadata()
  classes = metadata["model"].get("num_classes", identity["num_classes"])
  identity = {**identity, "num_classes": classes}
  checkpoints.check_model(identity)
  return metadata, identity


def _set_classes(model, change):
  try:
    return model.clone(num_classes=change(model.num_classes))
  except (AttributeError, TypeError) as error:
    raise _refusal(model) from error


def _refusal(model):
  return errors.ConfigError(
    f"{type(model).__name__} does not show which variables are its classifier:"
    " it needs a field num_classes that changes the shapes of those alone"
  )


def _list(classifier):
  """Returns the names of the variables that are true, for messages."""
  paths = jax.tree_util.tree_flatten_with_path(classifier)[0]
  names = [
    "/".join(key.key for key in path[1:]) for path, is_new in paths if is_new
  ]
  return ", ".join(sorted(names))
