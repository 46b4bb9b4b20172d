# SPDX-License-Identifier: Apache-2.0
"""What `data_prep.check` measures, judges and draws."""
