"""What a restore does on one control plane. This file is sent to the node and run there: Python's own library only.

Every step may come again: a run that was killed is gone on with by the next. What is done is noted in `state.json`
beside the manifests that were taken away, so that whoever looks at the node sees it too. etcd's old data stay, aside.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCD = "etcd"
STEPS = ("received", "closed", "stopped", "replaced", "etcd", "servers", "opening")
"""In their order; what comes after is `open`, which forgets all of them."""

ENCRYPTION = "gcloud-pk/api-server/encryption.yaml"
TABLE = "gcloud_pk_closed"
UNIT = "gcloud-pk-closed.service"

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BLOCK = 1024 * 1024
_POLITE = 10.0
"""Seconds that a program has to end by itself."""
_PATIENCE = 180.0
_SPARE = 64 * 1024 * 1024
_FRAME = struct.Struct("!II")

_UNIT = f"""\
# Written by gcloud-pk while it restores this cluster; it goes when the API is opened again.
[Unit]
Description=The Kubernetes API is closed to the outside: a restore is under way
DefaultDependencies=no
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f %s
ExecStop=-/usr/sbin/nft delete table inet {TABLE}

[Install]
RequiredBy=kubelet.service
WantedBy=multi-user.target
"""


class Failed(Exception):  # noqa: N818 - it is not gcloud-pk's error
    """It cannot be done; the text is for people."""


def run(words: Sequence[str], *, seconds: float = 120) -> str:
    """Run a program, without a shell; return its standard output. Raises Failed."""
    env = {"PATH": os.environ.get("GCLOUD_PK_PATH", _PATH), "LC_ALL": "C.UTF-8", "HOME": "/root"}
    try:
        done = subprocess.run(
            list(words), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, env=env
        )
    except FileNotFoundError:
        raise Failed(f"{words[0]} is not on this node") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{words[0]} did not end within {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-1500:]
        raise Failed(f"{' '.join(words[:3])} failed ({done.returncode}): {said}")
    return done.stdout.decode("utf-8", "replace")


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Put a file in its place at once, synced."""
    aside = path.with_name(f".{path.name}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(handle, mode)
        stream.write(text)
        stream.flush()
        os.fsync(handle)
    aside.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return a note; empty where it is missing or torn."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def until(what: str, met: Callable[[], bool], seconds: float) -> None:
    """Wait. Raises Failed, with what was waited for."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise Failed(f"{what} after {seconds:.0f} s")
        time.sleep(0.2)


def listens(address: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def running(names: Sequence[str]) -> list[int]:
    """Return the processes of those programs on this node."""
    wanted = {name[:15] for name in names}  # comm(5) has 15 characters
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text(encoding="utf-8", errors="replace").strip() in wanted:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def end(names: Sequence[str], seconds: float) -> None:
    """End programs: politely, then not. Raises Failed where one stays."""
    began = time.monotonic()
    signals = [(signal.SIGTERM, began), (signal.SIGKILL, began + _POLITE)]
    while left := running(names):
        if signals and time.monotonic() >= signals[0][1]:
            number, _ = signals.pop(0)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        if time.monotonic() > began + seconds:
            raise Failed(f"{', '.join(names)} do not end: processes {left}")
        time.sleep(0.2)


class Node:
    """This node, as an order describes it."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.order = order
        self.id: str = order["id"]
        self.kubernetes = Path(order["kubernetes"])
        self.manifests = self.kubernetes / "manifests"
        self.home = self.kubernetes / "gcloud-pk/restore"
        self.taken = self.home / "manifests"
        self.data = Path(order["data"])
        self.store = self.data.parent / f"restore-{self.id}"
        self.aside = self.data.parent / f"before-{self.id}"
        self.address: str = order["address"]
        self.ports: Mapping[str, int] = order["ports"]

    # --- what is known ---

    @property
    def state(self) -> dict[str, Any]:
        """What an earlier run noted."""
        return read_json(self.home / "state.json")

    def done(self, step: str) -> bool:
        """Whether a step of this very restore is done."""
        found = self.state
        return found.get("id") == self.id and step in found.get("done", [])

    def noted(self, step: str) -> None:
        """Note a step."""
        found = self.state
        done = found.get("done", []) if found.get("id") == self.id else []
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(
            self.home / "state.json",
            json.dumps({"id": self.id, "snapshot": self.order["snapshot"], "done": [*done, step]}) + "\n",
        )

    def look(self) -> dict[str, Any]:
        """Return what is here; nothing is touched."""
        folder = self.data.parent
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise Failed(f"{folder}: {error.strerror}") from None
        said = run(["etcdutl", "version"], seconds=20).split()
        here = {path.stem for path in self.manifests.glob("*.yaml")} | {path.stem for path in self.taken.glob("*.yaml")}
        return {
            "state": self.state,
            "etcdutl": said[2] if len(said) > 2 else "",
            "free": free,
            "manifests": sorted(here),
            "member": (self.kubernetes / "gcloud-pk/member.json").exists(),
        }

    # --- steps ---

    def receive(self) -> dict[str, Any]:
        """Take in the snapshot and the keys, a tar on standard input; each is checked by its digest."""
        if self.done("received"):
            return {"already": True}
        if self.state and self.state.get("id") != self.id:
            raise Failed(f"another restore is under way here: {self.state.get('id')}")
        needed = int(self.order["bytes"])
        free = shutil.disk_usage(self.data.parent).free
        if free < 2 * needed + _SPARE:
            raise Failed(
                f"{self.data.parent} has {free // 2**20} MiB free, {(2 * needed + _SPARE) // 2**20} are needed"
            )
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(mode=0o700)
        wanted = dict(self.order["files"])
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for entry in tar:
                source = tar.extractfile(entry)
                if entry.name not in wanted or source is None:
                    raise Failed(f"{entry.name} was not announced")
                self._take(entry.name, source.read, wanted.pop(entry.name))
        if wanted:
            raise Failed(f"{', '.join(sorted(wanted))} did not come")
        self.noted("received")
        return {"already": False}

    def _take(self, name: str, read: Callable[[int], bytes], digest: str) -> None:
        target = self.store / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = hashlib.sha256()
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            while data := read(_BLOCK):
                found.update(data)
                stream.write(data)
            stream.flush()
            os.fsync(handle)
        if found.hexdigest() != digest:
            raise Failed(f"{name} came with another digest than it left with")

    def traces(self) -> dict[str, Any]:
        """Return the files that tell that this machine carries a cluster, or a part of one."""
        names = ("kubelet.conf", "admin.conf", "manifests/etcd.yaml", "gcloud-pk/member.json")
        found = [name for name in names if (self.kubernetes / name).exists()]
        return {"traces": found + (["etcd's data"] if (self.data / "member").exists() else [])}

    def seed(self) -> dict[str, Any]:
        """Put a lost cluster's keys, a tar on the input, on a machine that carries none, for kubeadm to go on from."""
        if traces := self.traces()["traces"]:
            raise Failed(f"it carries a cluster ({', '.join(traces)}); keys are for a machine that carries none")
        wanted = dict(self.order["files"])
        placed = []
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for entry in tar:
                source = tar.extractfile(entry)
                if entry.name not in wanted or source is None:
                    raise Failed(f"{entry.name} was not announced")
                data = source.read()
                if hashlib.sha256(data).hexdigest() != wanted.pop(entry.name):
                    raise Failed(f"{entry.name} came with another digest than it left with")
                target = self.kubernetes / entry.name
                if target.exists() and target.read_bytes() != data:
                    raise Failed(f"{target} is there already, and is another")
                placed.append((target, data.decode("ascii")))
        if wanted:
            raise Failed(f"{', '.join(sorted(wanted))} did not come")
        for target, text in placed:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write(target, text)
        return {"placed": len(placed)}

    def close(self) -> dict[str, Any]:
        """Let nobody but this node itself reach its API server, also after it was booted anew."""
        if self.order["firewall"] and not self.done("closed"):
            rules = self.home / "closed.nft"
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Before connections are looked up (priority raw): those that stand end too.
            write(
                rules,
                f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n chain input {{\n"
                "  type filter hook input priority -300; policy accept;\n"
                f'  iifname != "lo" tcp dport {self.ports["api"]} counter drop\n }}\n}}\n',
            )
            write(Path("/etc/systemd/system") / UNIT, _UNIT % rules, 0o644)
            run(["systemctl", "daemon-reload"])
            run(["systemctl", "enable", UNIT])
            run(["systemctl", "start", UNIT])
        if not self.done("closed"):
            self.noted("closed")
        return {}

    def stop(self) -> dict[str, Any]:
        """Take the manifests away, those of the servers first, and wait until their programs are gone.

        A kubelet whose API server has no etcd is slow to end either, and remembers how often etcd failed: it is
        stopped, and starts anew with etcd. The pods of this node run on meanwhile.
        """
        if self.done("stopped"):
            return {}
        self.taken.mkdir(parents=True, exist_ok=True, mode=0o700)
        for names, port in ((SERVERS, "api"), ((ETCD,), "etcd")):
            for name in names:
                if (file := self.manifests / f"{name}.yaml").exists():
                    file.replace(self.taken / file.name)
            if self.order["firewall"]:  # else this is no node of its own, and others' programs run here too
                run(["systemctl", "stop", "kubelet.service"])
                end(names, _PATIENCE)
            until(
                f"{names[0]} still takes connections",
                lambda port=port: not listens(self.address, self.ports[port]),  # type: ignore[misc]
                _PATIENCE,
            )
        self.noted("stopped")
        return {}

    def replace(self) -> dict[str, Any]:
        """Move etcd's data aside, and put those of the snapshot in their place, as this member's."""
        if self.done("replaced"):
            return {}
        if not self.done("stopped"):
            raise Failed("etcd was not stopped here")
        made = self.data.parent / f"restored-{self.id}"
        shutil.rmtree(made, ignore_errors=True)
        members: Mapping[str, str] = self.order["members"]
        name = self.order["node"]
        run(
            [
                "etcdutl",
                "snapshot",
                "restore",
                str(self.store / "snapshot.db"),
                f"--name={name}",
                f"--initial-cluster={','.join(f'{one}={peer}' for one, peer in sorted(members.items()))}",
                f"--initial-cluster-token={self.id}",
                f"--initial-advertise-peer-urls={members[name]}",
                f"--data-dir={made}",
                f"--bump-revision={self.order['bump']}",
                "--mark-compacted",
            ],
            seconds=1800,
        )
        if not self.aside.exists():
            if self.data.exists():
                self.data.replace(self.aside)
            else:
                self.aside.mkdir(mode=0o700)
        shutil.rmtree(self.data, ignore_errors=True)  # of a run that was killed here: etcd has not seen it
        made.replace(self.data)
        self.data.chmod(0o700)
        self._encryption()
        self.noted("replaced")
        return {}

    def _encryption(self) -> None:
        """Have the API servers read secrets as they were written when the snapshot was made."""
        new, old = self.store / "keys" / ENCRYPTION, self.kubernetes / ENCRYPTION
        if not new.exists() or (old.exists() and old.read_bytes() == new.read_bytes()):
            return
        if old.exists():
            before = self.aside / "encryption.yaml"
            if not before.exists():
                shutil.copyfile(old, before)
                before.chmod(0o600)
        old.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(old, new.read_text(encoding="utf-8"))

    def start(self, step: str, names: Sequence[str]) -> dict[str, Any]:
        """Give manifests back to the kubelet."""
        if not self.done("replaced"):
            raise Failed("etcd's data were not replaced here")
        for name in names:
            if (file := self.taken / f"{name}.yaml").exists():
                file.replace(self.manifests / file.name)
        if self.order["firewall"]:
            run(["systemctl", "start", "kubelet.service"])
        if not self.done(step):
            self.noted(step)
        return {}

    def open(self) -> dict[str, Any]:
        """Let everybody reach the API server again, and forget the restore; etcd's old data stay aside."""
        if self.order["firewall"]:
            if (Path("/etc/systemd/system") / UNIT).exists():
                run(["systemctl", "disable", "--now", UNIT])
                (Path("/etc/systemd/system") / UNIT).unlink(missing_ok=True)
                run(["systemctl", "daemon-reload"])
                run(["systemctl", "start", "kubelet.service"])  # it needed that unit
            subprocess.run(["/usr/sbin/nft", "delete", "table", "inet", TABLE], check=False, capture_output=True)
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)
        return {"aside": str(self.aside)}

    def etcd(self) -> dict[str, Any]:
        """Return how etcd is here: its revision, its members, whether it answers."""
        config = self.order["etcd"]
        words = ["etcdctl", f"--endpoints={config['endpoint']}", "--dial-timeout=3s", "--command-timeout=5s"]
        words += [f"--{name}={config[name]}" for name in ("cacert", "cert", "key") if config.get(name)]
        listed = json.loads(run([*words, "member", "list", "--write-out=json"], seconds=10))
        status = json.loads(run([*words, "endpoint", "status", "--write-out=json"], seconds=10))
        return {
            "members": sorted(one.get("name", "") for one in listed["members"]),
            "revision": int(status[0]["Status"]["header"]["revision"]),
            "leader": bool(status[0]["Status"].get("leader")),
        }

    def serving(self) -> dict[str, Any]:
        """Return whether the API server takes connections from this node itself."""
        return {"serving": listens(self.address, self.ports["api"])}

    def relay(self) -> None:
        """Carry connections to this node's own API server over standard input and output, each frame with its number.

        A frame is number and length (four bytes each, the most significant first) and data; no data ends a connection.
        Number 0 without data comes first, and is waited for over there: nothing else may lie in the input's buffer.
        """
        ways = selectors.DefaultSelector()
        open_: dict[int, socket.socket] = {}
        waiting: dict[int, bytearray] = {}
        incoming: Any = sys.stdin.buffer
        outgoing = sys.stdout.buffer
        rest = b""
        ways.register(incoming, selectors.EVENT_READ, None)

        def send(number: int, data: bytes) -> None:
            outgoing.write(_FRAME.pack(number, len(data)) + data)
            outgoing.flush()

        def shut(number: int) -> None:
            ways.unregister(open_[number])
            open_.pop(number).close()
            waiting.pop(number)

        def take(number: int, data: bytes) -> None:
            if number not in open_ and data:
                try:
                    open_[number] = socket.create_connection((self.address, self.ports["api"]), timeout=10)
                except OSError:
                    send(number, b"")
                    return
                open_[number].setblocking(False)
                waiting[number] = bytearray()
                ways.register(open_[number], selectors.EVENT_READ, number)
            if number in open_ and not data:
                shut(number)
            elif number in open_:
                waiting[number] += data
                ways.modify(open_[number], selectors.EVENT_READ | selectors.EVENT_WRITE, number)

        def write(number: int) -> None:
            try:
                del waiting[number][: open_[number].send(waiting[number])]
            except BlockingIOError:
                return
            if not waiting[number]:
                ways.modify(open_[number], selectors.EVENT_READ, number)

        def bring(number: int) -> None:
            try:
                data = open_[number].recv(65536)
            except BlockingIOError:
                return
            send(number, data)
            if not data:
                shut(number)

        send(0, b"")
        while True:
            while len(rest) >= _FRAME.size:
                number, length = _FRAME.unpack_from(rest)
                if len(rest) < _FRAME.size + length:
                    break
                take(number, rest[_FRAME.size : _FRAME.size + length])
                rest = rest[_FRAME.size + length :]
            for key, events in ways.select():
                if key.data is None:
                    data = incoming.read1(65536)
                    if not data:
                        return
                    rest += data
                    continue
                try:
                    if events & selectors.EVENT_WRITE:
                        write(key.data)
                    if events & selectors.EVENT_READ:
                        bring(key.data)
                except OSError:
                    shut(key.data)
                    send(key.data, b"")


def act(order: Mapping[str, Any]) -> dict[str, Any] | None:
    """Do what an order asks. Raises Failed."""
    node = Node(order)
    if order["act"] == "relay":
        node.relay()
        return None
    if order["act"] == "start-etcd":
        return node.start("etcd", (ETCD,))
    if order["act"] == "opening":
        return node.start("opening", ())
    if order["act"] == "start-servers":
        return node.start("servers", SERVERS)
    step = {
        "look": node.look,
        "receive": node.receive,
        "traces": node.traces,
        "seed": node.seed,
        "close": node.close,
        "stop": node.stop,
        "replace": node.replace,
        "etcd": node.etcd,
        "serving": node.serving,
        "open": node.open,
    }[order["act"]]
    return step()


def main() -> int:
    """Read the order, do it, print one line of JSON; return the exit code, 3 where it could not be done."""
    order = json.loads(sys.stdin.buffer.readline())
    os.umask(0o077)
    try:
        answer = act(order)
    except (Failed, OSError, tarfile.TarError) as error:
        print(json.dumps({"error": str(error), "kind": "failed"}), file=sys.stderr)  # noqa: T201 - its output
        return 3
    if answer is not None:
        print(json.dumps(answer))  # noqa: T201 - its output
    return 0


if __name__ == "__main__":
    sys.exit(main())
