# SPDX-License-Identifier: Apache-2.0
"""The unit of 2D coordinates, if a data set is scaled by its images."""

from typing import Any

import numpy as np

from sgcl_jax import errors
from sgcl_jax.terminal import wording

# y from 0 to 2, whatever the size of the image.
HALF_HEIGHT = "half of the image's height"
# Coordinates beyond this many halves are taken for pixels.
LARGEST = 16.0


def scale(skeleton: np.ndarray, unit: str | None, img_shape: Any) -> np.ndarray:
  """Brings a clip to the unit of a data set.

  Args:
    skeleton: [T, M, V, 3] with x, y and a score, NaN where a joint is absent.
    unit: `HALF_HEIGHT`; None if the clips keep their unit.
    img_shape: Height and width of the image in the clip's unit; None if the
      clip has the unit of the data set.

  Returns:
    [T, M, V, 3].

  Raises:
    DataError: `img_shape` is not usable, or is missing for a clip in pixels.
  """
  if unit != HALF_HEIGHT:
    return skeleton
  if img_shape is not None:
    scaled = skeleton.copy()
    scaled[..., :2] /= find_height(img_shape) / 2
    return scaled
  place = np.nan_to_num(skeleton[..., :2], nan=0.0)
  if np.abs(place).max() > LARGEST:
    raise errors.DataError(
      f"x or y reach {np.abs(place).max():g}, but the unit of the data set is"
      f" {HALF_HEIGHT}: add img_shape [height, width], or divide x and y by"
      " half of the height"
    )
  return skeleton


def find_height(img_shape: Any) -> float:
  """Returns the height of an image, the first number of its `img_shape`.

  Raises:
    DataError: The value is not (height, width).
  """
  try:
    height, width = (float(size) for size in img_shape)
  except (TypeError, ValueError):
    height = width = 0.0
  if not (0 < height < np.inf and 0 < width < np.inf):
    raise errors.DataError(
      f"img_shape is {wording.quote(img_shape)}, not (height, width)"
    )
  return height
