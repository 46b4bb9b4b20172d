# SPDX-License-Identifier: Apache-2.0
"""Which raw files belong to NTU RGB+D 60 or 120, and to which cell."""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

from data_prep.ntu import raw_files, skeleton_file
from sgcl_jax import errors


@dataclasses.dataclass(frozen=True)
class RawSet:
  """The differences between NTU RGB+D 60 and 120.

  Attributes:
    name: Name of the data set, `ntu60`.
    title: Name in messages.
    actions: [L] in label order.
    num_setups: Files of a later setup or action belong to a larger set.
    protocols: `xsub` and the other one.
    get_cell: Name of a file -> its cell, see `splits.make_cell`.
    totals: Number of clips in each split of the complete set.
    lone_person: What the references put in the second slot of a lone person:
      `zeros`, or `repeat` for a copy.
  """

  name: str
  title: str
  actions: tuple[str, ...]
  num_setups: int
  protocols: tuple[str, str]
  get_cell: Callable[[skeleton_file.Name], str]
  totals: dict[str, int]
  lone_person: str

  @property
  def num_clips(self) -> int:
    """Number of clips in the complete set."""
    protocol = self.protocols[0]
    return self.totals[f"{protocol}_train"] + self.totals[f"{protocol}_test"]

  @functools.cached_property
  def missing(self) -> frozenset[str]:
    """Names that the set's authors list as incomplete."""
    path = pathlib.Path(__file__).with_name(f"{self.name}_missing.txt")
    return frozenset(path.read_text(encoding="utf-8").split())


@dataclasses.dataclass
class Found:
  """The raw files of a set.

  Attributes:
    files: By name.
    incomplete: Names left out because the authors list them as incomplete.
    num_others: Number of files of a larger set.
    num_copies: Number of further files of the same name and size.
    passed: Files that were passed over by their names, by kind.
    problems: A line for each broken file.
  """

  files: dict[str, raw_files.RawFile] = dataclasses.field(default_factory=dict)
  incomplete: list[str] = dataclasses.field(default_factory=list)
  num_others: int = 0
  num_copies: int = 0
  passed: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  problems: list[str] = dataclasses.field(default_factory=list)


def find(wanted: RawSet, raws: Sequence[pathlib.Path]) -> Found:
  """Finds the raw files of a set.

  Args:
    wanted: NTU RGB+D 60 or 120.
    raws: Directories and archives, see `raw_files.find`.

  Raises:
    DataError: There are none.
  """
  found = Found()
  for file in raw_files.find(raws, found.passed):
    try:
      name = skeleton_file.parse_name(file.stem)
    except errors.DataError as error:
      found.problems.append(f"{file}: {error}")
      continue
    if name.setup > wanted.num_setups or name.action > len(wanted.actions):
      found.num_others += 1
    elif file.stem in wanted.missing:
      found.incomplete.append(file.stem)
    elif file.stem not in found.files:
      found.files[file.stem] = file
    elif file.size == found.files[file.stem].size:
      found.num_copies += 1  # Often an archive beside its unpacked files.
    else:
      found.problems.append(
        f"{file}: another file of this name, after {found.files[file.stem]}"
      )
  if not found.files:
    raise errors.DataError(
      f"{', '.join(map(str, raws))} holds no {raw_files.SUFFIX} file of"
      f" {wanted.title}: pass their directory or archive as --raw"
    )
  return found
