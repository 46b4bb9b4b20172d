# SPDX-License-Identifier: Apache-2.0
"""A backbone that compiles in a second, plugged in as a user would do it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from sgcl_jax import skeletons
from sgcl_jax.models import layers


class Tiny(nn.Module):
  """One dense layer, and products of joints as the graph."""

  num_classes: int
  skeleton: skeletons.Skeleton
  num_persons: int
  axis_name: str | None = None
  sows: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False):
    norm = layers.BatchNorm(train=train, axis_name=self.axis_name)
    x = norm(nn.Dense(8)(x))  # [N, M, T, V, F]
    joints = jnp.tanh(x.mean(axis=(1, 2)))
    graph = jnp.einsum("nuf,nvf->nuv", joints, joints)[:, None]
    moments = x.mean((1, 2, 3)), jnp.square(x).mean((1, 2, 3))
    feature = jnp.concatenate(moments, axis=-1)
    if self.sows:
      self.sow("intermediates", "feature", feature)
    return nn.Dense(self.num_classes)(feature), graph


def create(**fields) -> nn.Module:
  return Tiny(**fields)


def create_featureless(**fields) -> nn.Module:
  return Tiny(sows=False, **fields)


class Blocks(Tiny):
  """The tiny backbone with fields of the shipped ones."""

  graph_block: int = 9
  width: int = 64
  sizes: tuple[int, ...] = (1, 2)


def create_blocks(**fields) -> nn.Module:
  return Blocks(**fields)


class Deaf(Tiny):
  """The same with a classifier of one size, whatever the classes."""

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False):
    logits = nn.Dense(10)(x.mean((1, 2, 3)))
    return logits, jnp.ones((len(x), 1, 20, 20))


def create_deaf(**fields) -> nn.Module:
  return Deaf(**fields)
