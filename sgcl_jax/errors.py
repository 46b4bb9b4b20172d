# SPDX-License-Identifier: Apache-2.0
"""The mistakes that a command reports without a traceback (`command.py`)."""


class UserError(ValueError):
  """A mistake that the user can correct; the message says how."""


class ConfigError(UserError):
  """A value that no run can use."""


class DataError(UserError):
  """A data set that is missing, damaged or of another layout."""


class MisfitError(DataError):
  """A good data set, but not one for this config."""


class ContrastError(UserError):
  """A contrast that would stay inactive for a whole training."""


class WorkdirError(UserError):
  """A directory that holds another run, or none."""


class CheckpointError(UserError):
  """A checkpoint that is missing, damaged or of another model."""


class HostsError(UserError):
  """Processes of a run that do not find each other, or one that is lost."""


class TrainingError(UserError):
  """A run that cannot go on."""


class DiskError(UserError):
  """A file that could not be written."""
