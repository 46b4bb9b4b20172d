# SPDX-License-Identifier: Apache-2.0
"""Checks the keys of a layout file; docs/CUSTOM_DATA.md describes them."""

from typing import Any

from sgcl_jax import errors
from sgcl_jax.joints import bones
from sgcl_jax.terminal import wording

# What each key holds, for messages; those of OPTIONAL may be left out.
KEYS = {
  "name": "of the layout",
  "joints": "in the order of the data; or base, a layout by name",
  "bones": "pairs of joints",
  "center": "the joint that is the origin, or several",
  "dimensions": "3 for x, y, z; 2 for x, y, with or without a score",
}
OPTIONAL = ("root", "computed", "keep")


def read_fields(content: Any) -> dict[str, Any]:
  """Returns the fields of a `skeletons.Skeleton`.

  Args:
    content: The object of a layout file, without `base`.

  Raises:
    ConfigError: If a key is missing, unknown or of a wrong value, or if the
      bones do not make one tree.
  """
  _check_keys(content)
  recorded = _read_names(content, "joints")
  computed = _read_computed(content.get("computed", {}), recorded)
  known = (*recorded, *computed)
  joints = _read_names(content, "keep", known) if "keep" in content else known
  center = _read_names(content, "center", joints)
  root = None
  if "root" in content:
    (root,) = _read_names({"root": [content["root"]]}, "root", joints)
  parents = bones.find_parents(
    _read_bones(content["bones"], known), joints, center[0], root
  )
  where = {joint: (recorded.index(joint),) for joint in recorded}
  for joint, sources in computed.items():
    where[joint] = tuple(map(recorded.index, sources))
  derived = joints != recorded
  return {
    "name": _read_name(content["name"], "name"),
    "joints": joints,
    "parents": tuple(joints.index(parents[joint]) for joint in joints),
    "center": tuple(map(joints.index, center)),
    "dimensions": _read_dimensions(content["dimensions"]),
    "recorded": recorded if derived else (),
    "parts": tuple(where[joint] for joint in joints) if derived else (),
  }


def _check_keys(content):
  if not isinstance(content, dict):
    raise errors.ConfigError("a layout is a JSON object, {...}")
  known = (*KEYS, "base", *OPTIONAL)
  for key in content:
    if key not in known:
      raise errors.ConfigError(
        f"unknown key {wording.quote(key)}; known: {', '.join(known)}"
      )
  for key, text in KEYS.items():
    if content.get(key) is None:
      raise errors.ConfigError(f"{key} is missing ({text})")


def _read_name(value, key):
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)  # Joints may be numbered.
  if not isinstance(value, str) or not value.strip() or not value.isprintable():
    raise errors.ConfigError(
      f"{key} holds {wording.quote(value)}, which is no name"
    )
  return value


def _read_names(content, key, known=None):
  """Returns a list of different names, or one name, as a tuple."""
  values = content[key]
  if not isinstance(values, list):
    if key != "center":
      raise errors.ConfigError(
        f"{key} is {wording.quote(values)}, not a list of names"
      )
    values = [values]
  if not values:
    raise errors.ConfigError(f"{key} is empty")
  names = tuple(_read_name(value, key) for value in values)
  for name in names:
    if names.count(name) > 1:
      raise errors.ConfigError(f"{wording.quote(name)} is named twice in {key}")
    if known is not None and name not in known:
      kept = " that are kept" if key in ("center", "root") else ""
      raise errors.ConfigError(
        f"{wording.quote(name)} in {key} is not one of the joints{kept}"
      )
  return names


def _read_computed(content, recorded):
  if not isinstance(content, dict):
    raise errors.ConfigError(
      f"computed is {wording.quote(content)}, not an object of joints and their"
      " sources"
    )
  for joint in content:
    if _read_name(joint, "computed") in recorded:
      raise errors.ConfigError(
        f"{wording.quote(joint)} in computed is one of the joints"
      )
  return {joint: _read_names(content, joint, recorded) for joint in content}


def _read_bones(values, known):
  if not isinstance(values, list):
    raise errors.ConfigError(
      f"bones is {wording.quote(values)}, not a list of pairs"
    )
  for value in values:
    if not isinstance(value, list) or len(value) != 2:
      raise errors.ConfigError(
        f"bones holds {wording.quote(value)}, not a pair of joints"
      )
  return [_read_names({"bones": value}, "bones", known) for value in values]


def _read_dimensions(value):
  if isinstance(value, bool) or value not in (2, 3):
    raise errors.ConfigError(
      f"dimensions is {wording.quote(value)}, not 2 or 3"
    )
  return int(value)
