"""A stand-in for a node with an enforcing network: no kubelet and no container runtime, but real packets.

It runs the command of each pod that is bound to its Node as a process in a network namespace (and a mount namespace)
of its own, and tells the API server about it as a kubelet does: addresses, phase, termination message, deadline,
deletion. Each network namespace ends in a TUN device here, so every packet between pods passes `Network`, which drops
what the live NetworkPolicies do not allow. The evaluation knows what the tests use, no more (cyclonus judges the
policies as such); it shows what the probes say where policies are enforced and where they are not.

Namespaces and devices have no names: they end with this process, however it ends. Needs root and Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from gcloud_pk.cluster.kinds import NAMESPACE, NETWORK_POLICY, NODE, POD
from gcloud_pk.cluster.transport import Api

NODE_ADDRESS = "10.207.0.11"
OUTSIDE_ADDRESS = "203.0.113.10"
METADATA_ADDRESS = "169.254.169.254"
POD_RANGE = "10.208.7."

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001
_MERGE = "application/merge-patch+json"
_TOOLS = ("ip", "nsenter", "setpriv", "unshare")
_PYTHON = "/usr/bin/python3"

_Result = TypeVar("_Result")


def missing() -> str | None:
    """Return why no stand-in node can run here; None where one can."""
    if os.geteuid() != 0:
        return "a stand-in node needs root, for network namespaces"
    if absent := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"a stand-in node needs {', '.join(absent)}"
    if not Path(_PYTHON).exists():
        return f"a stand-in node needs {_PYTHON}, as what runs in its pods"
    try:
        for descriptor in _in_new_namespace(_tun):
            os.close(descriptor)
    except OSError as error:
        return f"a stand-in node needs network namespaces and TUN devices: {error}"
    return None


def _in_new_namespace(act: Callable[[], _Result]) -> tuple[int, _Result]:
    """Make a network namespace, act in it, and return a descriptor that keeps it and what was returned."""

    def work() -> tuple[int, _Result]:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY), act()

    # A namespace is a thread's, so it is made in one that ends.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def _tun() -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", b"eth0", _IFF_TUN_NO_PI))
    return descriptor


@dataclass(frozen=True)
class Room:
    """A network namespace with some addresses. `device`: where its packets come out."""

    namespace: int
    device: int
    addresses: tuple[str, ...]

    @classmethod
    def make(cls, addresses: tuple[str, ...]) -> Room:
        namespace, device = _in_new_namespace(_tun)
        lines = [f"addr add {a}/32 dev eth0" for a in addresses]
        lines += ["link set lo up", "link set eth0 up", "route add default dev eth0"]
        room = cls(namespace, device, addresses)
        subprocess.run([*room.enter, "ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
        # As container runtimes do, so that a server of names needs no privilege.
        command = "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"
        subprocess.run([*room.enter, "sh", "-c", command], check=True)
        return room

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.namespace}"]

    def close(self) -> None:
        os.close(self.device)
        os.close(self.namespace)


@dataclass(frozen=True)
class Packet:
    """What the network looks at."""

    source: str
    to: str
    protocol: str
    source_port: int
    port: int

    @classmethod
    def read(cls, data: bytes) -> Packet | None:
        if len(data) < 24 or data[0] >> 4 != 4:
            return None
        protocol = {6: "TCP", 17: "UDP"}.get(data[9])
        if protocol is None:
            return None
        ports = struct.unpack_from("!HH", data, (data[0] & 15) * 4)
        return cls(socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), protocol, *ports)

    def reply(self) -> Packet:
        return Packet(self.to, self.source, self.protocol, self.port, self.source_port)


@dataclass
class Network:
    """Carries packets between rooms, and drops what policies do not allow, if it enforces them."""

    enforcing: bool = True
    rooms: dict[str, Room] = field(default_factory=dict)
    policies: list[dict[str, Any]] = field(default_factory=list)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Address → pod."""
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Name → labels."""
    known: set[Packet] = field(default_factory=set)
    """Flows that were let pass: what answers them comes through."""
    dropped: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while packets are carried, and while rooms come and go."""

    def carry(self, data: bytes) -> None:
        packet = Packet.read(data)
        if packet is None:
            return
        room = self.rooms.get(packet.to)
        if room is None or not self.passes(packet):
            self.dropped += 1
            return
        self.known.add(packet)
        with contextlib.suppress(OSError):
            os.write(room.device, data)

    def passes(self, packet: Packet) -> bool:
        if not self.enforcing or packet in self.known or packet.reply() in self.known:
            return True
        return self._allows("Egress", packet.source, packet.to, packet) and self._allows(
            "Ingress", packet.to, packet.source, packet
        )

    def _allows(self, direction: str, subject: str, peer: str, packet: Packet) -> bool:
        pod = self.pods.get(subject)
        if pod is None:
            return True
        selecting = [
            p["spec"]
            for p in self.policies
            if p["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and direction in p["spec"].get("policyTypes", ["Ingress"])
            and _selects(p["spec"].get("podSelector") or {}, pod["metadata"].get("labels") or {})
        ]
        if not selecting:
            return True
        key, side = direction.lower(), "to" if direction == "Egress" else "from"
        return any(
            self._is_of(rule, packet) and self._is_peer(rule.get(side), pod, peer)
            for spec in selecting
            for rule in spec.get(key) or []
        )

    def _is_of(self, rule: Mapping[str, Any], packet: Packet) -> bool:
        ports = rule.get("ports")
        return not ports or any((p["port"], p["protocol"]) == (packet.port, packet.protocol) for p in ports)

    def _is_peer(self, peers: list[Any] | None, pod: Mapping[str, Any], address: str) -> bool:
        other = self.pods.get(address)
        for peer in peers or [{}]:
            if "ipBlock" in peer:
                block = peer["ipBlock"]
                within = ip_address(address) in ip_network(block["cidr"])
                if within and not any(ip_address(address) in ip_network(e) for e in block.get("except") or []):
                    return True
            elif not peer:
                return True
            elif other is not None:
                here, there = pod["metadata"]["namespace"], other["metadata"]["namespace"]
                selector = peer.get("namespaceSelector")
                near = here == there if selector is None else _selects(selector, self.namespaces.get(there, {}))
                if near and _selects(peer.get("podSelector") or {}, other["metadata"].get("labels") or {}):
                    return True
        return False


def _selects(selector: Mapping[str, Any], words: Mapping[str, str]) -> bool:
    if unknown := [e for e in selector.get("matchExpressions") or [] if e["operator"] != "In"]:
        raise ValueError(f"the stand-in network does not know {unknown}")
    return all(words.get(k) == v for k, v in (selector.get("matchLabels") or {}).items()) and all(
        words.get(e["key"]) in e["values"] for e in selector.get("matchExpressions") or []
    )


# What answers on the node, at the API server's address, at the metadata address and outside: a connection is enough.
HOSTS = textwrap.dedent(
    """
    import select, socket, sys
    made = []
    for port in map(int, sys.argv[1:]):
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", port)); s.listen(64); made.append(s)
    while True:
        for s in select.select(made, [], [])[0]:
            s.accept()[0].close()
    """
)
# A server of names: the number of the question comes back, which is an answer.
NAMES = textwrap.dedent(
    """
    import select, socket
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 53))
    made = [u]
    for port in (53, 9153):
        s = socket.socket(); s.bind(("", port)); s.listen(64); made.append(s)
    while True:
        for s in select.select(made, [], [])[0]:
            if s is u:
                data, who = s.recvfrom(512); s.sendto(data, who)
            else:
                c = s.accept()[0]; c.settimeout(1)
                try:
                    c.sendall(c.recv(512))
                except OSError:
                    pass
                c.close()
    """
)


@dataclass
class Running:
    """A pod of this node."""

    room: Room
    process: subprocess.Popen[bytes]
    report: Path
    started: float
    told: str = ""


@dataclass
class StandInNode:
    """One Node object, and what a kubelet and a network would do for it.

    `starts`: whether images can be had; `paused`: the kubelet does nothing meanwhile, as if it were gone.
    """

    api: Api
    name: str
    folder: Path
    network: Network = field(default_factory=Network)
    starts: bool = True
    paused: bool = False
    running: dict[str, Running] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _count: int = 10
    _names: str = ""

    def deregister(self) -> None:
        """Remove the Node; what runs goes on."""
        self.api.request("DELETE", NODE.path(name=self.name))

    def register(self) -> None:
        """Make the Node, Ready and empty."""
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}}
        assert self.api.request("POST", NODE.path(), body=body).ok
        room = {"cpu": "64", "memory": "64Gi", "ephemeral-storage": "64Gi", "pods": "110"}
        status = {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "StandIn", "message": "no kubelet"}],
        }
        self._patch(f"{NODE.path(name=self.name)}/status", {"status": status})
        # The API server taints what has not been ready yet; nobody here takes that off.
        self._patch(NODE.path(name=self.name), {"spec": {"taints": None}})

    def _patch(self, path: str, body: dict[str, Any]) -> None:
        answer = self.api.request("PATCH", path, body=body, content_type=_MERGE)
        assert answer.ok or answer.status == 404, answer.message

    def carry(self) -> None:
        """Carry packets until it is over."""
        with selectors.DefaultSelector() as ready:
            watched: dict[int, Room] = {}
            while not self._over.is_set():
                with self.network.lock:
                    rooms = {room.device: room for room in self.network.rooms.values()}
                    # A descriptor's number may be another device's by now.
                    for device in [d for d, room in watched.items() if rooms.get(d) != room]:
                        ready.unregister(device)
                        del watched[device]
                    for device in rooms.keys() - watched.keys():
                        ready.register(device, selectors.EVENT_READ)
                        watched[device] = rooms[device]
                came = [key.fd for key, _ in ready.select(0.05)]
                with self.network.lock:
                    open_ones = {room.device: room for room in self.network.rooms.values()}
                    for device in came:
                        if open_ones.get(device) == watched[device]:
                            with contextlib.suppress(BlockingIOError):
                                self.network.carry(os.read(device, 65536))

    def work(self) -> None:
        """Do what a kubelet does, again and again, until it is over."""
        while not self._over.wait(0.1):
            if not self.paused:
                self._look()
        for uid in tuple(self.running):
            self._end(uid)

    def _look(self) -> None:
        namespaces = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in self.api.list(NAMESPACE)}
        policies = self.api.list(NETWORK_POLICY)
        with self.network.lock:
            self.network.namespaces, self.network.policies = namespaces, policies
        mine = {p["metadata"]["uid"]: p for p in self.api.list(POD) if p["spec"].get("nodeName") == self.name}
        for uid in self.running.keys() - mine.keys():
            self._end(uid)
        for uid, pod in mine.items():
            path = POD.path(pod["metadata"]["namespace"], pod["metadata"]["name"])
            if pod["metadata"].get("deletionTimestamp"):
                self._end(uid)
                self.api.request("DELETE", path, params={"gracePeriodSeconds": "0"})
            elif not self.starts and uid not in self.running:
                self._tell(path, {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "Pending")
            elif uid not in self.running:
                self._start(uid, pod, path)
            else:
                self._tend(uid, pod, path)

    def _start(self, uid: str, pod: dict[str, Any], path: str) -> None:
        self._count += 1
        address = f"{POD_RANGE}{self._count}"
        room = Room.make((address,))
        # The policies are in force before the first packet.
        with self.network.lock:
            self.network.pods[address] = pod
            self.network.rooms[address] = room
        if (pod["metadata"].get("labels") or {}).get("k8s-app") == "kube-dns":
            self._names = address
        report = self.folder / f"{uid}.report"
        report.touch()
        report.chmod(0o666)
        container = pod["spec"]["containers"][0]
        process = start(room, container["command"], report, self._names, {"HOST_IP": NODE_ADDRESS})
        self.running[uid] = Running(room, process, report, time.time())
        state = {"running": {"startedAt": _now()}}
        self._tell(path, state, "Running", address)

    def _tend(self, uid: str, pod: Mapping[str, Any], path: str) -> None:
        own = self.running[uid]
        code = own.process.poll()
        limit = pod["spec"].get("activeDeadlineSeconds")
        if own.told:
            return
        if code is None and limit is not None and time.time() - own.started > limit:
            own.process.kill()
            own.told = "Failed"
            self._patch(f"{path}/status", {"status": {"phase": "Failed", "reason": "DeadlineExceeded"}})
        elif code is not None:
            own.told = "Succeeded" if code == 0 else "Failed"
            message = own.report.read_text(errors="replace")[:4096]
            ended = {"exitCode": code, "message": message, "startedAt": _now(own.started), "finishedAt": _now()}
            self._tell(path, {"terminated": ended}, own.told, own.room.addresses[0])

    def _tell(self, path: str, state: dict[str, Any], phase: str, address: str | None = None) -> None:
        status: dict[str, Any] = {
            "phase": phase,
            "hostIP": NODE_ADDRESS,
            "containerStatuses": [
                {
                    "name": "probe",
                    "image": "stand-in",
                    "imageID": "",
                    "ready": phase == "Running",
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        if address is not None:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        self._patch(f"{path}/status", {"status": status})

    def _end(self, uid: str) -> None:
        own = self.running.pop(uid, None)
        if own is None:
            return
        own.process.kill()
        own.process.wait()
        with self.network.lock:
            del self.network.rooms[own.room.addresses[0]]
            del self.network.pods[own.room.addresses[0]]
            own.room.close()

    def stop(self) -> None:
        self._over.set()

    def guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        """Return `act`, whose failure is kept for the test."""

        def run() -> None:
            try:
                act()
            except BaseException as error:
                self.failures.append(error)
                raise

        return run


def start(room: Room, command: list[str], report: Path, names: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Run a command in a room, as nobody, with the files that a kubelet mounts; it ends with this process."""
    resolver = report.with_suffix(".resolv")
    resolver.write_text(f"nameserver {names}\n" if names else "")
    program = [_PYTHON if command[0] == "python3" else command[0], *command[1:]]
    mounts = (
        "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && "
        'touch /dev/termination-log && mount --bind "$1" /dev/termination-log && '
        'mount --bind "$2" "$(readlink -f /etc/resolv.conf)" && shift 2 && exec "$@"'
    )
    unprivileged = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"]
    return subprocess.Popen(
        [
            *room.enter, "unshare", "--mount", "sh", "-c", mounts, "sh", str(report), str(resolver), *unprivileged,
            *program,
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env},
        stdin=subprocess.DEVNULL,
        cwd="/",
    )  # fmt: skip


def _now(moment: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


@contextmanager
def stand_in_node(api: Api, name: str, servers: tuple[str, ...]) -> Iterator[StandInNode]:
    """Run a stand-in node; at `servers`, its own address, the metadata address and one outside, somebody answers."""
    folder = Path(tempfile.mkdtemp(prefix="stand-in-node-"))
    folder.chmod(0o755)
    node = StandInNode(api, name, folder)
    hosts = Room.make((NODE_ADDRESS, METADATA_ADDRESS, OUTSIDE_ADDRESS, *servers))
    node.network.rooms = dict.fromkeys(hosts.addresses, hosts)
    report = folder / "hosts.report"
    report.touch()
    answering = start(hosts, ["python3", "-I", "-c", HOSTS, "80", "443", "5432", "10250"], report, "", {})
    threads = [threading.Thread(target=node.guarded(act), daemon=True) for act in (node.carry, node.work)]
    try:
        node.register()
        for thread in threads:
            thread.start()
        yield node
    finally:
        node.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(20)
        answering.kill()
        answering.wait()
        hosts.close()
        node.deregister()
        shutil.rmtree(folder)
    assert not node.failures, node.failures


def main() -> None:
    """Run a stand-in node by itself, until SIGTERM: `python -m tests.e2e.stand_in_node KUBECONFIG`."""
    from gcloud_pk.cluster.kubeconfig import load

    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with stand_in_node(Api(load(sys.argv[1], "admin")), "stand-in", ("10.209.0.1",)) as node:
        sys.stdout.write(json.dumps({"node": node.name}) + "\n")
        sys.stdout.flush()
        over.wait()


if __name__ == "__main__":
    main()
