"""Works that follow a script in a folder: there stands what is to fail, and what was done is written there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.stack.works import Access, EtcdMember, Facts, Node, Observation, Outcome, Tell

SECRET = "client-key-data: c2VjcmV0LW9mLXRoZS10ZXN0"
UID = "6c0e1c3e-0000-4000-8000-000000000001"


@dataclass
class Script:
    """The folder: `script.json` (what goes wrong), `log` (what was done), `world.json` (what is there)."""

    folder: Path

    def set(self, **wrong: Any) -> None:
        (self.folder / "script.json").write_text(json.dumps(wrong))

    def get(self, name: str) -> Any:
        path = self.folder / "script.json"
        return (json.loads(path.read_text()) if path.exists() else {}).get(name, [])

    def note(self, deed: str, *names: str) -> None:
        with (self.folder / "log").open("a") as stream:
            stream.write(f"{deed} {','.join(names)}\n")

    def taken(self) -> list[str]:
        """Return what was done since this was asked last."""
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    @property
    def world(self) -> dict[str, Any]:
        path = self.folder / "world.json"
        empty: dict[str, Any] = {"hardened": {}, "nodes": {}, "etcd": []}
        return json.loads(path.read_text()) if path.exists() else empty

    @world.setter
    def world(self, world: Mapping[str, Any]) -> None:
        (self.folder / "world.json").write_text(json.dumps(world))


class ScriptedWorks:
    """A site that exists in a file."""

    def __init__(self, script: Script, halt: threading.Event) -> None:
        self.script = script
        self.halt = halt

    def _slow(self, deed: str) -> None:
        end = time.monotonic() + float(dict(self.script.get("seconds") or {}).get(deed, 0))
        while time.monotonic() < end and not self.halt.is_set():
            time.sleep(0.02)

    def _outcome(self, deed: str, name: str) -> Outcome:
        if f"{deed} {name}" in self.script.get("fails"):
            return Outcome(False, True, f"{name}: the task broke", "mend it")
        if f"{deed} {name}" in self.script.get("refuses"):
            return Outcome(False, False, f"{name}: it is another system", "install Debian")
        return Outcome(True)

    def reach(self, site: Site, host: Host) -> Facts:
        if f"reach {host.name}" in self.script.get("refuses"):
            raise UnavailableError(f"{host.name}: it cannot be reached", resolution="see that it runs")
        self.script.note("reach", host.name)
        return Facts("Debian GNU/Linux 12 (bookworm)", "6.1", "x86_64", 16, 65536)

    def release(self, site: Site, host: Host) -> None:
        self.script.note("release", host.name)

    def harden(self, site: Site, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Outcome]:
        for host in hosts:
            tell(host.name, "ssh: its settings")
        self._slow("harden")
        self.script.note("harden", *sorted(host.name for host in hosts))
        return {host.name: self._outcome("harden", host.name) for host in hosts}

    def deviations(self, site: Site, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Sequence[str]]:
        self.script.note("deviations", *sorted(host.name for host in hosts))
        return {host.name: ["ssh: its settings"] if host.name in self.script.get("deviates") else [] for host in hosts}

    def bootstrap(
        self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell, company: Sequence[Host] = ()
    ) -> Outcome:
        tell(hosts[0].name, "cluster_control_plane: init")
        self._slow("bootstrap")
        self.script.note("bootstrap", *(host.name for host in hosts))
        outcome = self._outcome("bootstrap", cluster.name)
        world = {**self.script.world, "known": cluster.uid}
        self.script.world = world
        if outcome.written and not world["nodes"]:
            world["nodes"][hosts[0].name] = True
            world["etcd"] = [hosts[0].name]
            self.script.world = world
        return outcome

    def access(self, site: Site, cluster: Cluster) -> Access:
        return Access("CA", dict.fromkeys(("admin", "onboarder", "verifier", "auditor"), SECRET))

    def join(self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Outcome]:
        for host in hosts:
            tell(host.name, "cluster_join: join")
        self._slow("join")
        self.script.note("join", *sorted(host.name for host in hosts))
        outcomes = {host.name: self._outcome("join", host.name) for host in hosts}
        world = self.script.world
        for host in hosts:
            if outcomes[host.name].done:
                world["nodes"][host.name] = True
                if host.role == "control-plane" and host.name not in world["etcd"]:
                    world["etcd"].append(host.name)
        self.script.world = world
        return outcomes

    def leave(
        self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell, *, dismantle: bool
    ) -> Mapping[str, Outcome]:
        for host in hosts:
            tell(host.name, "cluster_leave: drain")
        self._slow("leave")
        self.script.note("reset" if dismantle else "leave", *sorted(host.name for host in hosts))
        outcomes = {host.name: self._outcome("leave", host.name) for host in hosts}
        world = self.script.world
        for name in [name for name, outcome in outcomes.items() if outcome.done]:
            world["nodes"].pop(name, None)
            world["etcd"] = [one for one in world["etcd"] if one != name]
        self.script.world = world
        return outcomes

    def addons(self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell) -> Outcome:
        self.script.note("addons", *sorted(host.name for host in hosts))
        return self._outcome("addons", cluster.name)

    def observe(self, site: Site, cluster: Cluster, *, whole: bool = False) -> Observation:
        world, down = self.script.world, self.script.get("down")
        return Observation(
            self.script.get("uid") or UID,
            tuple(Node(name, name not in down, "v1.36.3") for name in world["nodes"]),
            tuple(EtcdMember(name, name not in down) for name in world["etcd"]),
            {name: ("kubelet",) for name in self.script.get("drifted") if whole or name.startswith("c")},
        )
