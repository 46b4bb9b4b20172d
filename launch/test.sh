#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the linter and the test suite in .venv. Arguments go to pytest; --slow
# adds the tests marked slow.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
install_project test

.venv/bin/ruff format --check --quiet . || {
  echo "error: run .venv/bin/ruff format ." >&2
  exit 1
}
.venv/bin/ruff check --quiet .
# Two processes: compilation, most of the time, does not use several cores. More
# would need more memory than a small machine has. The one that finishes first
# takes over tests of the other.
exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
