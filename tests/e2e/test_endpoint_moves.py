"""Who speaks with a control plane that dies is told so by the one that takes the API's address over: real packets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest
from tests.unit.role_templates import rendered

HOLDS = Path(__file__).parent / "data/holds.py"
ADDRESS = "10.99.0.10"
LISTEN = """
import socket
listener = socket.create_server(("", 6443))
print(flush=True)
held = listener.accept()[0]
while held.recv(1 << 20):
    pass
"""
WAITED = 4.0
"""Seconds: what was sent and not acknowledged is sent again after 0.2, 0.6, 1.4 and 3 s (RFC 6298)."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("nft")), reason="ip or nft is not installed"),
]


class Wires:
    """A client, a control plane that has the API's address, and one that takes it over, on one segment."""

    def __init__(self, name: str) -> None:
        self.client, self.dead, self.heir = (f"{name}-{part}" for part in ("client", "dead", "heir"))

    def ip(self, namespace: str, *words: str) -> None:
        subprocess.run(["ip", "-n", namespace, *words], check=True)

    def within(self, namespace: str, *words: str | Path) -> list[str]:
        return ["ip", "netns", "exec", namespace, *map(str, words)]

    def up(self) -> None:
        for namespace in (self.client, self.dead, self.heir):
            subprocess.run(["ip", "netns", "add", namespace], check=True)
        self.ip(self.client, "link", "add", "segment", "type", "bridge")
        self.ip(self.client, "address", "add", "10.99.0.1/24", "dev", "segment")
        self.ip(self.client, "link", "set", "segment", "up")
        for number, namespace in ((11, self.dead), (12, self.heir)):
            self.ip(self.client, "link", "add", f"to-{number}", "type", "veth", "peer", "eth0", "netns", namespace)
            self.ip(self.client, "link", "set", f"to-{number}", "master", "segment", "up")
            self.ip(namespace, "address", "add", f"10.99.0.{number}/24", "dev", "eth0")
            self.ip(namespace, "link", "set", "eth0", "up")
        self.ip(self.dead, "address", "add", f"{ADDRESS}/32", "dev", "eth0")

    def move(self) -> None:
        """Have the one die without a word, and the other take the address."""
        self.ip(self.client, "link", "set", "to-11", "down")
        self.ip(self.heir, "address", "add", f"{ADDRESS}/32", "dev", "eth0")
        self.ip(self.client, "neighbour", "flush", "all")

    def down(self) -> None:
        for namespace in (self.client, self.dead, self.heir):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


@pytest.fixture
def wires() -> Iterator[Wires]:
    made = Wires(f"gpk-{os.getpid()}")
    try:
        made.up()
        yield made
    finally:
        made.down()


def ended(wires: Wires, role: str) -> str | None:
    """Return how a connection ends whose control plane dies; the heir has the firewall of a role."""
    rules = rendered(
        "firewall", "nftables.conf.j2", node_role=role, node_api_port=6443, groups={"all": []}, hostvars={},
        node_networks={"nodes": "10.99.0.0/24", "pods": "10.98.0.0/16"},
    )  # fmt: skip
    subprocess.run(wires.within(wires.heir, "nft", "-f", "-"), input=rules, text=True, check=True)
    listen = wires.within(wires.dead, sys.executable, "-c", LISTEN)
    hold = wires.within(wires.client, sys.executable, HOLDS, ADDRESS, str(WAITED + 1))
    with subprocess.Popen(listen, stdin=PIPE, stdout=PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with subprocess.Popen(hold, stdout=PIPE, text=True) as client:
            assert client.stdout is not None
            assert client.poll() is None
            time.sleep(1)
            wires.move()
            said = json.loads(client.communicate(timeout=30)[0])
        server.kill()
        assert server.wait() < 0, "the server had ended by itself"
    found: str | None = said["ended"]
    return found


def test_the_heir_of_the_apis_address_resets_connections_that_it_never_had(wires: Wires) -> None:
    assert ended(wires, "control-plane") == "ECONNRESET"


def test_other_nodes_say_nothing_to_packets_of_no_connection(wires: Wires) -> None:
    assert ended(wires, "worker") is None
