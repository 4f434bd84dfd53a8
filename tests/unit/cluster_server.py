"""A tiny HTTP(S) server that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.cluster.transport import Api

DROP: Any = "drop"
"""As a reply: close the connection without an answer."""


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    params: dict[str, str]
    headers: list[tuple[str, str]]
    body: Any

    def header(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""(status, body) or (status, body, headers); a body that is bytes is sent as it is."""


@dataclass
class Server:
    """A running server; `reply` may be exchanged at any time."""

    reply: Callable[[Asked], Any]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def api(self, *, patience: float = 1.0, **access: Any) -> Api:
        """Return a client of it."""
        return Api(Access(context="test", server=self.url, **access), patience=patience)

    def methods(self) -> list[str]:
        """Return what was asked, as `METHOD path`."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]


def status(code: int, message: str, reason: str = "", causes: list[dict[str, str]] | None = None) -> Reply:
    """Return a refusal as Kubernetes words it."""
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}
    return code, body | {"details": {"causes": causes or []}}


@contextmanager
def serving(reply: Callable[[Asked], Any], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve on loopback while the body runs."""
    server = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length) if length else b""
            parts = urlsplit(self.path)
            asked = Asked(
                self.command, parts.path, dict(parse_qsl(parts.query)), list(self.headers.items()),
                json.loads(raw) if raw else None,
            )  # fmt: skip
            server.asked.append(asked)
            answer = server.reply(asked)
            if answer is DROP:
                self.close_connection = True
                return
            code, body, *more = answer
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815 - the names http.server wants

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # a client that refuses our certificate is what some tests want

    listener = Quiet(("127.0.0.1", 0), Handler)
    if context is not None:
        listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    server.url = f"{'https' if context else 'http'}://127.0.0.1:{listener.server_address[1]}"
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def context(self, folder: Path) -> ssl.SSLContext:
        """Return a server's TLS context; the files go into `folder`."""
        (folder / "server.crt").write_bytes(self.certificate)
        (folder / "server.key").write_bytes(self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        return context


def certificate(*, days: tuple[int, int] = (-1, 1), address: str = "127.0.0.1") -> Certificate:
    """Make a self-signed certificate, which is its own authority; `days` from now is when it is valid."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
