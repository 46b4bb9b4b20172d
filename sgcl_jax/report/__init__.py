# SPDX-License-Identifier: Apache-2.0
"""The paper's diagnostics and figures of a run, as a page and as files."""
