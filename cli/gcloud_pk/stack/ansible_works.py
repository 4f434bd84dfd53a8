"""The works as Ansible does them: the playbooks of this project, run over SSH as `gcloud-pk node harden` runs them."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gcloud_pk import __version__, paths
from gcloud_pk.errors import ExitCode, GcloudPkError, UnavailableError
from gcloud_pk.evidence.report import commit
from gcloud_pk.login import operator_name
from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.nodes import events, record, summary
from gcloud_pk.nodes.outcome import HostRun, Run
from gcloud_pk.nodes.run import HARDEN, Order, Played, play
from gcloud_pk.stack import cluster_variables, machines
from gcloud_pk.stack.works import Access, EtcdMember, Facts, Node, Observation, Outcome, Tell

SSH_CONFIG = "GCLOUD_PK_SSH_CONFIG"
RUNS = "GCLOUD_PK_RUNS"
"""In the environment: the ssh_config that leads to the machines, and the folder for records of runs."""

IDENTITIES = ("admin", "onboarder", "verifier", "auditor")

_CLUSTER = "cluster.yml"
_LEAVE = "cluster_leave.yml"
_OBSERVE = "cluster_observe.yml"
_BOOTSTRAP = ("programs", "runtime", "endpoint", "control_plane")
_JOIN = ("programs", "runtime", "endpoint", "join")

_AT_ONCE = 32
"""Machines that are reached at the same time."""

_TURN = 30.0
"""Seconds that a run waits for another over the same site: one that was killed needs a moment to end."""


class AnsibleWorks:
    """Works on real machines. `halt` ends what runs, and keeps the rest from beginning."""

    def __init__(self, halt: threading.Event) -> None:
        self._halt = halt
        self._reaching = threading.BoundedSemaphore(_AT_ONCE)
        self._prepared: set[tuple[str, str, str]] = set()
        self._access: dict[tuple[str, str], Access] = {}

    @property
    def _ssh_config(self) -> Path | None:
        named = os.environ.get(SSH_CONFIG)
        return Path(named) if named else None

    def reach(self, site: Site, host: Host) -> Facts:
        """Have the machine from its provider, and ask it. Raises UnavailableError, InvalidInputError."""
        with self._reaching:
            return machines.provider(site.spec.provider).reach(site, host, self._ssh_config)

    def release(self, site: Site, host: Host) -> None:
        """Give the machine back to its provider."""
        machines.provider(site.spec.provider).release(site, host)

    def harden(self, site: Site, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Outcome]:
        """Run the playbook of the baseline."""
        played = self._play(Order(site, tuple(hosts), self._ssh_config, playbook=_playbook(HARDEN)), tell)
        return {name: _outcome(host) for name, host in played.run.hosts.items()}

    def deviations(self, site: Site, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Sequence[str]]:
        """Run the playbook of the baseline in check mode."""
        order = Order(site, tuple(hosts), self._ssh_config, playbook=_playbook(HARDEN), check=True)
        run = self._play(order, tell).run
        return {
            name: [f"{change.role}: {change.task}" for change in host.changes]
            for name, host in run.hosts.items()
            if not host.problem
        }

    def bootstrap(
        self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell, company: Sequence[Host] = ()
    ) -> Outcome:
        """Run the phases that make a control plane; its credentials come with it, and others get their programs."""
        with _private() as folder:
            variables = {"cluster_credentials_folder": str(folder)}
            run = self._play(self._order(site, cluster, [*hosts, *company], _CLUSTER, _BOOTSTRAP, variables), tell).run
            found = {name: _outcome(host) for name, host in run.hosts.items()}
            outcome = _first_problem([found[host.name] for host in hosts])
            self._prepared |= {_key(site, cluster, name) for name, one in found.items() if one.done}
            if outcome.done:
                self._access[site.metadata.name, cluster.name] = _read_access(cluster, folder)
        return outcome

    def access(self, site: Site, cluster: Cluster) -> Access:
        """Return the credentials that came with the control plane, else fetch them. Raises UnavailableError."""
        found = self._access.pop((site.metadata.name, cluster.name), None)
        if found is not None:
            return found
        with _private() as folder:
            first = site.spec.control_planes(cluster)[:1]
            variables = {"cluster_credentials_folder": str(folder)}
            self._play(self._order(site, cluster, first, _CLUSTER, ("credentials",), variables), lambda *_: None)
            return _read_access(cluster, folder)

    def join(self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Outcome]:
        """Run the phases that make nodes; a run that broke off is judged by what the cluster says."""
        keys = {_key(site, cluster, host.name) for host in hosts}
        # Prepared a moment ago, by this process: the phases before the last are not gone through twice.
        tags = _JOIN[-1:] if keys <= self._prepared else _JOIN
        self._prepared -= keys
        played = self._play(self._order(site, cluster, hosts, _CLUSTER, tags), tell)
        found = {name: _outcome(host) for name, host in played.run.hosts.items()}
        if played.code and any(outcome.done for outcome in found.values()):
            seen = self.observe(site, cluster)
            for name in [name for name, outcome in found.items() if outcome.done and seen.node(name) is None]:
                found[name] = Outcome(False, True, f"{name}: the run ended before it had joined", "run it again")
        return found

    def leave(
        self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell, *, dismantle: bool
    ) -> Mapping[str, Outcome]:
        """Run the playbook of leaving. Hosts may be gone: what others can do without them is done."""
        variables = {"cluster_leave_dismantle": dismantle}
        order = self._order(with_hosts(site, cluster, hosts), cluster, hosts, _LEAVE, (), variables)
        played = self._play(order, tell)
        return {name: self._left(site, cluster, run, dismantle=dismantle) for name, run in played.run.hosts.items()}

    def _left(self, site: Site, cluster: Cluster, run: HostRun, *, dismantle: bool) -> Outcome:
        # A machine that is switched off cannot be reset; that the cluster has it no more is enough.
        if run.state == "unreachable" and (dismantle or self.observe(site, cluster).node(run.host.name) is None):
            return Outcome(True, written=not dismantle)
        return _outcome(run)

    def addons(self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell) -> Outcome:
        """Run the phase of what nodes share, over those of them that the cluster has; it is done without the others."""
        seen = {node.name for node in self.observe(site, cluster).nodes}
        joined = [host for host in hosts if host.name in seen]
        if not joined:
            return Outcome(False, False, "no member of the cluster has joined", "mend what keeps them from it")
        run = self._play(self._order(site, cluster, joined, _CLUSTER, ("addons",)), tell).run
        return _first_problem([_outcome(host) for host in run.hosts.values()])

    def observe(self, site: Site, cluster: Cluster, *, whole: bool = False) -> Observation:
        """Ask the control planes. Raises UnavailableError where none of them answers."""
        with _private() as folder:
            file = folder / "observation.json"
            hosts = site.spec.hosts_of(cluster) if whole else site.spec.control_planes(cluster)
            order = self._order(site, cluster, hosts, _OBSERVE, (), {"cluster_observation_file": str(file)})
            played = play(order, halt=self._halt)
            if not file.is_file():
                problem = _first_problem([_outcome(host) for host in played.run.hosts.values()])
                raise UnavailableError(
                    f"no control plane of {cluster.name} says how the cluster is",
                    details=[problem.words] if problem.words else [],
                    resolution="see that its control planes run and are reached from here",
                )
            return read_observation(file.read_bytes())

    # --- runs ------------------------------------------------------------------------------------------------------

    def _order(
        self,
        site: Site,
        cluster: Cluster,
        hosts: Sequence[Host],
        playbook: str,
        tags: tuple[str, ...],
        variables: Mapping[str, Any] | None = None,
    ) -> Order:
        """Return a run over some hosts of a cluster; the others are in the inventory to be asked."""
        acting = {host.name for host in hosts}
        return Order(
            site,
            tuple(hosts),
            self._ssh_config,
            playbook=_playbook(playbook),
            tags=tags,
            beside=tuple(host for host in site.spec.hosts_of(cluster) if host.name not in acting),
            variables={**cluster_variables.variables(site, cluster), **(variables or {})},
        )

    def _play(self, order: Order, tell: Tell) -> Played:
        """Run an order alone on its site, and keep the record of it."""

        def heard(run: Run, event: events.Event | None) -> None:
            if isinstance(event, events.Start) and (task := run.tasks.get(event.task)):
                tell(event.host, f"{task.role}: {task.name}" if task.role else task.name)

        home = Path(os.environ.get(RUNS) or record.folder(order.site.metadata.name))
        started = record.moment()
        names = ", ".join(host.name for host in order.hosts[:10]) + (" …" if len(order.hosts) > 10 else "")
        head: dict[str, Any] = {
            "site": order.site.metadata.name,
            "check": order.check,
            "level": None,
            "tags": list(order.tags),
            "operator": operator_name(),
            "tool": {"version": __version__, "commit": commit()},
            "playbook": {"name": order.file.name, "sha256": record.digest(order.file.parent)},
            "started": record.shown(started),
        }
        what = f"{order.file.name} over {names}"
        holder = {"operator": head["operator"], "pid": os.getpid(), "started": head["started"], "what": what}
        with self._alone(home, holder) as lock:
            kept = record.Record.begin(home, started)
            kept.write({**head, "outcome": "running", "hosts": [{"name": host.name} for host in order.hosts]})
            try:
                played = play(order, heard, held=[lock], halt=self._halt)
            except GcloudPkError as error:
                kept.write({**head, "outcome": "not-begun", "error": error.as_dict()})
                raise
            code = played.run.code(interrupted=played.interrupted)
            levels = {host.name: order.site.spec.level_of(host) for host in order.hosts}
            full = {
                **head,
                "finished": record.shown(record.moment()),
                "outcome": code.name.lower(),
                "summary": _summary(order, played.run, code),
                "hosts": summary.document(played.run, levels),
            }
            kept.write(full)
        return played

    @contextmanager
    def _alone(self, home: Path, holder: Mapping[str, Any]) -> Iterator[int]:
        """Hold the site's lock; another run is waited for, for a while."""
        deadline = time.monotonic() + _TURN
        while record.busy(home) and time.monotonic() < deadline and not self._halt.is_set():
            time.sleep(0.2)
        with record.alone(home, holder) as lock:
            yield lock


