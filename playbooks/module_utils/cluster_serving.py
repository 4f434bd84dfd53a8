"""Whose request for a kubelet's serving certificate is approved, and a program that approves them. Runs on the node.

As a program (`/usr/local/lib/gcloud-pk/kubelet-serving`, on control planes, started by a timer) it speaks to the API
server of its own node with that node's kubelet certificate, which the kubelet renews by itself. It may read requests
and approve those of the kubelets' signer, and nothing more. Python 3.9.

Requests are read as bytes (RFC 2986, RFC 5280 section 4.2.1.6), not as openssl prints them: who writes a request can
put lines into that text. Whatever a kubelet does not write, such as another extension, makes it nobody's request. That
its own key has signed it is judged by who signs the certificate.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

SIGNER = "kubernetes.io/kubelet-serving"
USAGES = {"digital signature", "key encipherment", "server auth"}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE REQUEST-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE REQUEST-----\n?")

# Tags of DER (X.690), and the object identifiers of what a kubelet writes.
_INTEGER, _OID, _UTF8, _PRINTABLE, _SEQUENCE, _SET, _ATTRIBUTES = 0x02, 0x06, 0x0C, 0x13, 0x30, 0x31, 0xA0
_OCTETS, _DNS, _ADDRESS = 0x04, 0x82, 0x87
_ORGANISATION, _COMMON_NAME = bytes.fromhex("55040a"), bytes.fromhex("550403")
_EXTENSIONS, _NAMES = bytes.fromhex("2a864886f70d01090e"), bytes.fromhex("551d11")

AUTHORITY = "/etc/kubernetes/pki/ca.crt"
IDENTITY = "/var/lib/kubelet/pki/kubelet-client-current.pem"
_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_OURS = "fieldSelector=spec.signerName%3Dkubernetes.io%2Fkubelet-serving"
_PATIENCE = 20.0


class Request(NamedTuple):
    """What a certificate request asks for: its subject's common name, and its alternative names."""

    common_name: str
    names: frozenset[str]


def values(data: bytes) -> list[tuple[int, bytes]]:
    """Return the tags and contents that DER says one after another. Raises ValueError for anything but DER."""
    found, at = [], 0
    while at < len(data):
        if len(data) < at + 2 or data[at] & 0x1F == 0x1F:
            raise ValueError("cut, or a long tag")
        tag, length, at = data[at], data[at + 1], at + 2
        if length >= 0x80:
            size = length - 0x80
            length = int.from_bytes(data[at : at + size], "big")
            if not 1 <= size <= 3 or length < 0x80 or length >> 8 * (size - 1) == 0:
                raise ValueError("a length that is not DER's")
            at += size
        if len(data) < at + length:
            raise ValueError("cut")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def within(data: bytes, *tags: int) -> list[bytes]:
    """Return the contents of values that have exactly these tags. Raises ValueError for any others."""
    found = values(data)
    if tuple(tag for tag, _ in found) != tags:
        raise ValueError("other values than a kubelet's")
    return [content for _, content in found]


def _text(value: bytes) -> tuple[bytes, str]:
    """Return type and value of a relative distinguished name that has one attribute. Raises ValueError."""
    (pair,) = within(value, _SEQUENCE)
    (kind, name), (form, text) = values(pair)
    if kind != _OID or form not in {_UTF8, _PRINTABLE}:
        raise ValueError("no text")
    return name, text.decode("ascii")


def _name(tag: int, content: bytes) -> str:
    if tag == _DNS:
        return f"DNS:{content.decode('ascii')}"
    if tag == _ADDRESS:
        return f"IP Address:{ipaddress.ip_address(content)}"
    raise ValueError("a name of another kind")


