"""A control plane of three members on loopback, as a restore finds one: manifests, etcd, keys, and who watches them.

A thread stands in for the kubelet: it runs the command in each manifest, and ends it where the manifest goes. The
programs are the real ones (three etcd, one API server with its controller manager); there is no node and no firewall.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk.cluster import kubeconfig as kubeconfigs
from gcloud_pk.cluster.identity import cluster_uid
from gcloud_pk.cluster.transport import Api
from gcloud_pk.console import Console
from gcloud_pk.lab import configuration, kubeconfig, pki
from gcloud_pk.lab.configuration import Layout
from gcloud_pk.programs import pins, sourcing
from gcloud_pk.stack.recovery.doors import Door
from gcloud_pk.stack.recovery.ground import Ground

SITE, CLUSTER = "isb-1", "isb-1-a"
NAMES = ("n1", "n2", "n3")
_AUTHORITIES = {"pki/ca": pki.CLUSTER_CA, "pki/etcd/ca": pki.ETCD_CA, "pki/front-proxy-ca": pki.FRONT_PROXY_CA}


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


def programs() -> dict[str, Path]:
    """Return the programs, from the cache alone. Raises UnavailableError."""
    offline = sourcing.Wish(offline=True)
    found = sourcing.obtain(pins.load("lab"), offline, Console())
    found |= sourcing.obtain(pins.load("backup"), offline, Console())
    return {name: one.path for name, one in found.items()}


class Kubelet:
    """Runs what the manifests of one node say."""

    def __init__(self, manifests: Path, logs: Path) -> None:
        self.manifests, self.logs = manifests, logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            wanted = {path.stem: path for path in self.manifests.glob("*.yaml")}
            for name in [name for name in self.running if name not in wanted]:
                self._stop(name)
            for name, path in wanted.items():
                if name not in self.running or self.running[name].poll() is not None:
                    try:
                        command = json.loads(path.read_text())["command"]
                    except (OSError, ValueError):
                        continue
                    with (self.logs / f"{name}.log").open("ab") as log:
                        self.running[name] = subprocess.Popen(
                            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": os.defpath}
                        )
                    self._end.wait(0.3)
        for name in list(self.running):
            self._stop(name)

    def _stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """As a power cut: everything ends at once, and does not begin again."""
        self._end.set()
        for process in list(self.running.values()):
            process.kill()
        self._thread.join()

    def end(self) -> None:
        """End all of it, in peace."""
        self._end.set()
        self._thread.join()


@dataclass
class Centre:
    """`root` holds everything; `ports` by `NODE-etcd`, `NODE-peer`, and the API's."""

    root: Path
    found: dict[str, Path]
    ports: dict[str, int]
    uid: str = ""
    kubelets: dict[str, Kubelet] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """The keys and settings of an embedded control plane."""
        return Layout(self.root / "lab")

    def node(self, name: str) -> Path:
        return self.root / name

    def data(self, name: str) -> Path:
        return self.node(name) / "etcd/data"

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    def api(self, context: str = "admin") -> Api:
        return Api(kubeconfigs.load(str(self.kubeconfig), context))

    def door(self, name: str) -> Door:
        """Return the way to a node: a shell of this machine."""
        node = self.node(name)
        pair = self.layout.pair("apiserver-etcd")
        ground = Ground(
            kubernetes=str(node / "kubernetes"),
            data=str(self.data(name)),
            etcd={
                "endpoint": f"https://127.0.0.1:{self.ports[f'{name}-etcd']}",
                "cacert": str(self.layout.authority(pki.ETCD_CA)),
                "cert": str(pair.certificate),
                "key": str(pair.key),
            },
            ports={
                "etcd": self.ports[f"{name}-etcd"],
                "peer": self.ports[f"{name}-peer"],
                "api": self.ports["kube-apiserver"],
            },
            firewall=False,
            backups=str(node / "backup"),
            signers=(str(node / "ssh_host_ed25519_key"),),
        )
        path = ":".join([*dict.fromkeys(str(one.parent) for one in self.found.values()), os.environ["PATH"]])
        return Door(name, "127.0.0.1", ("sh", "-c"), "", {"GCLOUD_PK_PATH": path}, ground)

    def doors(self) -> list[Door]:
        return [self.door(name) for name in NAMES]

    def host_key(self, name: str) -> str:
        """Return the public host key of a node."""
        return " ".join((self.node(name) / "ssh_host_ed25519_key.pub").read_text().split()[:2])

    def recipient(self, name: str = "recipient") -> tuple[str, Path]:
        """Return a recipient's certificate and the file of its key; made where there is none."""
        key, certificate = self.root / f"{name}.key", self.root / f"{name}.crt"
        if not certificate.exists():
            words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            words += ["-subj", f"/CN={name}", "-days", "3650", "-keyout", str(key), "-out", str(certificate)]
            subprocess.run(words, check=True, capture_output=True)
        return certificate.read_text(), key

    def etcdctl(self, *words: str, name: str = "n1") -> str:
        etcd = self.door(name).ground.etcd
        asked = [str(self.found["etcdctl"]), f"--endpoints={etcd['endpoint']}"]
        asked += [f"--{one}={etcd[one]}" for one in ("cacert", "cert", "key")]
        return subprocess.run([*asked, *words], check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        """Have every node's manifests watched."""
        for name in NAMES:
            logs = self.node(name) / "logs"
            logs.mkdir(exist_ok=True)
            self.kubelets[name] = Kubelet(self.node(name) / "kubernetes/manifests", logs)

    def stop(self, *, power_cut: bool = False) -> None:
        """End every node's programs."""
        for one in self.kubelets.values():
            one.kill() if power_cut else one.end()
        self.kubelets.clear()

    def wait(self, seconds: float = 120) -> None:
        """Wait until the API serves. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.api().request("GET", "/readyz", patience=1).ok:
                    self.uid = cluster_uid(self.api())
                    self.api().get("/api/v1/namespaces/default/serviceaccounts/default")
                    return
            except Exception:  # noqa: BLE001 - not yet, whatever it says
                time.sleep(0.3)
        raise TimeoutError("the API does not serve")

    def lose_data(self) -> None:
        """Destroy etcd's data on all members, as no backup should ever need."""
        self.stop(power_cut=True)
        for name in NAMES:
            shutil.rmtree(self.data(name))


def _manifest(centre: Centre, name: str, program: str, command: list[str]) -> None:
    file = centre.node(name) / "kubernetes/manifests" / f"{program}.yaml"
    file.write_text(json.dumps({"command": command}))


def _etcd(centre: Centre, name: str) -> list[str]:
    layout, ports = centre.layout, {"etcd": centre.ports[f"{name}-etcd"], "etcd-peer": centre.ports[f"{name}-peer"]}
    words = configuration.arguments("etcd", layout, ports)
    members = ",".join(f"{one}=https://127.0.0.1:{centre.ports[f'{one}-peer']}" for one in NAMES)
    ours = {"--name": name, "--data-dir": str(centre.data(name)), "--initial-cluster": members}
    kept = [word for word in words if word.partition("=")[0] not in ours]
    return [str(centre.found["etcd"]), *kept, *(f"{flag}={value}" for flag, value in ours.items())]


def _lay(centre: Centre) -> None:
    layout = centre.layout
    for folder in (layout.folder, layout.config, layout.logs, layout.users):
        folder.mkdir(parents=True, exist_ok=True)
    pki.ensure(layout.keys, configuration.SERVICE_IP)
    for path, content in configuration.program_files(layout, centre.ports).items():
        path.write_text(content)
    users = {
        context: kubeconfig.Credential(
            layout.pair(context).certificate.read_bytes(), layout.pair(context).key.read_bytes()
        )
        for context in pki.CONTEXTS
    }
    authority = layout.authority(pki.CLUSTER_CA).read_bytes()
    server = configuration.server(centre.ports)
    layout.kubeconfig.write_text(kubeconfig.portable(CLUSTER, server, authority, users))
    encryption = configuration.encryption(base64.b64encode(secrets.token_bytes(32)).decode())
    for name in NAMES:
        node = centre.node(name)
        base = node / "kubernetes"
        for one in ("manifests", "pki/etcd", "gcloud-pk/api-server"):
            (base / one).mkdir(parents=True)
        centre.data(name).parent.mkdir()
        for stem, authority_name in _AUTHORITIES.items():
            pair = layout.pair(authority_name)
            shutil.copyfile(pair.certificate, base / f"{stem}.crt")
            shutil.copyfile(pair.key, base / f"{stem}.key")
        shutil.copyfile(layout.keys / "service-accounts.key", base / "pki/sa.key")
        shutil.copyfile(layout.keys / "service-accounts.pub", base / "pki/sa.pub")
        (base / "gcloud-pk/api-server/encryption.yaml").write_text(encryption)
        (base / "gcloud-pk/kubeadm.yaml").write_text("{}\n")
        key = node / "ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True)
        _manifest(centre, name, "etcd", _etcd(centre, name))
    first = centre.node("n1") / "kubernetes/gcloud-pk/api-server/encryption.yaml"
    ports = {**centre.ports, "etcd": centre.ports["n1-etcd"]}
    ours = {
        "--encryption-provider-config": str(first),
        "--etcd-servers": ",".join(f"https://127.0.0.1:{centre.ports[f'{name}-etcd']}" for name in NAMES),
    }
    words = configuration.arguments("kube-apiserver", layout, ports)
    words = [word for word in words if word.partition("=")[0] not in ours]
    words = [str(centre.found["kube-apiserver"]), *words, *(f"{flag}={value}" for flag, value in ours.items())]
    _manifest(centre, "n1", "kube-apiserver", words)
    words = [str(centre.found["kube-controller-manager"])]
    words += configuration.arguments("kube-controller-manager", layout, ports)
    _manifest(centre, "n1", "kube-controller-manager", words)


@contextmanager
def centre(root: Path) -> Iterator[Centre]:
    """Yield a control plane that serves; nothing of it is left. Raises UnavailableError where a program is missing."""
    found = programs()
    names = [f"{name}-{what}" for name in NAMES for what in ("etcd", "peer")]
    names += ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
    made = Centre(root, found, dict(zip(names, free_ports(len(names)), strict=True)))
    _lay(made)
    try:
        made.start()
        made.wait()
        yield made
    finally:
        made.stop()


def site_document(made: Centre, **backup: Any) -> dict[str, Any]:
    """Return the site file of such a centre."""
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": SITE},
        "spec": {
            "operator": "NTC",
            "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
            "admits": ["open", "public", "restricted", "confidential", "secret"],
            "clusters": [
                {
                    "name": CLUSTER,
                    "uid": made.uid,
                    "backup": {"recipients": made.recipient()[0], **backup},
                    "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
                }
            ],
            "hosts": [
                {
                    "name": name,
                    "address": f"10.207.0.1{number}",
                    "role": "control-plane",
                    "rack": f"rack-{number}",
                    "hostKeys": [made.host_key(name)],
                }
                for number, name in enumerate(NAMES, 1)
            ],
        },
    }


def remember(made: Centre) -> Path:
    """Write down what it takes to find a centre again, from another process."""
    file = made.root / "centre.json"
    found = {name: str(path) for name, path in made.found.items()}
    file.write_text(json.dumps({"root": str(made.root), "found": found, "ports": made.ports, "uid": made.uid}))
    return file


def recall(file: Path) -> Centre:
    """Return the centre that was written down."""
    said = json.loads(file.read_text())
    found = {name: Path(path) for name, path in said["found"].items()}
    return Centre(Path(said["root"]), found, said["ports"], said["uid"])


if __name__ == "__main__":
    # gcloud-pk, but for the way to nodes: FILE ARGUMENT…
    import sys

    from gcloud_pk.main import run
    from gcloud_pk.stack.recovery import doors

    _file, *_words = sys.argv[1:]
    _here = recall(Path(_file))

    @contextmanager
    def _of(*_: object) -> Iterator[list[Door]]:
        yield _here.doors()

    doors.of = _of  # type: ignore[assignment]
    sys.argv = ["gcloud-pk", *_words]
    run()
