# SPDX-License-Identifier: Apache-2.0
"""Which kind of device JAX would use; found without importing JAX."""

import importlib.util


def is_cpu_alone(platforms: str | None) -> bool:
  """Tells whether JAX runs on CPU: by setting, or without other plugins.

  Args:
    platforms: JAX's setting, such as `JAX_PLATFORMS`; None if there is none.
  """
  return platforms == "cpu" or not any(
    importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu")
  )
