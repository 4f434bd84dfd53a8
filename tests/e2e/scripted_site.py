"""A scripted site: a real API server and etcd of the embedded lab, and nodes that are told by a thread of this test.

No kubelet runs and no pod does; what is real is the API that is probed, written to, stopped and killed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.e2e.conftest import CLI, RunningLab

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.identity import cluster_uid
from gcloud_pk.cluster.transport import Api
from gcloud_pk.facility.casualties import Casualties
from gcloud_pk.lab.datacenter import site as lab_site
from gcloud_pk.model.site import Site
from gcloud_pk.proof.drill.kept import Kept
from gcloud_pk.proof.drill.run import Ground

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"


def site(uid: str) -> Site:
    """Return a site of three racks, consistent with Tier III, whose cluster is the one of `uid`."""
    hosts = [
        {"name": f"c{k}", "address": f"10.207.0.{10 + k}", "rack": f"rack-{k}", "role": "control-plane",
         "cluster": "a", "kw": 0.4, "hostKeys": [_KEY]}
        for k in (1, 2, 3)
    ]  # fmt: skip
    cluster = {
        "name": "a",
        "uid": uid,
        "endpoint": "https://10.207.0.10:6443",
        "networks": lab_site.NETWORKS,
        "version": lab_site.VERSION,
    }
    spec = {
        "operator": "a test",
        "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
        "admits": ["open"],
        **lab_site._facility(),
        "clusters": [cluster],
        "hosts": hosts,
    }
    document = {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "Site", "metadata": {"name": "scripted"}, "spec": spec}
    return Site.model_validate(document)


class ScriptedSite:
    """Nodes that are Ready while their leases are renewed, until they are said to be down."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.access = kubeconfig.load(str(lab.kubeconfig), "admin")
        self.api = Api(self.access)
        self.uid = cluster_uid(self.api)
        self.site = site(self.uid)
        self.down: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        for host in self.site.spec.hosts:
            self.api.request("POST", "/api/v1/nodes", body={"metadata": {"name": host.name}})
        self._renew(patience=30)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(0.5):
            self._renew(patience=0.2)

    def _renew(self, patience: float) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for host in self.site.spec.hosts:
            if host.name in self.down:
                continue
            lease = {"metadata": {"name": host.name}, "spec": {"holderIdentity": host.name, "renewTime": now}}
            ready = [{"type": "Ready", "status": "True", "reason": "Scripted", "message": "by a test"}]
            try:
                path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{host.name}"
                merge = "application/merge-patch+json"
                if self.api.request("PATCH", path, body=lease, content_type=merge, patience=patience).status == 404:
                    self.api.request("POST", path.rpartition("/")[0], body=lease, patience=patience)
                status = {"status": {"conditions": ready}}
                self.api.request(
                    "PATCH", f"/api/v1/nodes/{host.name}/status", body=status, content_type=merge, patience=patience
                )
            except Exception:  # noqa: BLE001 - the API is away: that is what drills are for
                continue

    def ground(self, kept: Path, outage: Any, say: Callable[[str], None] = lambda _: None) -> Ground:
        """Return where drills take place."""
        return Ground(
            site=self.site,
            cluster=self.site.spec.clusters[0],
            access=self.access,
            kept=Kept(kept),
            outage=outage,
            operator="a test",
            uid=self.uid,
            say=say,
            stamp=lambda: dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ"),
        )

    def pid(self) -> int:
        """Return the API server's process id."""
        done = subprocess.run(
            [CLI, "lab", "status", "--name", self.lab.name, "--format", "json"],
            capture_output=True, text=True, env=self.lab.env, check=False,
        )  # fmt: skip
        return int(json.loads(done.stdout)["processes"]["kube-apiserver"]["pid"])


class Stopped:
    """What holds the API is gone for some seconds: it is stopped, and goes on by itself while the element is out."""

    name = "scripted"
    prefix: tuple[str, ...] = ()

    def __init__(self, where: ScriptedSite, seconds: float) -> None:
        self.where, self.seconds = where, seconds
        self.away = 0.0

    def unable(self, lost: Casualties) -> str | None:
        del lost
        return None

    def take_out(self, lost: Casualties) -> None:
        self.where.down |= set(lost.down)
        pid = self.where.pid()
        begun = time.monotonic()
        os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            time.sleep(self.seconds)
            os.kill(pid, signal.SIGCONT)
            self.away = time.monotonic() - begun

        threading.Thread(target=go_on, daemon=True).start()

    def give_back(self, lost: Casualties) -> None:
        self.where.down -= set(lost.down)


class Killed(Stopped):
    """The API server is killed, and comes back with the element."""

    def __init__(self, where: ScriptedSite) -> None:
        super().__init__(where, 0)
        self.begun = 0.0
        self.back = 0.0

    def take_out(self, lost: Casualties) -> None:
        self.where.down |= set(lost.down)
        pid = self.where.pid()
        self.begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)

    def give_back(self, lost: Casualties) -> None:
        lab = self.where.lab
        subprocess.run([CLI, "lab", "up", "--name", lab.name], env=lab.env, capture_output=True, check=True)
        self.back = time.monotonic()
        self.where.down -= set(lost.down)
