# SPDX-License-Identifier: Apache-2.0
"""Converts as a data set was converted that exists already."""

import pathlib
from collections.abc import Mapping
from typing import Any

from data_prep.clips import reader
from sgcl_jax import errors, input_pipeline, skeletons
from sgcl_jax.terminal import wording

# Key of the metadata that holds the options of a conversion.
METADATA = "conversion"
OPTIONS = ("drop_unseen", "max_persons", "empty_frames", "fill_gaps", "unit")


def describe(options: reader.Options) -> dict[str, bool | int | str | None]:
  """Returns what the metadata store of a conversion's options."""
  return {name: getattr(options, name) for name in OPTIONS}


def make_options(
  layout: skeletons.Skeleton,
  metadata: Mapping[str, Any],
  source: str,
  **more: Any,
) -> reader.Options:
  """Returns the options of a conversion that metadata store.

  Args:
    layout: Joints of the clips.
    metadata: Those of a data set. Options that an older one does not store have
      their defaults.
    source: What the metadata are of, for messages.
    **more: Further options.

  Raises:
    DataError: It stores options that this version does not have.
  """
  found = metadata.get(METADATA, {})
  if not isinstance(found, Mapping) or not found.keys() <= set(OPTIONS):
    raise errors.DataError(
      f"{source} stores options of another version: {wording.quote(found)};"
      f" this one has {', '.join(OPTIONS)}"
    )
  return reader.Options(layout, **found, **more)


def read(data_dir: pathlib.Path) -> tuple[reader.Options, int]:
  """Returns the options of a data set's conversion, and its persons.

  Classes, layout, and the treatment of persons and of what is absent are those
  of the set. Clips that name no split are test clips.

  Raises:
    DataError: There is no data set, or it was converted in another way than
      `reader.prepare` does.
  """
  class_names, metadata = input_pipeline.read_info(data_dir)
  # Sets of data_prep.custom of older versions store no options, but no
  # `lone_person` either.
  is_older = METADATA not in metadata and "lone_person" not in metadata
  if "layout" not in metadata or not (METADATA in metadata or is_older):
    raise errors.DataError(
      f"--like {data_dir} stores no options of data_prep.custom: use the"
      " converter of that set, or pass --layout"
    )
  options = make_options(
    skeletons.get(metadata["layout"]),
    metadata,
    f"--like {data_dir}",
    class_names=class_names,
    split="test",
  )
  return options, input_pipeline.describe(data_dir)["num_persons"]
