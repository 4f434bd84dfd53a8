"""Loopback ports of a lab: chosen once and kept, so that kubeconfigs stay good; chosen anew only where one is taken."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Mapping

NAMES = ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

# Below the kernel's range for outgoing connections (ip_local_port_range, 32768 and up): one of those would take the
# port of a stopped lab sooner or later.
RANGE = range(20000, 32000)


def free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(kept: Mapping[str, int], avoid: Collection[int], in_use: Collection[str] = ()) -> dict[str, int]:
    """Return a port for each of NAMES: those of `kept` where they are free, others anew.

    `in_use` names servers that run and keep theirs; `avoid` are ports of other labs, which may be stopped.
    """
    ports = {name: kept[name] for name in NAMES if name in kept and (name in in_use or free(kept[name]))}
    candidates = random.sample(RANGE, k=len(RANGE))
    for name in NAMES:
        while name not in ports:
            if not candidates:
                raise OSError("no free port between 20000 and 32000")
            port = candidates.pop()
            if port not in avoid and port not in ports.values() and free(port):
                ports[name] = port
    return {name: ports[name] for name in NAMES}
