# SPDX-License-Identifier: Apache-2.0
"""Reads the weights in a PyTorch file; never runs code from the file."""

import os
import re
import warnings

import numpy as np

from sgcl_jax import errors
from sgcl_jax.terminal import wording

# The words in which torch.load names an object that it refuses to make.
_REFUSED = re.compile(r"GLOBAL (\S+)")
_ADVICE = "save the weights alone: torch.save(model.state_dict(), FILE)"

# Keys under which training scripts store the state dict beside other values.
WRAPPERS = ("state_dict", "model_state_dict", "model")


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the state dict of a `.pt` or `.pth` file.

  Args:
    path: A file written by `torch.save`, also by PyTorch 1.5 or older.

  Returns:
    Arrays under their names in the file; bfloat16 becomes float32.

  Raises:
    CheckpointError: If PyTorch is not installed, or if the file is damaged,
      holds objects other than tensors, numbers and containers, or holds no
      state dict.
  """
  try:
    import torch  # Late: an extra that nothing else needs.
  except ImportError as error:
    raise errors.CheckpointError(
      'reading PyTorch files needs PyTorch: pip install -e ".[torch]"'
    ) from error
  with open(path, "rb") as file, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Mistakes are raised below.
    try:
      content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # From torch, pickle or zipfile.
      reason = _summarise(error)
      raise errors.CheckpointError(
        f"{path} cannot be read: {reason}"
      ) from error
  for wrapper in WRAPPERS:
    if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
      content = content[wrapper]
  if (
    not isinstance(content, dict)
    or not content
    or not all(isinstance(value, torch.Tensor) for value in content.values())
  ):
    raise errors.CheckpointError(f"{path} holds no state dict")
  return {key: _to_numpy(torch, value) for key, value in content.items()}


def _to_numpy(torch, tensor):
  if tensor.dtype == torch.bfloat16:  # Unknown to NumPy.
    tensor = tensor.float()
  return tensor.detach().numpy()


def _summarise(error):
  """Returns the reason in one line, without torch's advice to run the file."""
  error = error.__context__ or error  # torch wraps the reason in its advice.
  text = wording.in_one_line(error)
  refused = _REFUSED.search(text)
  if refused:
    return (
      f"it holds {refused[1]}, which is not a tensor, number or container;"
      f" {_ADVICE}"
    )
  if "TorchScript" in text:
    return f"it is a TorchScript archive; {_ADVICE}"
  reason = text.partition(". ")[0]
  return f"it is damaged or not a PyTorch file ({reason})"
