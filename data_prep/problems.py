# SPDX-License-Identifier: Apache-2.0
"""Broken files, in a message and in the report of a conversion."""

import collections
from collections.abc import Iterable, Sequence

# The file beside the records that lists everything.
REPORT = "report.json"
# How many broken files are printed; all are in the report.
NUM_SHOWN = 20


def describe(
  broken: Sequence[str],
  rest: str = ", nothing was written",
  details: str = "",
  what: str = "file",
) -> str:
  """Returns the message that refuses broken files.

  Args:
    broken: A line for each.
    rest: What became of the others.
    details: Where to find all lines, if there are more than `NUM_SHOWN`.
    what: What is broken, in the singular.
  """
  count = len(broken)
  subject = f"1 {what} is" if count == 1 else f"{count} {what}s are"
  text = "\n  ".join([f"{subject} broken{rest}:", *broken[:NUM_SHOWN]])
  if len(broken) > NUM_SHOWN:
    text += f"\n  and {len(broken) - NUM_SHOWN} more{details}"
  return text


def count_notes(notes: Iterable[Sequence[str]]) -> dict[str, int]:
  """Counts clips by note, ignoring the numbers in the notes.

  Args:
    notes: The notes of each clip.
  """
  counts = collections.Counter()
  for lines in notes:
    counts.update(
      {" ".join(w for w in line.split() if not w.isdigit()) for line in lines}
    )
  return counts
