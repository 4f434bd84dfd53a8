"""The way from this machine to the API of a lab's cluster: an HTTP proxy on loopback that only connects there.

`python -m gcloud_pk.lab.datacenter.relay DESCRIPTOR`, within the network namespace of the lab's spine, with a listening
socket of this machine's own namespace inherited under that number. It begins when a byte comes on standard input, and
leaves when the pipe is closed before: whoever started it was killed, and nobody would know of it.

Kubeconfigs name the API by its own address and this proxy beside it (`proxy-url`), so that the certificate is checked
against the name that it is for. What ends the lab's network ends this too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab import processes
from gcloud_pk.lab.nodes.layout import NETWORK, Layout
from gcloud_pk.lab.ports import RANGE
from gcloud_pk.lab.processes import Process
from gcloud_pk.programs import files

API_PORT = 6443
_REQUEST = re.compile(rb"CONNECT ([0-9.]{7,15}):([0-9]{1,5}) HTTP/1\.[01]\r\n")
_END = b"\r\n\r\n"
_MOST = 8192
_PATIENCE = 10.0
"""Seconds for a request's head, and for a connection to the API."""
_PIECE = 65536


def wanted(head: bytes) -> str | None:
    """Return the address that the head of a request (RFC 9110, 9.3.6) wants to reach; None where it may not."""
    found = _REQUEST.match(head)
    if not found or int(found[2]) != API_PORT:
        return None
    try:
        address = ip_address(found[1].decode())
    except ValueError:
        return None
    return str(address) if address in ip_network(NETWORK) else None


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


async def _attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_PATIENCE):
            address = wanted(await reader.readuntil(_END))
            if address is None:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            try:
                back, there = await asyncio.open_connection(address, API_PORT)
            except OSError:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_carry(reader, there), _carry(back, writer))
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return
    finally:
        for end in (there, writer):
            if end is not None:
                end.close()


async def _serve(descriptor: int) -> None:
    server = await asyncio.start_server(_attend, sock=socket.socket(fileno=descriptor), limit=_MOST)
    async with server:
        await server.serve_forever()


def _record(lab: Layout) -> Path:
    return lab.folder / "relay.json"


def _recorded(lab: Layout) -> tuple[Process | None, int | None]:
    try:
        found = json.loads(_record(lab).read_text(encoding="ascii"))
        return Process(int(found["pid"]), int(found["started"])), int(found["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def url(lab: Layout) -> str | None:
    """Return the proxy's URL; None where it does not run."""
    process, port = _recorded(lab)
    return f"http://127.0.0.1:{port}" if processes.alive(process) else None


def ensure(lab: Layout) -> str:
    """Start the proxy where it does not run; return its URL, which stays the same where its port is free.

    The lab's network must be there. Raises UnavailableError.
    """
    found = url(lab)
    if found:
        return found
    with _listening(_recorded(lab)[1]) as door:
        port = door.getsockname()[1]
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        command = ["nsenter", f"--net=/run/netns/{lab.spine}", sys.executable, "-m", __name__, str(door.fileno())]
        with (lab.folder / "relay.log").open("wb") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, cwd="/",
                pass_fds=(door.fileno(),), env={"LC_ALL": "C.UTF-8", **environment},
            )  # fmt: skip
        started = processes.start_time(child.pid)
        about = {"pid": child.pid, "started": -1 if started is None else started, "port": port}
        files.write(_record(lab), json.dumps(about) + "\n")
        assert child.stdin is not None  # noqa: S101 - asked for above
        child.stdin.write(b"\n")
        child.stdin.close()
        child.returncode = 0  # it is nobody's to wait for: it outlives this command
    return f"http://127.0.0.1:{port}"


def _listening(kept: int | None) -> socket.socket:
    """Return a socket that listens on loopback, at the port that was kept where it is free."""
    for port in (*([kept] if kept else []), *random.sample(RANGE, k=200)):
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", port))
            door.listen(128)
        except OSError:
            door.close()
            continue
        return door
    raise UnavailableError(
        f"no free port between {RANGE.start} and {RANGE.stop} on loopback", resolution="see who listens: ss -ltn"
    )


def main(words: list[str]) -> None:
    """Wait for the word, then serve until the lab's network goes."""
    if sys.stdin.buffer.read(1):
        asyncio.run(_serve(int(words[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
