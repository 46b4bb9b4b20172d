# SPDX-License-Identifier: Apache-2.0
"""Converts as a data set was converted that exists already."""

import pathlib

from data_prep.clips import reader
from sgcl_jax import errors, input_pipeline, skeletons

# Key of the metadata that holds the options of a conversion.
METADATA = "conversion"
OPTIONS = ("max_persons", "empty_frames", "fill_gaps")


def describe(options: reader.Options) -> dict[str, int | str | None]:
  """Returns what the metadata store of a conversion's options."""
  return {name: getattr(options, name) for name in OPTIONS}


def read(data_dir: pathlib.Path) -> tuple[reader.Options, int]:
  """Returns the options of a data set's conversion, and its persons.

  Classes, layout, and the treatment of persons and of what is absent are those
  of the set. Clips that name no split are test clips.

  Raises:
    DataError: There is no data set of `data_prep.custom`.
  """
  class_names, metadata = input_pipeline.read_info(data_dir)
  if "layout" not in metadata:
    raise errors.DataError(
      f"--like {data_dir} holds no layout: it is no set of data_prep.custom"
    )
  options = reader.Options(
    layout=skeletons.get(metadata["layout"]),
    class_names=class_names,
    split="test",
    # Sets of older versions store none: these are the defaults.
    **metadata.get(METADATA, {}),
  )
  return options, input_pipeline.describe(data_dir)["num_persons"]
