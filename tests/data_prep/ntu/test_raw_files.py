# SPDX-License-Identifier: Apache-2.0
"""Tests of finding and reading raw files; test_convert.py has archives."""

from data_prep.ntu import raw_files


def test_a_raw_file_is_named_with_its_archive():
  file = raw_files.RawFile("a.zip", "x/S001C001P001R001A060.skeleton", 1, 2)
  assert str(file) == "a.zip/x/S001C001P001R001A060.skeleton"
  assert file.stem == "S001C001P001R001A060"
