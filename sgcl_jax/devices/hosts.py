# SPDX-License-Identifier: Apache-2.0
"""The processes of one run, on one host or many; the first has its files.

Nothing here imports JAX before a run has several processes.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sgcl_jax import errors
from sgcl_jax.devices import peers, relay
from sgcl_jax.terminal import output, wording

# Values of --coordinator that are no address.
AUTO, NONE = "auto", "none"
# How long to wait for processes that start late, and for those that end.
JOIN_SECONDS = 300
END_SECONDS = 60
# In the text of JAX's error when a process is lost in the middle of a sum.
LOST = ("Gloo", "NCCL", "coordination", "Socket closed", "UNAVAILABLE")

_session = None


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares `--coordinator`, `--num_processes` and `--process_id`."""
  parser.add_argument(
    "--coordinator",
    metavar="HOST:PORT",
    help="run as one of several processes that train together, and meet at this"
    " address of process 0; 'auto': as SLURM, a TPU pod, Kubernetes or Open MPI"
    " says; 'none': alone, whatever they say",
  )
  parser.add_argument(
    "--num_processes", type=int, metavar="N", help="number of these processes"
  )
  parser.add_argument(
    "--process_id",
    type=int,
    metavar="I",
    help="which of them this one is, from 0 on; process 0 writes the files",
  )


def is_first() -> bool:
  """Tells whether this is process 0, or alone."""
  return _session is None or _session.index == 0


def count() -> int:
  """Returns the number of processes."""
  return 1 if _session is None else _session.num


def on_first(function: Callable[..., Any], *args: Any) -> Any:
  """Calls a function in process 0 alone; its result goes to all.

  Args:
    function: Returns what JSON can hold. If it raises, all processes end.
    *args: Its arguments.
  """
  return function(*args) if _session is None else _session.share(function, args)


def check_equal(**values: Any) -> None:
  """Refuses to go on if a process has other values than process 0.

  Args:
    **values: What JSON can hold, by the name for the message.

  Raises:
    HostsError: Names the process and the value.
  """
  values = json.loads(json.dumps(values))
  first = on_first(lambda: values)
  for name, value in values.items():
    if value != first[name]:
      raise errors.HostsError(
        f"process {_session.index} has another {name} than process 0"
        f" ({wording.quote(value)}, not {wording.quote(first[name])}): start"
        " all with the same command, code and data"
      )


def check_joined() -> None:
  """Refuses JAX's devices if they belong to processes that were not joined.

  Raises:
    HostsError: Also if the processes have different numbers of devices.
  """
  import jax

  if jax.process_count() != count():
    raise errors.HostsError(
      f"this is one of {jax.process_count()} processes: train with"
      " `python -m sgcl_jax.main --coordinator=auto`, which joins them, and run"
      " other commands on one host"
    )
  if jax.device_count() != count() * jax.local_device_count():
    raise errors.HostsError(
      f"{jax.device_count()} devices in {count()} processes: each must have as"
      f" many, this one has {jax.local_device_count()}"
    )


@contextlib.contextmanager
def join(args: argparse.Namespace) -> Iterator[None]:
  """Joins the processes of a run, if there are several, and parts from them.

  Inside, the other processes than the first print nothing but their errors. An
  error in one of them, or its death, ends all. It must come before JAX computes
  anything.

  Args:
    args: Parsed options of `add_options`.

  Raises:
    ConfigError: If the options do not name such processes.
    HostsError: If they do not find each other, or if one is lost.
  """
  global _session
  if not _is_one_of_many(args):
    yield
    return
  _session = session = _connect(args)
  if session is None:
    yield
    return
  try:
    with _quiet(session.index), _lost_processes(session):
      yield
  except BaseException as error:
    session.leave(error)
    raise
  finally:
    _session = None
  session.part()


def _is_one_of_many(args):
  """Tells whether to join others, by the options or by the launcher."""
  if args.coordinator is None:
    if (args.num_processes, args.process_id) != (None, None):
      raise errors.ConfigError(
        "--num_processes and --process_id need --coordinator=HOST:PORT, an"
        " address of process 0"
      )
    return _find_tasks() > 1
  if args.coordinator == NONE:
    return False
  if args.coordinator != AUTO:
    host, _, port = args.coordinator.rpartition(":")
    if not host or not port.isdecimal():
      raise errors.ConfigError(
        f"--coordinator={args.coordinator} is no HOST:PORT, {AUTO} or {NONE}"
      )
  num, index = args.num_processes, args.process_id
  if num is not None and num < 1:
    raise errors.ConfigError(f"--num_processes={num} is no number from 1 on")
  if index is not None and not 0 <= index < (num or index + 1):
    raise errors.ConfigError(
      f"--process_id={index} is not from 0 to {(num or 1) - 1}"
    )
  return True


