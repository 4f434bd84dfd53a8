"""Single ways to break a hardened node: apply one, audit, undo it; what turned, and what should have."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import yaml

from gcloud_pk.model.baseline import Level
from gcloud_pk.model.finding import Verdict
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import catalogue
from gcloud_pk.nodes.audit import findings
from gcloud_pk.nodes.check import Check
from gcloud_pk.nodes.gather import gather, route_to
from gcloud_pk.nodes.judge import Subject, selected

FILE = Path(__file__).parent / "data/node-mutations.yaml"
KEPT = "/run/gcloud-pk-mutation"

Verdicts = Mapping[str, Verdict]
Shell = Callable[[str, str], None]
"""Runs a script as root on a node, by the node's name; raises where it fails."""


@dataclass(frozen=True)
class Mutation:
    """One way to break a node. `breaks`: the checks that must turn to fail; `files`: kept before, brought back after.

    `outside`: the node is looked at from outside too, which takes some seconds more.
    """

    name: str
    breaks: tuple[str, ...]
    do: str
    undo: str = ""
    files: tuple[str, ...] = ()
    outside: bool = False

    def applied(self) -> str:
        """Return the script that breaks the node."""
        keep = [
            f"if test -e {file} || test -L {file}; then mkdir -p {KEPT}$(dirname {file}); cp -a {file} {KEPT}{file}; fi"
            for file in map(shlex.quote, self.files)
        ]
        return "\n".join([f"rm -rf {KEPT}; mkdir -m 700 {KEPT}", *keep, self.do])

    def undone(self) -> str:
        """Return the script that mends it."""
        back = [
            f"rm -rf {file}; if test -e {KEPT}{file} || test -L {KEPT}{file}; then cp -a {KEPT}{file} {file}; fi"
            for file in map(shlex.quote, self.files)
        ]
        return "\n".join([*back, self.undo, f"rm -rf {KEPT}"])


@dataclass(frozen=True)
class Outcome:
    """What a mutation did: checks that turned to fail, and those that turned to anything else (`ID verdict`)."""

    failed: tuple[str, ...]
    otherwise: tuple[str, ...] = ()


def mutations() -> list[Mutation]:
    """Return all mutations of the data file."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [
        Mutation(**row | {"breaks": tuple(row["breaks"]), "files": tuple(row.get("files", ()))})
        for row in rows
    ]  # fmt: skip


def turned(now: Verdicts, clean: Verdicts) -> Outcome:
    """Return what is other than it was."""
    found = [(name, verdict) for name, verdict in sorted(now.items()) if verdict is not clean[name]]
    return Outcome(
        tuple(name for name, verdict in found if verdict is Verdict.FAIL),
        tuple(f"{name} {verdict}" for name, verdict in found if verdict is not Verdict.FAIL),
    )


@dataclass(frozen=True)
class Auditor:
    """Audits hosts of a site with the engine of `audit nodes`."""

    site: Site
    ssh_config: Path
    level: Level = "cl3"

    def checks(self, outside: bool) -> list[Check]:
        """Return the checks of the level; those that look from outside only where asked for."""
        found = selected(catalogue.standard(), self.level)
        return found if outside else [c for c in found if not any(p.root == "outside" for p in c.every_path)]

    def verdicts(self, host: Host, *, outside: bool = False) -> Verdicts:
        """Return the verdict of every check on a host."""
        checks = self.checks(outside)
        subject = Subject(self.site.metadata.name, host.name, host.role, self.level)
        with route_to(self.site, [host], self.ssh_config) as route:
            (gathered,) = gather(self.site, [host], checks, route)
        made = findings(gathered, checks, catalogue.standard(), subject)
        return {one.id: one.verdict for one in made}

    def outcome(self, host: Host, mutation: Mutation, clean: Verdicts, shell: Shell) -> Outcome:
        """Break a host, audit it, mend it; return what turned against `clean`."""
        shell(host.name, mutation.applied())
        try:
            found = turned(self.verdicts(host, outside=mutation.outside), clean)
            if found != Outcome(tuple(sorted(mutation.breaks))):
                # A busy machine: a service was still taking its configuration in.
                time.sleep(3)
                found = turned(self.verdicts(host, outside=mutation.outside), clean)
        finally:
            shell(host.name, mutation.undone())
        return found

    def outcomes(self, given: Sequence[Mutation], shell: Shell) -> dict[str, Outcome | Exception]:
        """Return the outcome of each mutation by its name; the hosts work side by side.

        An entry for each host's name beside: how it differs at the end, when all is undone.
        """
        waiting: SimpleQueue[Mutation] = SimpleQueue()
        # A restarted sshd keeps the baseline's limits, which no session can raise again: those come last.
        for mutation in sorted(given, key=lambda one: ("restart ssh" in one.do, not one.outside)):
            waiting.put(mutation)

        def work(host: Host) -> Iterator[tuple[str, Outcome | Exception]]:
            clean = self.verdicts(host, outside=True)
            for mutation in _all(waiting):
                try:
                    yield mutation.name, self.outcome(host, mutation, clean, shell)
                except Exception as error:  # noqa: BLE001 - told by the test of that mutation
                    yield mutation.name, error
            end = self.verdicts(host, outside=True)
            yield host.name, Outcome(tuple(f"{k} {v}" for k, v in sorted(end.items()) if v is not clean[k]))

        hosts = self.site.spec.hosts
        with ThreadPoolExecutor(len(hosts)) as pool:
            return {name: found for each in pool.map(lambda host: list(work(host)), hosts) for name, found in each}


def _all(waiting: SimpleQueue[Mutation]) -> Iterator[Mutation]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return
