"""A way to an API server that is closed to everybody else: connections to a port here, over the node's SSH session.

Hardened nodes forward no ports; a program on the node speaks to its own API server, and frames carry what is said.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from gcloud_pk.stack.recovery.doors import Door, NodeError, end, restore_program

_FRAME = struct.Struct("!II")
_BLOCK = 65536


class _Connection:
    """One connection here. What comes for it waits in line: a reader that is slow holds up nobody else."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.line: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        with suppress(OSError):
            while data := self.line.get():
                self.peer.sendall(data)
        with suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)
        self.peer.close()


class _Relay:
    """Connections by number, and the session that carries them."""

    def __init__(self, into: IO[bytes], out: IO[bytes]) -> None:
        self._into, self._out = into, out
        self._open: dict[int, _Connection] = {}
        self._known = threading.Lock()
        self._sending = threading.Lock()
        self._last = 0
        self.listener = socket.create_server(("127.0.0.1", 0))

    def begin(self) -> bool:
        """Wait for the other side; whether it is there."""
        return self._read(_FRAME.size) == _FRAME.pack(0, 0)

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with self._known:
                self._last += 1
                number, connection = self._last, _Connection(peer)
                self._open[number] = connection
            threading.Thread(target=self._carry, args=(number, connection), daemon=True).start()

    def _carry(self, number: int, connection: _Connection) -> None:
        while True:
            try:
                data = connection.peer.recv(_BLOCK)
            except OSError:
                data = b""
            with self._sending, suppress(OSError, ValueError):  # the session may be over
                self._into.write(_FRAME.pack(number, len(data)) + data)
                self._into.flush()
            if not data:
                self._forget(number)
                return

    def _forget(self, number: int) -> None:
        with self._known:
            connection = self._open.pop(number, None)
        if connection is not None:
            connection.line.put(b"")

    def bring(self) -> None:
        """Give each connection what the node says, until the session ends."""
        while head := self._read(_FRAME.size):
            number, length = _FRAME.unpack(head)
            if not length:
                self._forget(number)
                continue
            data = self._read(length)
            with self._known:
                connection = self._open.get(number)
            if connection is not None and data:
                connection.line.put(data)
        self.end()

    def _read(self, length: int) -> bytes:
        found = self._out.read(length)
        return found if found and len(found) == length else b""

    def end(self) -> None:
        """Close all connections."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self.listener.close()
        with self._known:
            left = list(self._open)
        for number in left:
            self._forget(number)


@contextmanager
def relayed(door: Door, order: Mapping[str, Any]) -> Iterator[int]:
    """Yield a port of this machine that leads to a node's own API server. Raises NodeError where it does not."""
    process = door.start(restore_program(), {**order, "act": "relay"})
    assert process.stdin is not None  # noqa: S101 - a door's are pipes
    assert process.stdout is not None  # noqa: S101
    relay = _Relay(process.stdin, process.stdout)
    works = [threading.Thread(target=work, daemon=True) for work in (relay.accept, relay.bring)]
    try:
        if not relay.begin():
            raise NodeError(f"{door.name}: no way to its API server")
        for work in works:
            work.start()
        yield int(relay.listener.getsockname()[1])
    finally:
        relay.end()
        end(process)
        process.wait()
        for work in works:
            if work.ident is not None:
                work.join(timeout=5)
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()
