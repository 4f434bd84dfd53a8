"""What is seen from outside: ports, the algorithms on the wire, TLS; against servers of this machine's loopback."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.nodes import outside
from gcloud_pk.nodes.wire import Way

LISTS = ("curve25519-sha256,kex-strict-s-v00@openssh.com,ext-info-s", "ssh-ed25519", "aes256-ctr", "aes128-ctr")
REST = ("hmac-sha2-512", "hmac-sha2-512", "none", "none", "", "")


def kexinit(lists: tuple[str, ...] = LISTS + REST, kind: int = 20) -> bytes:
    payload = bytes([kind]) + bytes(16)
    for one in lists:
        payload += struct.pack(">I", len(one)) + one.encode()
    payload += b"\x00" + bytes(4)
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + 1 + padding, padding) + payload + bytes(padding)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve every connection to a port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    try:
                        serve(client)
                    except OSError:
                        continue

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def speaks(data: bytes) -> Callable[[socket.socket], None]:
    return lambda client: client.sendall(data)


def proxy() -> str:
    """A ProxyCommand as a person would write it: the other end is %h:%p."""
    program = (
        "import socket,sys,threading,os;s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
        "threading.Thread(target=lambda:[os.write(1,d) for d in iter(lambda:s.recv(9999),b'')],daemon=True).start();"
        "[s.sendall(d) for d in iter(lambda:os.read(0,9999),b'')]"
    )
    return f'{sys.executable} -c "{program}" %h %p'


@pytest.mark.parametrize("command", [None, proxy()], ids=["straight", "by-a-proxy-command"])
def test_what_sshd_offers_is_read_off_the_wire(command: str | None) -> None:
    with server(speaks(b"SSH-2.0-OpenSSH_9.2\r\n" + kexinit())) as port:
        found = outside.look(Way("127.0.0.1", command), port, ports=())
    assert found["ports"]["open"] == [port]
    assert found["ssh"] == {
        "banner": "SSH-2.0-OpenSSH_9.2",
        "kex": ["curve25519-sha256"],
        "strict_kex": True,
        "host_keys": ["ssh-ed25519"],
        "ciphers": ["aes128-ctr", "aes256-ctr"],
        "macs": ["hmac-sha2-512"],
        "compression": ["none"],
    }


HOSTILE = {
    "nothing": b"",
    "another-protocol": b"220 mail.example ESMTP\r\n",
    "an-old-protocol": b"SSH-1.99-old\r\n" + kexinit(),
    "a-line-without-end": b"SSH-2.0-" + b"x" * 200_000,
    "a-packet-of-no-such-length": b"SSH-2.0-x\r\n" + struct.pack(">IB", 0xFFFFFFFF, 4),
    "a-packet-too-short": b"SSH-2.0-x\r\n" + struct.pack(">IB", 1, 0),
    "a-list-longer-than-its-packet": b"SSH-2.0-x\r\n"
    + struct.pack(">IB", 30, 4)
    + b"\x14"
    + bytes(16)
    + b"\xff\xff\xff\xff"
    + bytes(8),
    "another-message": b"SSH-2.0-x\r\n" + kexinit(kind=1),
    "half-a-packet": b"SSH-2.0-x\r\n" + kexinit()[:40],
    "padding-beyond-the-packet": b"SSH-2.0-x\r\n" + struct.pack(">IB", 24, 255) + bytes(23),
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_greeting_of_ssh_is_none(said: bytes) -> None:
    with server(speaks(said)) as port:
        assert outside.look(Way("127.0.0.1"), port, ports=())["ssh"] is None


@pytest.mark.parametrize("command", [None, proxy()], ids=["straight", "by-a-proxy-command"])
def test_a_port_that_nobody_answers_is_closed(command: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert Way("127.0.0.1", command).state(port) == "closed"


def test_a_port_of_which_nothing_comes_back_is_silent() -> None:
    assert Way("127.0.0.1", "sleep 30; :").state(22, 0.2) == "silent"


def test_what_a_proxy_command_says_goes_through_no_second_shell(tmp_path: Path) -> None:
    Way(f"$(touch {tmp_path}/there)", "echo %h").state(22)
    assert list(tmp_path.iterdir()) == []


def test_what_differs_from_the_node_s_own_words_is_told() -> None:
    seen: dict[str, Any] = {
        "ports": {"open": [22, 6443, 8080], "closed": [], "silent": []},
        "ssh": {"kex": ["a"], "ciphers": ["aes", "3des"], "macs": ["m"]},
        "tls": [],
    }
    said = {
        "listening": [
            {"protocol": "tcp", "port": 22},
            {"protocol": "udp", "port": 8080},
            {"protocol": "tcp", "port": 6443},
        ],
        "sshd": {"effective": {"kexalgorithms": ["a", "b"], "ciphers": ["aes"], "macs": ["m"]}},
    }
    found = outside.compared(seen, said)
    assert found["ports"]["unexpected"] == [8080]
    assert found["ssh"]["disagreements"] == [
        "kex: says b, and does not offer it", "ciphers: offers 3des, and does not say so",
    ]  # fmt: skip


@pytest.mark.parametrize("said", [{}, {"listening": None, "sshd": None}, {"listening": [1], "sshd": {"effective": {}}}])
def test_a_node_that_says_nothing_of_itself_agrees_with_nothing(said: dict[str, Any]) -> None:
    seen = {"ports": {"open": [22]}, "ssh": {"kex": ["a"], "ciphers": [], "macs": []}, "tls": []}
    found = outside.compared(seen, said)
    assert found["ports"]["unexpected"] == [22]
    assert found["ssh"]["disagreements"] != []


def test_the_versions_of_tls_that_a_port_takes_are_told(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def serve(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as tls:
            tls.recv(1)

    with server(serve) as port:
        found = outside._tls(Way("127.0.0.1"), port)
    assert found == {"port": port, "versions": ["TLSv1.2", "TLSv1.3"], "certificate_days": 9}


def certificate(folder: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node-1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=10))
        .sign(key, hashes.SHA256())
    )
    file = folder / "node.pem"
    text = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    file.write_bytes(key.private_bytes(text, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(text))
    return file
