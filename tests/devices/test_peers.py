# SPDX-License-Identifier: Apache-2.0
"""Who is gone: processes that beat, and one that does not any more."""

import contextlib
import socket
import threading
import time

import pytest

from sgcl_jax.devices import peers, relay

BEAT = 0.02


class Store:
  """Stands for the client of JAX's coordination, and its store."""

  def __init__(self):
    self.values = {}

  def key_value_set(self, key, value, allow_overwrite=False):
    self.values[key] = value

  def key_value_dir_get(self, prefix):
    return [(k, v) for k, v in self.values.items() if k.startswith(prefix)]


@pytest.fixture
def open_session(monkeypatch):
  """Returns an opener of process 0 of several, and a starter of the others."""
  monkeypatch.setattr(peers, "BEAT_SECONDS", BEAT)
  over = threading.Event()
  threads = []

  def open_session(num, alive):
    store = Store()

    def beat(index):
      for number in range(10**6):
        store.key_value_set(f"{peers.PREFIX}alive/{index}", str(number))
        if over.wait(BEAT / 4):
          return

    for index in alive:
      threads.append(threading.Thread(target=beat, args=(index,)))
      threads[-1].start()
    for index in range(1, num):
      store.values.setdefault(f"{peers.PREFIX}alive/{index}", "7")
    session = peers.Session(store, num, 0)
    threads.append(session._thread)
    sessions.append(session)
    return session, store

  sessions = []
  yield open_session
  over.set()
  for session in sessions:
    session._over.set()
  for thread in threads:
    thread.join()


@pytest.mark.parametrize(
  ("num", "alive", "reason"),
  [
    (2, [], "process 1 of this run is gone"),
    (4, [1, 3], "process 2 of this run is gone"),
    (4, [3], "process 1 and process 2 of this run are gone"),
    (3, [1, 2], "the connection to another process of this run is lost"),
  ],
)
def test_who_does_not_beat_is_gone(num, alive, reason, open_session):
  session, _ = open_session(num, alive)
  assert session.find_reason() == f"{reason}; this is process 0"


def test_what_a_process_says_counts(open_session):
  """The first reason is that of all, so that all name the same process."""
  session, store = open_session(3, [1])
  said = "process 2 of this run is gone"
  store.key_value_set(f"{peers.PREFIX}failed/1", said)
  assert session.find_reason() == f"{said}; this is process 0"


def test_a_process_passes_on_why(open_session, monkeypatch):
  monkeypatch.setattr("atexit.register", lambda *_: None)
  session, store = open_session(2, [])
  session.find_reason()
  session.leave(RuntimeError("Gloo: Connection closed by peer"))
  said = store.values[f"{peers.PREFIX}failed/0"]
  assert said == "process 1 of this run is gone"


def test_an_error_after_the_loss_of_the_first_process(
  open_session, monkeypatch
):
  """JAX would wait for ever for an answer of the store."""
  monkeypatch.setattr("atexit.register", lambda *_: None)
  session, store = open_session(2, [1])
  session.index = 1
  is_over = threading.Event()
  store.key_value_set = lambda *_, **__: is_over.wait()
  leaving = threading.Thread(target=session.leave, args=(ValueError("x"),))
  leaving.start()
  leaving.join(timeout=10)
  is_ended = not leaving.is_alive()
  is_over.set()
  leaving.join()
  assert is_ended


def test_a_pause_of_all_is_no_silence(open_session, monkeypatch):
  """Beats that were missed count, not the time that has passed."""
  session, store = open_session(2, [])
  clock = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: clock[0])
  seen, found = {}, []
  for look in range(int(60 / BEAT) + 2):
    store.key_value_set(f"{peers.PREFIX}alive/0", f"own {look}")
    found.append(session._find_silent(seen))
    clock[0] += 1e6
  assert set(found[:-2]) == {None}
  assert found[-1] == "process 1 of this run has not been heard for a minute"


@pytest.fixture
def connect(monkeypatch):
  """Returns a connector: the near end, the far end, and what was lost."""
  monkeypatch.setattr(relay, "GRACE_SECONDS", 0.2)
  monkeypatch.setattr(relay, "LOOK_SECONDS", 0.05)
  monkeypatch.setattr(relay, "RETRY_SECONDS", 0.05)
  with contextlib.ExitStack() as stack:

    def open_all():
      listener = stack.enter_context(socket.socket())
      listener.bind(("127.0.0.1", 0))
      address = f"127.0.0.1:{listener.getsockname()[1]}"
      # Process 0 comes later.
      threading.Timer(0.2, listener.listen).start()
      lost, is_lost = [], threading.Event()
      line = relay.Relay(address, lambda x: (lost.append(x), is_lost.set()))
      far = stack.enter_context(listener.accept()[0])
      near = stack.enter_context(socket.socket(socket.AF_UNIX))
      near.connect("\0" + line.address.partition(":")[2])
      return line, near, far, lost, is_lost

    yield open_all


def test_both_directions_pass(connect):
  _, near, far, lost, _ = connect()
  data = bytes(range(256)) * 1000
  for origin, target in ((near, far), (far, near)):
    sender = threading.Thread(target=origin.sendall, args=(data,))
    sender.start()
    found = b""
    while len(found) < len(data):
      found += target.recv(2**16)
    sender.join()
    assert found == data
  assert lost == []


def test_the_end_of_the_first_process(connect):
  """JAX does not see it."""
  _, near, far, lost, is_lost = connect()
  far.close()
  assert is_lost.wait(10)
  assert lost == ["process 0 of this run is gone"]
  near.settimeout(0.3)
  with pytest.raises(TimeoutError):
    near.recv(1)


def test_a_silent_first_process(connect):
  line, near, far, lost, is_lost = connect()
  far.sendall(b"x")
  assert near.recv(1) == b"x"
  assert not is_lost.wait(0.3)  # Patient until all have met.
  line.patience = 0.2
  assert is_lost.wait(10)
  assert lost == ["process 0 of this run has not been heard for a minute"]


def test_an_orderly_end(connect):
  """JAX closes its end, in either order."""
  for is_first in (True, False):
    _, near, far, lost, is_lost = connect()
    for end in (near, far) if is_first else (far, near):
      end.close()
    assert not is_lost.wait(0.5)
    assert lost == []