def _find_tasks():
  """Returns how many tasks the launcher has started, 1 if none says so.

  A job of several tasks whose script, or whose shell, runs as one counts as
  one: SLURM's number of the step says so.
  """
  env = os.environ
  if "SLURM_STEP_NODELIST" in env and "SLURM_PROCID" in env:
    return int(env.get("SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", 1)))
  if "OMPI_COMM_WORLD_SIZE" in env:
    return int(env["OMPI_COMM_WORLD_SIZE"])
  return len(env.get("TPU_WORKER_HOSTNAMES", "").split(","))


def _connect(args):
  """Joins JAX's coordination; returns the session, None of a single process."""
  import jax
  from jax._src import clusters, distributed  # There is no other way.

  # It would take SIGTERM, to which `runs/stop.py` listens.
  jax.config.update("jax_enable_preemption_service", False)
  # JAX would abort with a stack trace.
  timer = threading.Timer(
    JOIN_SECONDS, peers.end, [_describe_absence(f"in {JOIN_SECONDS} seconds")]
  )
  timer.daemon = True
  timer.start()
  try:
    address, num, index, devices = _find_place(args, clusters.ClusterEnv)
    line = None
    if address and index and relay.is_possible():
      line = relay.Relay(address, peers.end)
    jax.distributed.initialize(
      line.address if line else address,
      num,
      index,
      local_device_ids=devices,
      cluster_detection_method="deactivate",
      initialization_timeout=JOIN_SECONDS + END_SECONDS,
      # A pause of all processes would end them, with a stack trace. `peers`
      # finds those that are silent.
      heartbeat_timeout_seconds=peers.FOREVER_MS // 1000,
      shutdown_timeout_seconds=END_SECONDS,
    )
  except (ValueError, RuntimeError) as error:
    reason = wording.in_one_line(error)
    raise errors.HostsError(_describe_absence(reason[:200])) from error
  finally:
    timer.cancel()
  client = distributed.global_state.client
  return None if num == 1 else peers.Session(client, num, index, line)


def _find_place(args, cluster):
  """Returns address, number, index and devices: as given, or as JAX finds."""
  address = args.coordinator
  if address in (None, AUTO):
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
  given = address, args.num_processes, args.process_id, _find_local_devices()
  if None not in given:
    return given
  find = cluster.auto_detect_unset_distributed_params
  return find(*given, None, JOIN_SECONDS)


def _describe_absence(reason):
  return (
    f"the processes of this run did not meet ({reason}). Give each"
    " --coordinator=HOST:PORT, a free port of process 0 that all reach,"
    " --num_processes=N and its own --process_id, or --coordinator=none to run"
    " it alone"
  )


def _find_local_devices():
  """Returns [] for all devices of the host, None for JAX's own choice.

  Under SLURM and Open MPI JAX gives a process the device of its number on the
  host. A process that is alone there takes all of them, and so does one that
  sees a single device.
  """
  env = os.environ
  tasks = env.get("SLURM_STEP_TASKS_PER_NODE", "").split("(")[0]
  is_alone = "1" in (tasks, env.get("OMPI_COMM_WORLD_LOCAL_SIZE"))
  visible = env.get("CUDA_VISIBLE_DEVICES", "")
  is_bound = visible != "" and "," not in visible
  # Elsewhere None would make JAX look for Kubernetes even if it has all flags.
  is_elsewhere = (
    not {"SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"} & env.keys()
  )
  if "JAX_LOCAL_DEVICE_IDS" in env:
    return None
  if is_alone or is_bound or is_elsewhere:
    return []
  return None


@contextlib.contextmanager
def _quiet(index):
  """Keeps standard output for what the first process prints.

  Libraries in C++ write to its file descriptor. Theirs goes to standard error.
  """
  sys.stdout.flush()
  kept = os.dup(1)
  os.dup2(2, 1)
  try:
    if index:
      with (
        open(os.devnull, "w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
      ):
        yield
    else:
      with (
        os.fdopen(os.dup(kept), "w", encoding="utf-8") as stream,
        contextlib.redirect_stdout(output.outlast(stream, stream)),
      ):
        yield
        sys.stdout.flush()
  finally:
    os.dup2(kept, 1)
    os.close(kept)


@contextlib.contextmanager
def _lost_processes(session):
  """Turns JAX's error about a lost process into one line."""
  try:
    yield
  except RuntimeError as error:
    if not any(word in str(error) for word in LOST):
      raise
    raise errors.HostsError(session.find_reason()) from error