def _summary(order: Order, run: Run, code: ExitCode) -> str:
    said = summary.words(run, code=code)
    return said if order.file.name == HARDEN else said.replace(" hardened", " done", 1)


def _key(site: Site, cluster: Cluster, host: str) -> tuple[str, str, str]:
    return site.metadata.name, cluster.name, host


def with_hosts(site: Site, cluster: Cluster, hosts: Sequence[Host]) -> Site:
    """Return a site as it was when it had some hosts, as they are given, and their cluster. Pure.

    All may have left it since, or may stand there as others: with another address, in another role or cluster.
    """
    spec = site.spec
    clusters = spec.clusters if cluster.name in {one.name for one in spec.clusters} else (*spec.clusters, cluster)
    known = {host.name: host.model_copy(update={"cluster": cluster.name}) for host in hosts}
    every = (*(known.pop(host.name, host) for host in spec.hosts), *known.values())
    return site.model_copy(update={"spec": spec.model_copy(update={"clusters": clusters, "hosts": every})})


def _playbook(name: str) -> Path:
    return paths.data("playbooks", name)


@contextmanager
def _private() -> Iterator[Path]:
    """Make a folder that only this user sees, for what comes back from machines."""
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _outcome(host: HostRun) -> Outcome:
    """Return what a run came to on a host."""
    if not host.problem:
        return Outcome(True)
    why = host.diagnosis.words if host.diagnosis else host.state
    where = f" ({host.failed_in.role}: {host.failed_in.name})" if host.failed_in and host.failed_in.role else ""
    written = bool(host.changes) or host.state in {"failed", "half-done"}
    return Outcome(False, written, f"{host.host.name}: {why}{where}", host.diagnosis.remedy if host.diagnosis else "")


