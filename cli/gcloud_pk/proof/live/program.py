"""What runs in a probe pod: one that listens, or one that calls and reports what came back.

The whole file is the pod's argument (`python3 -I -c`), so it stands alone: Python 3.8 or later, the standard library,
no privilege, nothing written but the container's termination message.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

OPEN, REFUSED, SILENT, STRANGE, UNREACHABLE = "orsxe"
"""What came back: the answer that was hoped for, a refusal, nothing, another answer, or no way there."""

_AT_ONCE = 64
_PAUSE = 0.3


def listen(order: dict[str, Any]) -> None:
    """Answer everybody over TCP and UDP with the run's word, until `seconds` have passed."""
    word = order["word"].encode()
    until = time.monotonic() + order["seconds"]
    sockets = [made for family in ("AF_INET", "AF_INET6") for made in _bound(family, order["port"])]
    while (left := until - time.monotonic()) > 0:
        for ready in select.select(sockets, [], [], left)[0]:
            try:
                if ready.type == socket.SOCK_DGRAM:
                    ready.sendto(word, ready.recvfrom(512)[1])
                else:
                    with ready.accept()[0] as caller:
                        caller.settimeout(1)
                        caller.sendall(word)
            except OSError:
                continue  # one caller that went away is no reason to stop


def _bound(family: str, port: int) -> list[socket.socket]:
    made = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            each = socket.socket(getattr(socket, family), kind)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == "AF_INET6":
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(("", port))
            if kind == socket.SOCK_STREAM:
                each.listen(64)
        except OSError:
            continue  # a node without IPv6 has none to listen on
        made.append(each)
    return made


def call(order: dict[str, Any]) -> dict[str, Any]:
    """Try every address and return what came back: `said` holds a letter and the milliseconds for each try.

    A try is [host, port, protocol, kind, first, later]: `first` attempts in the first round, in which what should be
    open comes up, and `later` ones in the second, when the network is known to work.
    """
    node, servers = os.environ.get("HOST_IP", ""), _name_servers()
    known = {"@node": node, "@dns": servers[0] if servers else ""}
    tries = [[known.get(each[0], each[0]), *each[1:]] for each in order["tries"]]
    word, patience = order["word"].encode(), order["timeout"]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda each: _attempts(each, each[4], word, patience), tries))
        again = [n for n, each in enumerate(tries) if each[5] and found[n][0] != OPEN]
        later = pool.map(lambda n: _attempts(tries[n], tries[n][5], word, patience), again)
        for n, what in zip(again, later):  # noqa: B905 - strict= came with Python 3.10
            found[n] = what
    return {"node": node, "dns": known["@dns"], "said": ",".join(f"{code}{spent}" for code, spent in found)}


def _name_servers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split()[1] for line in lines if line.split()[:1] == ["nameserver"]]


def _attempts(what: list[Any], count: int, word: bytes, patience: float) -> tuple[str, int]:
    code, spent = SILENT, 0
    for number in range(count):
        if number:
            time.sleep(_PAUSE)
        started = time.monotonic()
        code = _attempt(what, word, patience)
        spent = int((time.monotonic() - started) * 1000)
        if code == OPEN:
            break
    return code, spent


def _attempt(what: list[Any], word: bytes, patience: float) -> str:
    host, port, protocol, kind = what[:4]
    if not host:
        return UNREACHABLE
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM) as made:
        made.settimeout(patience)
        try:
            made.connect((host, port))
            return _exchange(made, protocol, kind, word)
        except socket.timeout:  # noqa: UP041 - another class than TimeoutError before Python 3.10
            return SILENT
        except ConnectionRefusedError:
            return REFUSED
        except OSError:
            return UNREACHABLE


def _exchange(made: socket.socket, protocol: str, kind: str, word: bytes) -> str:
    if kind == "connect":
        return OPEN
    if kind == "dns":
        asked = _question(os.urandom(2))
        made.sendall(struct.pack("!H", len(asked)) + asked if protocol == "TCP" else asked)
        got = made.recv(512)
        return OPEN if (got[2:4] if protocol == "TCP" else got[:2]) == asked[:2] else STRANGE
    if protocol == "UDP":
        made.sendall(word)
    got = b""
    while len(got) < len(word) and (more := made.recv(512)):
        got += more
    return OPEN if got == word else STRANGE


def _question(number: bytes) -> bytes:
    """Return a DNS query for the A record of kubernetes.default.svc; whatever is said to it is an answer."""
    name = b"".join(bytes([len(part)]) + part for part in (b"kubernetes", b"default", b"svc"))
    return number + struct.pack("!5H", 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack("!2H", 1, 1)


def main(arguments: list[str]) -> None:
    """Run `listen ORDER` or `call ORDER`; ORDER is JSON."""
    # As a container's first process, nothing ends by SIGTERM that does not say so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    order = json.loads(arguments[1])
    if arguments[0] == "listen":
        listen(order)
    else:
        with Path(order["report"]).open("w", encoding="ascii") as stream:
            json.dump(call(order), stream, separators=(",", ":"))


if __name__ == "__main__":
    main(sys.argv[1:])
