# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the converters of NTU RGB+D."""

import pytest

from tests.data_prep.ntu import conversion


@pytest.fixture
def raw(tmp_path):
  """A directory of four raw files."""
  conversion.write_raw(tmp_path / "raw")
  return tmp_path / "raw"
