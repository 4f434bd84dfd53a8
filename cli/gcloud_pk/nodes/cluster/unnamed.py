"""Requests that name nobody, really sent to the ports of a cluster's nodes. Nothing is sent but GET without a proof."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gcloud_pk.nodes.wire import PATIENCE, Way, Wire

API_PATHS = ("/livez", "/readyz", "/healthz", "/version", "/metrics", "/api/v1/namespaces/kube-system/secrets", "/apis")
KUBELET_PATHS = ("/pods", "/configz", "/metrics", "/logs/", "/runningpods/")
ETCD_PATHS = ("/version", "/health", "/v2/keys")
LOCAL_PORTS = (2381, 2382, 8080, 10248, 10249, 10255, 10257, 10259)
"""Ports of a cluster's programs that are for their own node alone, and those that nothing should open."""

_KNOCK = 3.0
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


def look(way: Way, api_port: int, *, control_plane: bool) -> dict[str, Any]:
    """Return what a node answers to whom it does not know: rows `{path, answer}`, and ports that are open.

    An answer is a status of HTTP, `refused` where TLS asks for a certificate first, `closed` or `silent`.
    """
    doors: dict[str, tuple[int, Iterable[str]]] = {"kubelet": (10250, KUBELET_PATHS)}
    if control_plane:
        doors |= {"api": (api_port, API_PATHS), "etcd": (2379, ETCD_PATHS), "etcd_peers": (2380, ("/members",))}
    with ThreadPoolExecutor(8) as pool:
        waiting = {
            name: [(path, pool.submit(answer, way, port, path)) for path in paths]
            for name, (port, paths) in doors.items()
        }
        knocked = [(port, pool.submit(way.state, port, _KNOCK)) for port in LOCAL_PORTS]
        found: dict[str, Any] = {
            name: [{"path": path, "answer": one.result()} for path, one in rows] for name, rows in waiting.items()
        }
        found["local"] = [port for port, one in knocked if one.result() == "open"]
    return found


def answer(way: Way, port: int, path: str) -> str:
    """Return what a port says to a GET over TLS that shows no certificate and no token."""
    try:
        with way.wire(port, PATIENCE) as wire:
            return _asked(wire, way.address, path)
    except ssl.SSLError:
        return "refused"
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"


def _asked(wire: Wire, host: str, path: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whom we speak to is seen from the certificates that the node tells of; here it is what is let in that counts.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out)
    question = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    heard, sent, deadline = b"", False, time.monotonic() + PATIENCE
    while not (status := _STATUS.match(heard)):
        if time.monotonic() > deadline:
            raise TimeoutError
        try:
            if not sent:
                tls.do_handshake()
                tls.write(question)
                sent = True
                wire.send(out.read())
            heard += tls.read(4096)
        except ssl.SSLWantReadError:
            wire.send(out.read())
            came = wire.receive()
            if not came:
                return "refused" if sent else "closed"
            into.write(came)
    return status[1].decode()
