#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains on all workers of a Cloud TPU pod slice, from a machine with gcloud:
#   bash launch/tpu_pod.sh TPU ZONE CONFIG WORKDIR [flags]
# CONFIG and the flags are those of sgcl_jax.main. Data and WORKDIR must be on a
# disk that all workers mount. Variables (docs/MANY_DEVICES.md has an example):
#   TPU_SETUP   a command that each worker runs first, such as that mount
#   TPU_CREATE  options of `gcloud compute tpus tpu-vm create`; with them the
#               TPU is made if it is not there, and again after a preemption
#   TPU_WAIT    seconds between two looks at a TPU that is not ready (60)
set -euo pipefail

fail() {
  echo "error: $1" >&2
  exit 1
}
[ $# -ge 4 ] || fail "usage: bash $0 TPU ZONE CONFIG WORKDIR [flags of \
sgcl_jax.main]"
tpu=$1 zone=$2 config=$3 workdir=$4
shift 4
[[ $workdir == /* ]] || fail "WORKDIR $workdir must be a path from / on, on a \
disk that all workers mount"
cd "$(dirname "$0")/.."
archive=$(mktemp -d)/sgcl_jax.tar.gz
trap 'rm -rf "$(dirname "$archive")"' EXIT

tpus() { gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$zone" --quiet; }

# Prints READY, PREEMPTED or another state of the API, or nothing.
find_state() {
  local list
  list=$(tpus list --format="value(name.basename(),state)") || return
  awk -v name="$tpu" '$1 == name { print $2 }' <<<"$list"
}

# Runs a command in bash on all workers.
on_workers() {
  tpus ssh "$tpu" --worker=all --command="bash -c $(printf %q "$1")"
}

# Returns when the TPU is ready. $1: whether it may be out of stock for a while.
make_ready() {
  local state
  while :; do
    state=$(find_state) || fail "gcloud cannot list the TPUs of $zone"
    case $state in
      READY) return ;;
      CREATING | STARTING | RESTARTING | REIMAGING | REPAIRING | DELETING)
        echo "TPU $tpu: $state"
        sleep "${TPU_WAIT:-60}"
        continue
        ;;
      PREEMPTED | TERMINATED | "")
        [ -n "${TPU_CREATE:-}" ] || fail "TPU $tpu in $zone is \
${state:-not there}: create it, or set TPU_CREATE (see $0); the same command \
then goes on where the run was saved"
        ;;
      *) fail "TPU $tpu in $zone is $state; start it first" ;;
    esac
    [ -z "$state" ] || tpus delete "$tpu"
    echo "creating TPU $tpu"
    # Several words: its options.
    # shellcheck disable=SC2086
    tpus create "$tpu" $TPU_CREATE && continue
    [ "$1" = again ] || fail "TPU $tpu was not created"
    sleep "${TPU_WAIT:-60}"
  done
}

# Copies the project and installs it; quick if a worker has it already.
prepare() {
  on_workers "${TPU_SETUP:-true}" &&
    tar --exclude=./.venv --exclude=./data --exclude=./runs -czf "$archive" . &&
    tpus scp "$archive" "$tpu:" --worker=all &&
    on_workers "mkdir -p sgcl_jax && tar -xzf sgcl_jax.tar.gz -C sgcl_jax &&
      cd sgcl_jax && source launch/environment.sh && install_project tpu"
}

command="cd sgcl_jax && source launch/environment.sh && PYTHONUNBUFFERED=1 \
exec .venv/bin/python -m sgcl_jax.main --coordinator=auto$(printf ' %q' \
  "--config=$config" "--workdir=$workdir" "$@")"
make_ready first
while :; do
  code=0
  { prepare && on_workers "$command"; } || code=$?
  [ "$code" != 0 ] || exit 0
  echo "ended with $code; looks whether TPU $tpu is preempted" >&2
  sleep "${TPU_WAIT:-60}" # The state follows the machines with a delay.
  state=$(find_state) || fail "gcloud cannot list the TPUs of $zone"
  if [ "$state" = READY ]; then
    echo "it is not (143: stopped and saved); the same command goes on where the" \
      "run was saved" >&2
    exit "$code"
  fi
  echo "TPU $tpu is ${state:-gone}"
  make_ready again
done
