# SPDX-License-Identifier: Apache-2.0
"""Backbones: `create` builds one by name."""

import importlib
from typing import Any

from flax import linen as nn

from sgcl_jax import skeletons
from sgcl_jax.models import ctrgcn

BACKBONES = {"ctrgcn": ctrgcn.CtrGcn}


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
    **overrides: Further fields of the module.

  Returns:
    A module with `apply(variables, x [N, M, T, V, C], train) -> (logits [N, L],
    graph [N, S, V, V])`.

  Raises:
    ValueError: If the name or an override is unknown.
  """
  if ":" in name:
    module, function = name.split(":")
    factory = getattr(importlib.import_module(module), function)
  elif name in BACKBONES:
    factory = BACKBONES[name]
  else:
    raise ValueError(
      f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}, or"
      " package.module:create for your own"
    )
  try:
    return factory(
      num_classes=num_classes,
      skeleton=skeletons.get(skeleton),
      num_persons=num_persons,
      **overrides,
    )
  except TypeError as error:
    raise ValueError(f"backbone {name!r}: {error}") from error
