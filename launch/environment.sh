# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: goes to the project's root, makes .venv if it is
# not there, and installs the project, with the extra $1 if it is given.
# PYTHON=... chooses the interpreter.

# Huge pages also for what does not fit into the heap that sgcl_jax/machine.py
# sets up: blocks of more than 1 GiB, as in large batches of NTU RGB+D.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11, 3.12 or 3.13 with venv found; install one, or" \
    "name it: PYTHON=/path/to/python bash $0" >&2
  return 1
}

install_project() {
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    local python
    python="$(find_python)" || return 1
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || return 1
  fi
  # Only when something changed: pip takes seconds even if all is there.
  local stamp=".venv/installed-${1:-}"
  if [ ! -e "$stamp" ] || [ setup.py -nt "$stamp" ]; then
    echo "installing (about 2.5 GB on disk, a minute or two)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --editable ".${1:+[$1]}" || return 1
    touch "$stamp"
  fi
}
