"""What can be seen of a node without believing it: open ports, the algorithms that sshd offers on the wire, TLS.

Nothing is logged in to, and nothing but greetings is sent.
"""

from __future__ import annotations

import datetime as dt
import ssl
import struct
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gcloud_pk.nodes.wire import PATIENCE, Way, Wire

PORTS = (
    21, 22, 23, 25, 53, 79, 80, 110, 111, 139, 143, 179, 389, 443, 445, 512, 513, 514, 515, 587, 631, 873, 2049,
    2375, 2376, 2379, 2380, 3128, 3306, 3389, 4194, 5000, 5432, 5900, 6000, 6379, 6443, 8080, 8443, 9090, 9099,
    9100, 9200, 10248, 10249, 10250, 10255, 10256, 10257, 10259, 11211, 27017, 30000, 32767,
)  # fmt: skip
"""What is knocked at: what a node of a cluster may have open, and what none should have."""

TLS_PORTS = (6443, 10250, 2379)

_LEAST, _TIMES = 1.5, 8
_BANNER = 255
_PACKET = 35_000
"""Bytes of the longest packet that a server need take (RFC 4253, section 6.1): ours is no longer."""
_KEXINIT = 20
_NOT_ALGORITHMS = frozenset({"ext-info-s", "kex-strict-s-v00@openssh.com"})
"""Signals among the algorithms of key exchange (RFC 8308; OpenSSH PROTOCOL 1.10)."""

_VERSIONS = (
    ("TLSv1", ssl.TLSVersion.TLSv1),
    ("TLSv1.1", ssl.TLSVersion.TLSv1_1),
    ("TLSv1.2", ssl.TLSVersion.TLSv1_2),
    ("TLSv1.3", ssl.TLSVersion.TLSv1_3),
)


def look(way: Way, ssh_port: int, ports: Iterable[int] = PORTS) -> dict[str, Any]:
    """Return what is seen of a host: `ports`, `ssh` (None where nothing speaks SSH there), `tls`."""
    began = time.monotonic()
    ssh = _ssh(way, ssh_port)
    # How busy both machines are, the one port says that ought to answer: the others get several times as long.
    patience = min(max(_LEAST, _TIMES * (time.monotonic() - began)), PATIENCE) if ssh else _LEAST
    knocked = sorted({*ports, ssh_port} - ({ssh_port} if ssh else set()))
    with ThreadPoolExecutor(len(knocked) or 1) as pool:
        seen = zip(knocked, pool.map(lambda port: way.state(port, patience), knocked), strict=True)
        states = dict(sorted([*seen, *([(ssh_port, "open")] if ssh else [])]))
        found = [port for port, state in states.items() if state == "open"]
        tls = list(pool.map(lambda port: _tls(way, port), [port for port in TLS_PORTS if port in found]))
    return {
        "ports": {
            "open": found,
            "closed": [port for port, state in states.items() if state == "closed"],
            "silent": [port for port, state in states.items() if state == "silent"],
        },
        "ssh": ssh,
        "tls": tls,
    }


