# SPDX-License-Identifier: Apache-2.0
"""What a command reads from and shows on a terminal."""