def parsed(der: bytes) -> Request:
    """Return what a request asks for. Raises ValueError where it has anything that a kubelet does not write."""
    (request,) = within(der, _SEQUENCE)
    info = values(request)[0][1]
    _, subject, _, attributes = within(info, _INTEGER, _SEQUENCE, _SEQUENCE, _ATTRIBUTES)
    organisation, common_name = (_text(content) for content in within(subject, _SET, _SET))
    if organisation != (_ORGANISATION, "system:nodes") or common_name[0] != _COMMON_NAME:
        raise ValueError("the subject of somebody else")
    (attribute,) = within(attributes, _SEQUENCE)
    kind, inner = within(attribute, _OID, _SET)
    (extensions,) = within(inner, _SEQUENCE)
    (extension,) = within(extensions, _SEQUENCE)
    which, content = within(extension, _OID, _OCTETS)
    if (kind, which) != (_EXTENSIONS, _NAMES):
        raise ValueError("another extension")
    (names,) = within(content, _SEQUENCE)
    return Request(common_name[1], frozenset(_name(*one) for one in values(names)))


def decoded(item: dict[str, Any]) -> Request | None:
    """Return what a request asks for; None where it is none that a kubelet writes."""
    try:
        pem = _PEM.fullmatch(base64.b64decode(item["spec"]["request"], validate=True))
        return parsed(base64.b64decode(pem[1])) if pem else None
    except (ValueError, IndexError):
        return None


def refusal(item: dict[str, Any], request: Request | None, nodes: dict[str, str]) -> str | None:
    """Return why a request must not be approved, or None. `nodes`: name to address, as the inventory says."""
    spec = item["spec"]
    user = spec.get("username", "")
    node = user.removeprefix("system:node:")
    if user == node or node not in nodes:
        return f"asked by {user!r}, which is none of the cluster's nodes"
    if "system:nodes" not in spec.get("groups", ()):
        return f"{user} is not in system:nodes"
    if set(spec.get("usages", ())) - USAGES or "server auth" not in spec.get("usages", ()):
        return f"asks for other usages: {', '.join(spec.get('usages', ()))}"
    if request is None or request.common_name != user:
        return "its subject is not the node that asks"
    own = {f"DNS:{node}", f"IP Address:{ipaddress.ip_address(nodes[node])}"}
    if request.names - own:
        return f"asks for names that are not {node}'s: {', '.join(sorted(request.names - own))}"
    if own - request.names:
        return f"does not ask for all of {node}'s names: {', '.join(sorted(own - request.names))}"
    return None


def pending(item: dict[str, Any]) -> bool:
    """Whether a request of the kubelets' signer waits for somebody."""
    return item["spec"].get("signerName") == SIGNER and not item.get("status", {}).get("conditions")


def judged(items: list[dict[str, Any]], nodes: dict[str, str]) -> dict[str, str | None]:
    """Return each request that waits: its name, and why it must not be approved, or None."""
    return {item["metadata"]["name"]: refusal(item, decoded(item), nodes) for item in items if pending(item)}


def approved(item: dict[str, Any]) -> dict[str, Any]:
    """Return a request with its approval."""
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "GcloudPkNodeOfInventory",
        "message": "A node of the inventory asks for its own name and address (gcloud-pk, kubelet-serving).",
    }
    return {**item, "status": {**item.get("status", {}), "conditions": [condition]}}


def _call(api: str, path: str, body: dict[str, Any] | None = None) -> Any:
    context = ssl.create_default_context(cafile=AUTHORITY)
    # kubeadm's authorities of Kubernetes have no key identifier that strict checking would ask for.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.load_cert_chain(IDENTITY)
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{api}{path}", data, headers, method="GET" if data is None else "PUT")  # noqa: S310 - an https URL of our own file
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=_PATIENCE) as answer:
        return json.load(answer)


def main(words: list[str]) -> int:
    """Judge what waits by the file that `words` names: {"api": URL, "nodes": {name: address}}; say what was done."""
    given = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    try:
        items = _call(given["api"], f"{_REQUESTS}?{_OURS}")["items"]
        for name, why in judged(items, given["nodes"]).items():
            if why:
                sys.stderr.write(f"not approved: {name}: {why}\n")
                continue
            item = next(one for one in items if one["metadata"]["name"] == name)
            _call(given["api"], f"{_REQUESTS}/{name}/approval", approved(item))
            sys.stderr.write(f"approved: {name} of {item['spec']['username']}\n")
    except OSError as error:  # the next start of the timer asks again; two at once are told apart by the API server
        sys.stderr.write(f"the API server does not do it: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