def compared(seen: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was seen, with where it differs from what the node says of itself. Pure."""
    rows = said.get("listening")
    listening = rows if isinstance(rows, list) else []
    named = {row.get("port") for row in listening if isinstance(row, Mapping) and row.get("protocol") == "tcp"}
    ports = {**seen["ports"], "unexpected": [port for port in seen["ports"]["open"] if port not in named]}
    ssh = seen["ssh"]
    if ssh is not None:
        sshd = said.get("sshd")
        effective = sshd.get("effective") if isinstance(sshd, Mapping) else None
        ssh = {**ssh, "disagreements": None if effective is None else _disagreements(ssh, effective)}
    return {**seen, "ports": ports, "ssh": ssh}


def _disagreements(ssh: Mapping[str, Any], effective: Any) -> list[str]:
    found = []
    for key, keyword in (("kex", "kexalgorithms"), ("ciphers", "ciphers"), ("macs", "macs")):
        says = effective.get(keyword) if isinstance(effective, Mapping) else None
        told = {one for one in says if isinstance(one, str)} if isinstance(says, list) else set()
        offered = set(ssh[key])
        found += [f"{key}: offers {one}, and does not say so" for one in sorted(offered - told)]
        found += [f"{key}: says {one}, and does not offer it" for one in sorted(told - offered)]
    return found


def _ssh(way: Way, port: int) -> dict[str, Any] | None:
    try:
        with way.wire(port) as wire:
            return _greeting(wire)
    except (OSError, ValueError, struct.error, IndexError):
        return None


def _greeting(wire: Wire) -> dict[str, Any]:
    """Return what an SSH server offers before anybody has logged in (RFC 4253, sections 4.2 and 7.1)."""
    data = b""
    while b"\n" not in data:
        data = _more(wire, data, _BANNER * 4)
    banner, _, data = data.partition(b"\n")
    if not banner.startswith(b"SSH-2.0-"):
        raise ValueError("no server of SSH 2")
    wire.send(b"SSH-2.0-gcloud-pk_audit\r\n")
    while len(data) < 4:
        data = _more(wire, data, _PACKET)
    (length,) = struct.unpack(">I", data[:4])
    if not 20 < length <= _PACKET:
        raise ValueError("a packet of no such length")
    while len(data) < 4 + length:
        data = _more(wire, data, _PACKET + 4)
    payload = data[5 : 4 + length - data[4]]
    if payload[0] != _KEXINIT:
        raise ValueError("no offer of algorithms")
    lists = _name_lists(payload[17:], 8)
    kex, host_keys, up, down, mac_up, mac_down, packed_up, packed_down = lists
    return {
        "banner": banner.strip().decode("ascii", "backslashreplace")[:_BANNER],
        "kex": [one for one in kex if one not in _NOT_ALGORITHMS],
        "strict_kex": "kex-strict-s-v00@openssh.com" in kex,
        "host_keys": host_keys,
        "ciphers": sorted({*up, *down}),
        "macs": sorted({*mac_up, *mac_down}),
        "compression": sorted({*packed_up, *packed_down}),
    }


def _more(wire: Wire, data: bytes, most: int) -> bytes:
    came = wire.receive()
    if not came or len(data) + len(came) > most + 65536:
        raise ValueError("it says no more, or too much")
    return data + came


def _name_lists(data: bytes, number: int) -> Sequence[list[str]]:
    """Return name-lists (RFC 4251, section 5)."""
    found = []
    for _ in range(number):
        (length,) = struct.unpack(">I", data[:4])
        if length > len(data) - 4:
            raise ValueError("a list longer than its packet")
        text = data[4 : 4 + length].decode("ascii", "backslashreplace")
        found.append([one for one in text.split(",") if one])
        data = data[4 + length :]
    return found


def _tls(way: Way, port: int) -> dict[str, Any]:
    """Return which versions of TLS a port takes, and for how many days its certificate is still good."""
    taken, certificate = [], None
    for name, version in _VERSIONS:
        try:
            with way.wire(port) as wire:
                certificate = _handshake(wire, version) or certificate
                taken.append(name)
        except (OSError, ValueError):
            continue
    return {"port": port, "versions": taken, "certificate_days": None if certificate is None else _days(certificate)}


def _handshake(wire: Wire, version: ssl.TLSVersion) -> bytes | None:
    """Shake hands in one version; return the certificate (DER). Raises OSError (ssl.SSLError is one), ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nobody is trusted here: what the other side would take is asked, weak versions above all.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            wire.send(out.read())
            came = wire.receive()
            if not came:
                raise ValueError("it hung up") from None
            into.write(came)
        else:
            return tls.getpeercert(binary_form=True)


def _days(certificate: bytes) -> int | None:
    from cryptography import x509

    try:
        until = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None
    return (until - dt.datetime.now(dt.UTC)).days
