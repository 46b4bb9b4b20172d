# SPDX-License-Identifier: Apache-2.0
"""What the converters of NTU RGB+D 60 and 120 share."""
