# SPDX-License-Identifier: Apache-2.0
"""The types of mistakes that a command answers in one line (`command.py`)."""


class UserError(ValueError):
  """Something that the user can put right; its text says how."""


class ConfigError(UserError):
  """A value that no run can use."""


class DataError(UserError):
  """A data set that is missing, damaged or of another layout."""


class ContrastError(UserError):
  """A contrast that would be off for a whole training."""


class WorkdirError(UserError):
  """A directory that holds another run."""


class CheckpointError(UserError):
  """A checkpoint that is missing, damaged or of another model."""


class TrainingError(UserError):
  """A run that cannot go on."""
