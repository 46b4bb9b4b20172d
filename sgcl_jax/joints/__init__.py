# SPDX-License-Identifier: Apache-2.0
"""Joint layouts: those with a name, and the files that describe one."""
