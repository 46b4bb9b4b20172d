# SPDX-License-Identifier: Apache-2.0
"""Which clips a run was trained and evaluated on; which clips fit its model."""

import json
import os
import pathlib
from typing import Any

from sgcl_jax import errors, experiment, input_pipeline, skeletons
from sgcl_jax.dataset import splits
from sgcl_jax.runs import workdir

# Results on other data than the run's own test clips, below the workdir.
EVALUATIONS = "evaluations"
KINDS = {False: "bodies as recorded", True: "aligned bodies"}


def describe_test(
  parts: experiment.Experiment, clips: input_pipeline.Clips
) -> dict[str, str]:
  """Returns `dir`, `split` and `digest` of the test clips."""
  return {
    "dir": parts.source.data_dir,
    "split": parts.source.test_split,
    "digest": clips.digest(content=True),
  }


def describe_inputs(parts: experiment.Experiment) -> dict[str, Any]:
  """Returns the fields of the config that an evaluation must share."""
  fields = workdir.flatten(parts.record)
  return {key: fields[key] for key in workdir.EVALUATION_KEYS}


def check(
  metadata: dict[str, Any],
  parts: experiment.Experiment,
  clips: input_pipeline.Clips,
  directory: str | os.PathLike,
) -> None:
  """Refuses test clips of another kind than the training clips.

  Args:
    metadata: Metadata of the checkpoint.
    parts: Parts of the evaluation.
    clips: Clips to evaluate.
    directory: Workdir of the run.

  Raises:
    WorkdirError: Names what differs.
  """
  trained = metadata.get("inputs")
  if trained is not None:
    _check_fields(trained, describe_inputs(parts), directory)
  elif "imported_from" not in metadata:  # A run of an older version.
    workdir.check_evaluation(parts.record, directory)
  if "prepared" in metadata:
    _check_data(metadata["prepared"], clips, parts.source.data_dir, directory)
  # Imported weights and older runs store no class list.
  classes = tuple(metadata.get("classes", clips.class_names))
  if classes != clips.class_names:
    raise errors.WorkdirError(
      f"{directory} was trained on other classes than {parts.source.data_dir}"
      f" has: {', '.join(classes)}, not {', '.join(clips.class_names)}"
    )


def find_place(
  metadata: dict[str, Any],
  parts: experiment.Experiment,
  test: dict[str, str],
  directory: str | os.PathLike,
) -> pathlib.Path:
  """Returns the directory for the scores and the summary of an evaluation.

  This is the workdir for the run's own test clips, wherever they are now, and
  otherwise a directory below `evaluations/`. Imported weights have no test
  clips of their own: the first that they are evaluated on become these.

  Args:
    metadata: Metadata of the checkpoint.
    parts: Parts of the evaluation.
    test: The test clips, see `describe_test`.
    directory: Workdir of the run.
  """
  directory = pathlib.Path(directory)
  if _is_own(metadata, test, directory):
    return directory
  name = pathlib.Path(os.path.abspath(test["dir"])).name
  modality = parts.record["data"]["modality"]
  tag = f"{name}_{test['split']}_{modality}_{test['digest'][:8]}"
  return directory / EVALUATIONS / tag


def _is_own(metadata, test, directory):
  if "test" in metadata:
    return metadata["test"]["digest"] == test["digest"]
  summary = workdir.read_summary(directory)
  if "data" in summary:
    return summary["data"]["digest"] == test["digest"]
  if not summary:
    return True
  # The summary of an older version.
  return workdir.read_config(directory)["data"]["dir"] == test["dir"]


def _check_fields(trained, given, directory):
  for key, value in trained.items():
    # Splits of one protocol share no clips: the result has its own place.
    is_split = key == "data.test_split"
    if is_split and splits.get_protocol(value) == splits.get_protocol(
      given[key]
    ):
      continue
    if value != given[key]:
      raise errors.WorkdirError(
        f"{directory} holds a run with config.{key}={value!r}, not"
        f" {given[key]!r}; use another --workdir or that value"
      )


def _check_data(trained, clips, data_dir, directory):
  kinds = [KINDS[bool(x.get("aligned"))] for x in (trained, clips.metadata)]
  if kinds[0] != kinds[1]:
    raise errors.WorkdirError(
      f"{directory} was trained on {kinds[0]}, but {data_dir} holds {kinds[1]};"
      " evaluate it on the same kind"
    )
  layouts = [x.get("layout") for x in (trained, clips.metadata)]
  if None in layouts:
    return  # NTU RGB+D or NW-UCLA; the number of joints has been compared.
  ours, theirs = (json.loads(skeletons.get(x).to_json()) for x in layouts)
  for key in sorted(ours.keys() - {"name"}):
    if ours[key] != theirs[key]:
      raise errors.WorkdirError(
        f"{directory} was trained on another joint layout than {data_dir} has:"
        f" their {key} differ"
      )
