"""Reads of a node of itself through the API's address, each 0.1 s by a new connection; as root on that node.

`reads.py ADDRESS NODE SECONDS` prints the number of answers, and the longest time in seconds between two.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from itertools import pairwise

ADDRESS, NODE, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])
QUESTION = f"GET /api/v1/nodes/{NODE} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n"

context = ssl.create_default_context(cafile="/etc/kubernetes/pki/ca.crt")
context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
context.load_cert_chain("/var/lib/kubelet/pki/kubelet-client-current.pem")
answered: list[float] = []


def read() -> None:
    try:
        with (
            socket.create_connection((ADDRESS, 6443), timeout=1) as plain,
            context.wrap_socket(plain, server_hostname=ADDRESS) as tls,
        ):
            tls.sendall(QUESTION.encode())
            if b" 200 " in tls.recv(64):
                answered.append(time.monotonic())
    except OSError:
        pass


begun = time.monotonic()
while time.monotonic() < begun + SECONDS:
    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.1)
ended = time.monotonic()
time.sleep(1.2)
moments = [begun, *sorted(moment for moment in answered if moment < ended), ended]
gap = max(later - one for one, later in pairwise(moments))
sys.stdout.write(json.dumps({"answers": len(answered), "gap": round(gap, 2)}))
