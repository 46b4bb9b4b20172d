# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the other scripts: goes to the project's root, makes .venv if it is
# not there, and installs the project, with the extra $1 if it is given.
# PYTHON=... chooses the interpreter.

# Preloads jemalloc where it is installed, and lets it keep freed memory in huge
# pages: docs/notes/allocator.md. Settings of the caller's own stay.
preload_jemalloc() {
  local library
  if [ "$(uname -s)" != Linux ] || [ -n "${LD_PRELOAD:-}" ]; then return; fi
  for library in "/usr/lib/$(uname -m)-linux-gnu" /usr/lib64 /usr/lib \
    /usr/local/lib; do
    library="$library/libjemalloc.so.2"
    if [ -e "$library" ]; then
      export LD_PRELOAD="$library"
      local keep=thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1
      export MALLOC_CONF="${MALLOC_CONF:-$keep}"
      return
    fi
  done
}
# Not for the tests: a process of theirs runs many programs, and would keep the
# memory of each.
[ "${0##*/}" = test.sh ] || preload_jemalloc
# Without jemalloc: huge pages also outside the heap that
# sgcl_jax/devices/glibc.py sets up. Blocks of more than 1 GiB are there, as in
# large batches of NTU RGB+D.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

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
    echo "installing (1 GB on disk, 2.5 GB with the tests' packages; a minute or two)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --editable ".${1:+[$1]}" || return 1
    touch "$stamp"
  fi
}
