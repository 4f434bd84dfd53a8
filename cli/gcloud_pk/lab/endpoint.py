"""The lab's own view of its servers: is this port up, what does the API answer. Certificates both ways."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from gcloud_pk.lab import pki
from gcloud_pk.lab.configuration import Layout


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises ValueError."""
        return json.loads(self.body)


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def request(lab: Layout, port: int, path: str, body: Any = None, *, timeout: float = 5) -> Answer | None:
    """Send GET, or POST of `body`, as the lab's administrator; None when nobody answers within `timeout` seconds."""
    import http.client
    import ssl

    context = ssl.create_default_context(cafile=str(lab.authority(pki.CLUSTER_CA)))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    admin = lab.pair("admin")
    try:
        context.load_cert_chain(admin.certificate, admin.key)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=timeout)
        try:
            if body is None:
                connection.request("GET", path, headers={"Accept": "application/json"})
            else:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return None
