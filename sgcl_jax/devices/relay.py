# SPDX-License-Identifier: Apache-2.0
"""The connection of a process to process 0 goes through threads of its own.

JAX aborts a process, with a stack trace, as soon as its connection to the
coordination in process 0 ends. It connects to a relay in the same process
instead. The relay sees the end, and says in one line what happened.
"""

import contextlib
import math
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable

# How often to try an address that nobody serves yet.
RETRY_SECONDS = 0.5
# Of one read.
NUM_BYTES = 2**16
# JAX may end the connection first, and does so orderly.
GRACE_SECONDS = 1.0
LOOK_SECONDS = 1.0


def is_possible() -> bool:
  """Tells whether JAX can connect to a relay."""
  import jax

  # Mutual TLS, which JAX 0.12 can use, compares the name of the host.
  is_named = getattr(jax.config, "jax_mtls_cert_file", None) is not None
  return sys.platform == "linux" and not is_named


class Relay:
  """A socket for JAX to connect to, and a connection to process 0.

  Attributes:
    address: The socket, as gRPC writes it.
    patience: For how many seconds nothing may come from process 0; without
      an end at first. They are counted, so that a pause of all processes does
      not matter.
    on_loss: Called in a thread, with the reason, when process 0 is gone.
  """

  def __init__(self, address: str, on_loss: Callable[[str], object]):
    """Waits until process 0 can be reached.

    Args:
      address: HOST:PORT of process 0.
      on_loss: See above.
    """
    self.patience = math.inf
    self.on_loss = on_loss
    self._is_over = threading.Event()  # JAX has closed the connection.
    self._far = _reach(address)
    # Not a port: gRPC would ask the proxy of the environment for it.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # Linux finds a name that is no file.
    listener.listen()
    self.address = f"unix-abstract:{listener.getsockname()[1:].decode()}"
    threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

  def _serve(self, listener):
    with listener:
      self._near, _ = listener.accept()
    threading.Thread(target=self._send, daemon=True).start()
    with self._far:
      reason = self._receive()
      if not self._is_over.wait(GRACE_SECONDS):
        self.on_loss(f"process 0 of this run {reason}")

  def _send(self):
    """Passes on what JAX sends, until it closes the connection.

    If process 0 is gone the near end stays open, so that JAX does not see it.
    """
    with contextlib.suppress(OSError):
      while data := self._near.recv(NUM_BYTES):
        self._far.sendall(data)
      self._is_over.set()
      self._near.close()
      self._far.shutdown(socket.SHUT_RDWR)

  def _receive(self):
    """Passes on what process 0 sends; returns why nothing comes any more."""
    silent = 0.0
    with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
      selector.register(self._far, selectors.EVENT_READ)
      while silent <= self.patience:
        silent += LOOK_SECONDS
        if selector.select(LOOK_SECONDS):
          data = self._far.recv(NUM_BYTES)
          if not data:
            return "is gone"
          self._near.sendall(data)
          silent = 0.0
      return "has not been heard for a minute"
    return "is gone"


def _reach(address):
  """Connects to HOST:PORT, once somebody serves it."""
  host, _, port = address.rpartition(":")
  while True:
    with contextlib.suppress(OSError):
      found = socket.create_connection((host.strip("[]"), int(port)))
      # A free port of this host may get connected with itself.
      if found.getsockname() != found.getpeername():
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found
      found.close()
    time.sleep(RETRY_SECONDS)
