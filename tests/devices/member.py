# SPDX-License-Identifier: Apache-2.0
"""One process of a run, for test_hosts.py: NUM INDEX PORT DATA OUT."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import sys
import zlib

import jax
import numpy as np

from configs import ctrgcn_ucla
from sgcl_jax import errors, experiment, train
from sgcl_jax.devices import hosts
from sgcl_jax.runs import shared, stop
from tests.conftest import TINY

# Four steps an epoch and a rest of 32 clips; 13 test clips in batches of 8.
FIELDS = {
  "optim.num_epochs": 2,
  "data.repeats": 4,
  "batch_size": 40,
  "eval_batch_size": 6,
}
STOPPED_BEFORE = 2


def make_parts(data):
  config = ctrgcn_ucla.get_config()
  fields = {**TINY, **FIELDS, "data.dir": data}
  config.update_from_flattened_dict(fields)
  experiment.prepare(config)
  return experiment.make(config)


def watch_states(seen):
  """Adds a checksum of each state that is saved, in every process."""
  save = shared.Checkpoints.save

  def watched(checkpoints, current, metadata):
    leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(current)]
    seen.append(zlib.crc32(b"".join(leaves)))
    save(checkpoints, current, metadata)

  shared.Checkpoints.save = watched


def stop_in_last(index, num):
  """Sends SIGTERM to the last process before a step."""
  make, calls = train.make_train_step, []

  def make_watched(*args):
    step = make(*args)

    def run(*args):
      calls.append(None)
      if len(calls) == STOPPED_BEFORE and index == num - 1:
        os.kill(os.getpid(), signal.SIGTERM)
      return step(*args)

    return run

  train.make_train_step = make_watched


def _copy(origin, copy):
  shutil.copytree(origin, copy)


def report(index, parts, out):
  """Runs once without and once with a stop; returns what this process saw."""
  saved = []
  watch_states(saved)
  summary = train.run(parts, out / "whole")
  stop_in_last(index, hosts.count())
  try:
    train.run(parts, out / "stopped")
    code = 0
  except stop.Stopped as stopped:
    code = stopped.code
  hosts.on_first(_copy, out / "stopped", out / "resumed")
  train.run(parts, out / "resumed")
  try:
    hosts.check_equal(even=0, index=index)
    refusal = ""
  except errors.HostsError as error:
    refusal = str(error)
  return {
    "index": hosts.on_first(lambda: index),
    "saved": saved,
    "code": code,
    "refusal": refusal,
    "top1": summary["top1"],
    "device": summary["device"],
  }


def main():
  num, index, port = map(int, sys.argv[1:4])
  out = pathlib.Path(sys.argv[5])
  args = argparse.Namespace(
    coordinator=f"127.0.0.1:{port}", num_processes=num, process_id=index
  )
  with hosts.join(args):
    print("printed by the first process alone")
    found = report(index, make_parts(sys.argv[4]), out)
  (out / f"{index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
  main()
