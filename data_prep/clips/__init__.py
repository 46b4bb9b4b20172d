# SPDX-License-Identifier: Apache-2.0
"""The conversion of your own skeletons, see docs/CUSTOM_DATA.md."""
