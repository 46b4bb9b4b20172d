# SPDX-License-Identifier: Apache-2.0
"""Which raw files belong to NTU RGB+D 60 or 120, and where each goes."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

from data_prep import ntu, raw_files
from sgcl_jax import errors


@dataclasses.dataclass(frozen=True)
class RawSet:
  """What NTU RGB+D 60 and 120 differ in.

  Attributes:
    name: Of the data set, `ntu60`.
    title: For people.
    actions: [L] in label order.
    num_setups: Files of a later setup or action are of a larger set.
    protocols: `xsub` and the other one.
    get_cell: Name of a file -> `xsub_train_xview_test`.
    totals: Clips of each split of the complete set.
    lone_person: What the references put in the second slot of a lone person:
      `zeros`, or `repeat` for a copy.
  """

  name: str
  title: str
  actions: tuple[str, ...]
  num_setups: int
  protocols: tuple[str, str]
  get_cell: Callable[[ntu.Name], str]
  totals: dict[str, int]
  lone_person: str

  @property
  def num_clips(self) -> int:
    """Clips of the complete set."""
    return sum(count for split, count in self.totals.items() if "xsub" in split)

  @functools.cached_property
  def missing(self) -> frozenset[str]:
    """Names that the set's authors list as incomplete."""
    path = pathlib.Path(__file__).with_name(f"{self.name}_missing.txt")
    return frozenset(path.read_text().split())


@dataclasses.dataclass
class Found:
  """The raw files of a set.

  Attributes:
    files: By name.
    incomplete: Names left out because the authors list them as incomplete.
    num_others: Files of a larger set.
    num_copies: Further files of the same name and size.
    problems: What is wrong with other files.
  """

  files: dict[str, raw_files.RawFile] = dataclasses.field(default_factory=dict)
  incomplete: list[str] = dataclasses.field(default_factory=list)
  num_others: int = 0
  num_copies: int = 0
  problems: list[str] = dataclasses.field(default_factory=list)


def find(raw_set: RawSet, raws: Sequence[pathlib.Path]) -> Found:
  """Finds the raw files of a set.

  Args:
    raw_set: Which.
    raws: Directories and archives, see `raw_files.find`.

  Raises:
    DataError: There are none.
  """
  found = Found()
  for file in raw_files.find(raws):
    try:
      name = ntu.parse_name(file.stem)
    except errors.DataError as error:
      found.problems.append(f"{file}: {error}")
      continue
    if name.setup > raw_set.num_setups or name.action > len(raw_set.actions):
      found.num_others += 1
    elif file.stem in raw_set.missing:
      found.incomplete.append(file.stem)
    elif file.stem not in found.files:
      found.files[file.stem] = file
    elif file.size == found.files[file.stem].size:
      found.num_copies += 1  # Such as an archive beside its unpacked files.
    else:
      found.problems.append(
        f"{file}: another file of this name, after {found.files[file.stem]}"
      )
  if not found.files:
    raise errors.DataError(
      f"{', '.join(map(str, raws))} holds no {raw_files.SUFFIX} file of"
      f" {raw_set.title}: pass their directory or archive as --raw"
    )
  return found
