# SPDX-License-Identifier: Apache-2.0
"""Backbones: `create` builds one by name."""

import importlib
from typing import Any

from flax import linen as nn

from sgcl_jax import errors, skeletons
from sgcl_jax.models import agcn, ctrgcn, infogcn

BACKBONES = {
  "ctrgcn": ctrgcn.create,
  "agcn": agcn.create,
  "infogcn": infogcn.create,
}


def create(
  name: str,
  *,
  num_classes: int,
  skeleton: str | skeletons.Skeleton,
  num_persons: int,
  **overrides: Any,
) -> nn.Module:
  """Builds a backbone.

  Args:
    name: One of `BACKBONES`, or `package.module:create` for one's own, which is
      called with the same arguments.
    num_classes: L.
    skeleton: A layout or its name.
    num_persons: M.
    **overrides: Further fields of the module. Training sets `axis_name`, the
      axis of the replicas, which `layers.BatchNorm` needs.

  Returns:
    A module with `apply(variables, x [N, M, T, V, C], train) -> (logits [N, L],
    graph [N, S, V, V])`.

  Raises:
    ConfigError: If the name or an override is unknown.
  """
  try:
    return _factory(name)(
      num_classes=num_classes,
      skeleton=skeletons.get(skeleton),
      num_persons=num_persons,
      **overrides,
    )
  except TypeError as error:
    raise errors.ConfigError(f"backbone {name!r}: {error}") from error


def _factory(name):
  if name in BACKBONES:
    return BACKBONES[name]
  module, _, function = name.partition(":")
  try:
    return getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError, ValueError) as error:
    raise errors.ConfigError(
      f"unknown backbone {name!r} ({error}); known: {', '.join(BACKBONES)}, or"
      " package.module:create for your own"
    ) from error