def _first_problem(outcomes: Sequence[Outcome]) -> Outcome:
    """Return one outcome for all: done where all are, else the first that is not."""
    failed = [outcome for outcome in outcomes if not outcome.done]
    if not failed:
        return Outcome(True)
    written = any(outcome.written for outcome in outcomes)
    return Outcome(False, written, "; ".join(one.words for one in failed[:5]), failed[0].remedy)


def _read_access(cluster: Cluster, folder: Path) -> Access:
    """Return the credentials that a run put into a folder. Raises UnavailableError where one is missing."""
    try:
        found = {name: (folder / f"{name}.conf").read_text(encoding="utf-8") for name in IDENTITIES}
        return Access((folder / "ca.crt").read_text(encoding="utf-8"), found)
    except FileNotFoundError as error:
        raise UnavailableError(
            f"the control planes of {cluster.name} gave no {Path(error.filename).name}",
            resolution="see the record of the run (gcloud-pk node runs), then run it again",
        ) from None


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value[:63]


def read_observation(said: bytes) -> Observation:
    """Return what control planes said of their cluster, untrusted. Raises UnavailableError where it is nothing such."""
    try:
        document = json.loads(said)
        return Observation(
            _word(document["uid"]),
            tuple(
                Node(_word(one["name"]), ready=one["ready"] is True, version=_word(one["version"]))
                for one in document["nodes"]
            ),
            tuple(EtcdMember(_word(one["name"]), healthy=one["healthy"] is True) for one in document["etcdMembers"]),
            {_word(name): tuple(map(_word, of)) for name, of in document.get("drifted", {}).items() if of},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnavailableError("the control planes answer with something else", resolution="look at them") from None
