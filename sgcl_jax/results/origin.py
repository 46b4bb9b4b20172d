# SPDX-License-Identifier: Apache-2.0
"""Which config of `configs/` a run began with, and the fields that it set."""

import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from sgcl_jax import errors
from sgcl_jax.runs import workdir
from sgcl_jax.settings import config_file

# Fields that do not change the result, or have a column of their own. More
# epochs do change it.
IGNORED = (
  *(key for key in workdir.FREE_KEYS if key != "optim.num_epochs"),
  "contrast.variant",
  "data.modality",
  "data.split",
  "gcl",
  "matmul_precision",
  "preset",
  "seed",
)
# Open fields of a config, which a run fills from its data.
FILLED = ("num_classes", "num_persons", "skeleton")

MAX_LETTERS = 60  # Of a value.


def find(record: dict[str, Any], spec: str | None = None) -> tuple[str, str]:
  """Returns the name of a run's config and how the run differs from it.

  Configs change over time: what differs is meant relative to today's. An option
  after the colon (split, modality, contrast, preset) is no difference.

  Args:
    record: Config of the run.
    spec: The config, `FILE[:options]`; by default the one of `configs/` with
      the fewest differences.

  Returns:
    The name, and the differences as `key=value`, separated by spaces.
  """
  if spec is not None:
    file, _ = config_file.split(spec)
    candidates = [(pathlib.Path(file).stem, config_file.load(spec))]
  else:
    candidates = _list_candidates(record)
  found = [(name, _compare(record, config)) for name, config in candidates]
  name, differences = min(found, key=lambda item: len(item[1]))
  return name, " ".join(f"{k}={v}" for k, v in differences.items())


def _list_candidates(record) -> Iterator[tuple[str, Any]]:
  data = record["data"]
  options = {
    "split": data["split"],
    "modality": data["modality"],
    "gcl": str(record["gcl"]).lower(),
    "contrast": record["contrast"]["variant"],
    "preset": record.get("preset", "paper"),
  }
  for name in config_file.list_installed():
    # A config does not have all options.
    for absent in ((), ("preset",), ("split",), ("preset", "split")):
      used = [f"{k}={v}" for k, v in options.items() if k not in absent]
      try:
        config = config_file.load(f"{name}:{','.join(used)}")
      except errors.ConfigError:
        continue
      yield name, config
      break


def _compare(record, config):
  """Returns the fields of a run that a config sets otherwise."""
  run = workdir.flatten(record)
  default = config.copy_and_resolve_references().to_dict()
  default = workdir.flatten(json.loads(json.dumps(default)))
  differences = {}
  for key, value in sorted(run.items()):
    same = key in default and default[key] == value
    unused = key.startswith("contrast.") and not record["gcl"]
    filled = key in FILLED and default.get(key) is None
    if not (same or unused or filled or key in IGNORED):
      differences[key] = _format(value)
  return differences


def _format(value):
  """Returns a text without spaces; a digest of a long one, such as a layout."""
  text = json.dumps(value, separators=(",", ":")).strip('"')
  if len(text) > MAX_LETTERS or " " in text:
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:8]}"
  return text
