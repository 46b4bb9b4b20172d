# SPDX-License-Identifier: Apache-2.0
"""The contrast between clips' joint graphs (paper Sec. 3.2 and 3.3).

Each kind is a value of two functions (`base.Contrast`), which holds no
collective and can be used in any training loop.
"""
