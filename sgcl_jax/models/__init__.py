# SPDX-License-Identifier: Apache-2.0
"""Backbones: `create` builds one by name, `apply_*` call it."""

import importlib
import re
import traceback
from types import ModuleType
from typing import Any

from flax import linen as nn

from sgcl_jax import errors, skeletons
from sgcl_jax.models import agcn, blocks, ctrgcn, infogcn
from sgcl_jax.models.outputs import STREAMS, Outputs, apply_eval, apply_train
from sgcl_jax.settings import fields

__all__ = ["STREAMS", "Outputs", "adapt", "apply_eval", "apply_train", "create"]

BACKBONES = {"ctrgcn": ctrgcn, "agcn": agcn, "infogcn": infogcn}
MODULES = {
  "ctrgcn": blocks.TenBlocks,
  "agcn": blocks.TenBlocks,
  "infogcn": infogcn.InfoGcn,
}
# Fields of these modules that are no overrides.
INTERNAL = ("spatial", "temporal", "parent", "name")


def create(
  name: str,
  *,
  num_classes: int,
  skeleton: str | skeletons.Skeleton,
  num_persons: int,
  **overrides: Any,
) -> nn.Module:
  """Builds a backbone.

  A backbone of your own is a Flax module that keeps to these rules:

  * `__call__(x, train=False)`, `train` given by position, returns (logits,
    graph), in single precision at least.
  * It has a field `axis_name`, the axis of the replicas in training. Use
    `layers.BatchNorm` and `layers.Dropout` with it: flax's own would give each
    replica other statistics or all the same mask.
  * Its variables are in the collections `params`, `batch_stats` and `constants`
    (not trained); its random streams are `dropout` and `latent`.
  * It may sow `feature` [N, F] into `intermediates`, for
    `contrast.source=feature`.
  * Further fields are overrides: a config of your own adds them to
    `config.model`.
  * A function `adapt` beside it may change the overrides, see `adapt`.

  Args:
    name: One of `BACKBONES`, or `package.module:create` for your own; your
      function is called with the other arguments.
    num_classes: L.
    skeleton: A layout, or anything that `skeletons.get` takes.
    num_persons: M.
    **overrides: Further fields of the module; training sets `axis_name`.

  Returns:
    A module with `apply(variables, x [N, M, T, V, C], train) -> (logits [N, L],
    graph [N, S, V, V])`.

  Raises:
    ConfigError: If the name or an override is unknown.
  """
  module, function = _find(name)
  _check_overrides(name, overrides)
  given = {
    "num_classes": num_classes,
    "skeleton": skeletons.get(skeleton),
    "num_persons": num_persons,
    **overrides,
  }
  try:
    return getattr(module, function)(**given)
  except TypeError as error:
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if not found and error.__traceback__.tb_next is None:  # Of the call itself.
      raise errors.ConfigError(
        f"config.backbone={name!r} cannot be called with {', '.join(given)}"
        f" ({error})"
      ) from error
    if not found or found[1] not in given:
      raise  # A bug of the backbone: its traceback names file and line.
    key = f"config.model.{found[1]}" if found[1] in overrides else found[1]
    last = traceback.extract_tb(error.__traceback__)[-1]
    raise errors.ConfigError(
      f"backbone {name!r} takes no {key} ({last.filename}, line"
      f" {last.lineno}: {error})"
    ) from error


def _check_overrides(name, overrides):
  """Refuses fields that a backbone of this package does not have."""
  if name not in MODULES:
    return
  known = set(MODULES[name].__dataclass_fields__) - set(INTERNAL)
  for key in overrides:
    if key not in known:
      near = fields.suggest(
        f"model.{key}", [f"model.{k}" for k in sorted(known)]
      )
      raise errors.ConfigError(
        f"backbone {name!r} has no field config.model.{key}{near}"
      )


def adapt(
  name: str,
  *,
  modality: str,
  skeleton: skeletons.Skeleton,
  fields: dict[str, Any],
) -> tuple[dict[str, Any], str]:
  """Applies the rules of a backbone for its stream.

  The rules are the function `adapt` of the backbone's module, such as
  `infogcn.adapt`. It is optional, and takes the same arguments except `name`.

  Args:
    name: Name of the backbone, as for `create`.
    modality: Stream of the experiment.
    skeleton: Joint layout.
    fields: Overrides of the module.

  Returns:
    The overrides, and the modality that the transform has to make.

  Raises:
    ConfigError: If the fields and the modality contradict each other.
  """
  module, _ = _find(name)
  if not hasattr(module, "adapt"):
    return fields, modality
  return module.adapt(modality=modality, skeleton=skeleton, fields=fields)


def _find(name: str) -> tuple[ModuleType, str]:
  """Returns the module of a backbone and the function that creates it."""
  if name in BACKBONES:
    return BACKBONES[name], "create"
  path, _, function = name.partition(":")
  known = ", ".join(BACKBONES)
  remedy = f"known: {known}, or package.module:create for your own"
  unknown = f"config.backbone: unknown backbone {name!r}"
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as error:
    if not error.name or not path.startswith(error.name):
      raise  # An import within the user's module fails.
    raise errors.ConfigError(f"{unknown} ({error}); {remedy}") from error
  except (TypeError, ValueError) as error:  # A relative or an empty name.
    if path and not path.startswith("."):
      raise  # Of the user's module.
    raise errors.ConfigError(f"{unknown}; {remedy}") from error
  if not hasattr(module, function):
    raise errors.ConfigError(
      f"{unknown} ({path} has no {function!r}); {remedy}"
    )
  return module, function
