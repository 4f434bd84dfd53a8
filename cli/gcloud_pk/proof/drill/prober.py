"""One prober, a process of its own: every 100 ms a new connection, whatever became of those before.

`python -m gcloud_pk.proof.drill.prober`, with an order (JSON, one line) on standard input: credentials never stand in
arguments. It goes on until that pipe is closed, which is also when whoever started it was killed. What it sees goes to
its trace, line by line; a prober of writes keeps the ledger.

Probes overlap: one that hangs does not keep the next from being sent, so that a gap is as long as the outage.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.cluster.transport import tls_context
from gcloud_pk.proof.drill.ledger import Ledger, Outcome
from gcloud_pk.proof.drill.trace import Sample

_MOST = 1 << 20
_HEAD_END = b"\r\n\r\n"
_WORDS = 120


class _UnsentError(OSError):
    """The request never left: no connection came about."""


@dataclass(frozen=True)
class Door:
    """Where requests go. `tls`: None for plain HTTP; `proxy`: host and port of an HTTP proxy to connect through."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    name: str
    proxy: tuple[str, int] | None = None
    headers: str = ""

    @classmethod
    def of_api(cls, access: Access) -> Door:
        """Return the door of an API server."""
        at = urlsplit(access.server)
        proxy = urlsplit(access.proxy) if access.proxy else None
        token = f"Authorization: Bearer {access.token}\r\n" if access.token else ""
        return cls(
            at.hostname or "",
            at.port or (443 if at.scheme == "https" else 80),
            tls_context(access) if at.scheme == "https" else None,
            access.tls_server_name or at.hostname or "",
            (proxy.hostname or "", proxy.port or 3128) if proxy else None,
            token,
        )

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        """Send one request over a new connection; return the HTTP status, and what is said with it where it is a no.

        Raises OSError, EOFError.
        """
        try:
            reader, writer = await self._connected()
        except (OSError, EOFError) as error:
            raise _UnsentError(*(error.args or (str(error),))) from error
        try:
            kind = "Content-Type: application/json\r\n" if body else ""
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: {self.name}\r\n{self.headers}{kind}Accept: application/json\r\n"
                f"User-Agent: gcloud-pk-drill\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            first = await reader.readline()
            words = first.split()
            if len(words) < 2 or not words[1].isdigit():
                raise EOFError("no answer")
            status = int(words[1])
            return status, f"{status} {_why(await _all(reader))}".strip() if status >= 400 else str(status)
        finally:
            # Aborted and not closed: a peer that is gone takes no part in the end of a connection.
            writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.proxy is None:
            return await asyncio.open_connection(
                self.host, self.port, ssl=self.tls, server_hostname=self.name if self.tls else None, limit=_MOST
            )
        reader, writer = await asyncio.open_connection(*self.proxy, limit=_MOST)
        try:
            await self._led_through(reader, writer)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _led_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have a proxy connect us (RFC 9110, 9.3.6)."""
        writer.write(f"CONNECT {self.host}:{self.port} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode())
        await writer.drain()
        head = await reader.readuntil(_HEAD_END)
        if head.split()[1:2] != [b"200"]:
            raise ConnectionRefusedError("the proxy has no way there")
        if self.tls:
            await writer.start_tls(self.tls, server_hostname=self.name)


async def _all(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends; it may come in pieces."""
    found = b""
    while len(found) < _MOST and (more := await reader.read(_MOST)):
        found += more
    return found


def _why(rest: bytes) -> str:
    """Return the words of a Status (Kubernetes API conventions) in an answer, cut; nothing of anything else."""
    try:
        return str(json.loads(rest.partition(_HEAD_END)[2])["message"])[:_WORDS]
    except (ValueError, TypeError, KeyError):
        return ""


Probe = Callable[[int], Awaitable[tuple[bool, str]]]


def reading(door: Door, path: str) -> Probe:
    """Return a probe that reads `path`."""

    async def probe(_: int) -> tuple[bool, str]:
        status, said = await door.ask("GET", path)
        return status < 400, said

    return probe


def writing(door: Door, path: str, run: str, ledger: Ledger) -> Probe:
    """Return a probe that creates ConfigMaps at `path`, each of which stands in the ledger first."""

    async def probe(number: int) -> tuple[bool, str]:
        token = secrets.token_hex(8)
        await asyncio.to_thread(ledger.intend, number, token)
        outcome = Outcome.UNKNOWN
        try:
            status, said = await door.ask("POST", path, json.dumps(entry(run, number, token)).encode())
            # 5xx: the store may have it all the same ("etcdserver: request timed out").
            outcome = (
                Outcome.ACKNOWLEDGED if status < 300 else Outcome.REFUSED if 400 <= status < 500 else Outcome.UNKNOWN
            )
        except _UnsentError:
            outcome = Outcome.UNSENT
            raise
        else:
            return outcome is Outcome.ACKNOWLEDGED, said
        finally:
            ledger.close_entry(number, outcome)

    return probe


