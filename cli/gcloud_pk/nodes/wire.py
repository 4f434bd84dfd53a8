"""A wire to a port of a node: a socket, or the pipe of the ProxyCommand by which ssh would go. Reads only."""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.inventory import Route

State = Literal["open", "closed", "silent"]
"""What a port is: one that answers, one that refuses, one of which nothing comes back."""

PATIENCE = 10.0
"""Seconds: how long something is waited for that ought to answer."""


class Wire:
    """One connection. Raises OSError where it breaks, TimeoutError where nothing comes in time."""

    def __init__(self, command: str | None, address: str, port: int, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        if command is None:
            self._socket = socket.create_connection((address, port), patience)
            self._out = self._in = self._socket.fileno()
            return
        # As ssh does it: the user's shell runs the command, which takes the shell's place.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin  # noqa: S101 - asked for above, as the next
        assert self._process.stdout  # noqa: S101
        self._out, self._in = self._process.stdin.fileno(), self._process.stdout.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            self._process.wait()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        while data:
            data = data[os.write(self._out, data) :]

    def receive(self, most: int = 65536) -> bytes:
        """Return what comes next; nothing where the other side closed."""
        ready, _, _ = select.select([self._in], [], [], max(0.0, self._deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        return os.read(self._in, most)

    def state(self) -> State:
        """Return whether somebody answers at the other end; the wire is of no use afterwards."""
        if self._process is None:
            return "open"  # else it would not be there
        assert self._process.stdin  # noqa: S101 - asked for above
        # A proxy that is connected ends with its input; one that was refused ends with an error; else it still waits.
        self._process.stdin.close()
        try:
            return "closed" if self._process.wait(max(0.0, self._deadline - time.monotonic())) else "open"
        except subprocess.TimeoutExpired:
            return "silent"


@dataclass(frozen=True)
class Way:
    """How this machine reaches the ports of a host. `command`: a ProxyCommand, with %h and %p; None goes straight."""

    address: str
    command: str | None = None

    def wire(self, port: int, patience: float = PATIENCE) -> Wire:
        """Open a wire to a port, for as many seconds. Raises OSError."""
        command = self.command
        if command is not None:
            for name, value in (("%h", self.address), ("%p", str(port)), ("%n", self.address), ("%%", "%")):
                command = command.replace(name, value if name == "%%" else shlex.quote(value))
        return Wire(command, self.address, port, patience)

    def state(self, port: int, patience: float = PATIENCE) -> State:
        """Return what a port is, seen from here; silent is one of which nothing came in so many seconds."""
        try:
            with self.wire(port, patience) as wire:
                return wire.state()
        except (TimeoutError, socket.timeout):  # noqa: UP041 - the same class; said for the reader
            return "silent"
        except OSError:
            return "closed"


def way_to(site: Site, host: Host, route: Route) -> Way:
    """Return the way by which ssh goes to a host. Raises UnavailableError where that is through a jump host."""
    words = [
        "ssh",
        "-G",
        *route.options(host),
        "-p",
        str(site.spec.ssh.port),
        "-l",
        site.spec.ssh.audit_user,
        host.name,
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"ssh -G does not say how {host.name} is reached: {type(error).__name__}") from None
    said = {key: value for key, _, value in (line.partition(" ") for line in done.stdout.splitlines())}
    if said.get("proxyjump", "none") != "none":
        raise UnavailableError(
            f"{host.name} is reached through a jump host, which forwards nothing but ssh",
            resolution="run the audit on a machine that reaches the nodes by itself",
        )
    command = said.get("proxycommand", "none")
    return Way(host.address, None if command == "none" else command)
