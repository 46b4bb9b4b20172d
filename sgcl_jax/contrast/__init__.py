# SPDX-License-Identifier: Apache-2.0
"""The contrast between clips' joint graphs (paper Sec. 3.2 and 3.3).

Each kind is a value (`base.Contrast`) of pure functions without collectives, so
it can be used in any training loop.
"""