LABEL = "gcloud.gov.pk/drill"


def entry(run: str, number: int, token: str) -> dict[str, Any]:
    """Return the object that a write makes."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"write-{run}-{number}", "labels": {LABEL: run}},
        "data": {"number": str(number), "token": token},
        "immutable": True,
    }


async def go_on(
    probe: Probe, trace: IO[str], ended: Awaitable[object], *, interval: float, patience: float, most: int
) -> None:
    """Probe every `interval` seconds until `ended`; each probe gets `patience` seconds.

    `most`: probes under way at once. Raises OSError where the ledger or the trace cannot be written.
    """
    under_way: set[asyncio.Task[None]] = set()
    over = asyncio.ensure_future(ended)
    number, due = 0, time.monotonic()
    while not over.done():
        if len(under_way) < most:
            task = asyncio.create_task(_one(probe, number, trace, patience))
            under_way.add(task)
            number += 1
        due = max(due + interval, time.monotonic() - interval)
        await asyncio.wait({over}, timeout=max(0.0, due - time.monotonic()))
        for task in [task for task in under_way if task.done()]:
            under_way.discard(task)
            task.result()
    if under_way:
        await asyncio.wait(under_way, timeout=patience + 1)


async def _one(probe: Probe, number: int, trace: IO[str], patience: float) -> None:
    wall = time.time() - time.monotonic()
    begun = time.monotonic()
    try:
        async with asyncio.timeout(patience):
            ok, said = await probe(number)
    except TimeoutError:
        ok, said = False, "no answer in time"
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        if getattr(error, "filename", None) or getattr(error, "errno", None) in _DISK:
            raise
        ok, said = False, type(error.__cause__ or error).__name__
    sample = Sample(begun, time.monotonic() - begun, ok, said, wall)
    trace.write(sample.line() + "\n")
    trace.flush()


_DISK = {5, 28, 30, 122}
"""EIO, ENOSPC, EROFS, EDQUOT: of the ledger's disk, and never of a network."""


def access_words(access: Access) -> dict[str, Any]:
    """Return an access as an order carries it."""
    packed = {
        name: base64.b64encode(value).decode() if value else None
        for name, value in (("ca", access.ca), ("certificate", access.certificate), ("key", access.key))
    }
    plain = {"server": access.server, "token": access.token, "proxy": access.proxy}
    return {**packed, **plain, "tls_server_name": access.tls_server_name}


def _access(words: dict[str, Any]) -> Access:
    def pem(name: str) -> bytes | None:
        return base64.b64decode(words[name]) if words[name] else None

    return Access(
        context="drill",
        server=words["server"],
        ca=pem("ca"),
        certificate=pem("certificate"),
        key=pem("key"),
        token=words["token"],
        proxy=words["proxy"],
        tls_server_name=words["tls_server_name"],
    )


async def _serve(order: dict[str, Any], trace: IO[str]) -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def hear() -> None:
        if not os.read(sys.stdin.fileno(), 4096) and not ended.done():
            ended.set_result(None)

    loop.add_reader(sys.stdin.fileno(), hear)
    with contextlib.ExitStack() as held:
        if order["kind"] == "service":
            at = urlsplit(order["url"])
            tls = ssl.create_default_context() if at.scheme == "https" else None
            door = Door(at.hostname or "", at.port or (443 if tls else 80), tls, at.hostname or "")
            probe = reading(door, at.path or "/")
        elif order["kind"] == "write":
            ledger = Ledger(Path(order["ledger"]))
            held.callback(ledger.close)
            probe = writing(Door.of_api(_access(order["access"])), order["path"], order["run"], ledger)
        else:
            probe = reading(Door.of_api(_access(order["access"])), order["path"])
        print("ready", flush=True)  # noqa: T201 - said to who started it
        await go_on(probe, trace, ended, interval=order["interval"], patience=order["patience"], most=order["most"])


def main() -> None:
    """Read the order, probe until the pipe is closed."""
    # One line, unbuffered: what is behind it is the pipe's end alone.
    order = json.loads(sys.stdin.buffer.readline())
    with Path(order["trace"]).open("a", encoding="ascii") as trace:
        asyncio.run(_serve(order, trace))


if __name__ == "__main__":
    main()
