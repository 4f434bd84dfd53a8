"""Gathering: one collector for each host, many at once, and what is seen of it from outside meanwhile."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.site import Host, Site, Ssh
from gcloud_pk.nodes import door, outside
from gcloud_pk.nodes.call import Answer, ask
from gcloud_pk.nodes.check import Check, wanted
from gcloud_pk.nodes.facts import OF_NODES, DishonestError, Facts, Form, read
from gcloud_pk.nodes.inventory import Route, known_hosts
from gcloud_pk.nodes.outcome import Diagnosis
from gcloud_pk.nodes.site_words import SECTION, about
from gcloud_pk.nodes.wire import way_to

T = TypeVar("T")

AT_ONCE = 10
SECONDS = 60.0
"""How long a collector may take; on an idle machine it takes one."""

COMMAND = "/usr/bin/python3 -I -"

Asker = Callable[[Host, bytes], Answer]
"""Runs a program on a host, as `call.ask` does."""


@dataclass(frozen=True)
class Gathered:
    """What one host gave. `facts`: its own words, None where it did not answer; `seen`: None where nobody looked.

    `diagnosis`: why it did not answer; `dishonest`: what was wrong with its answer; `unseen`: why nobody looked;
    `site`: what the site says of it.
    """

    host: Host
    facts: Facts | None
    seconds: float
    seen: Mapping[str, Any] | None = None
    diagnosis: Diagnosis | None = None
    dishonest: str | None = None
    unseen: str | None = None
    site: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether it was this host that was seen from outside: it has shown a host key of the site's."""
        return self.diagnosis is None or self.diagnosis.kind not in {"wrong-host-key", "unreachable", "stopped"}

    def all_facts(self) -> Facts:
        """Return what is known of it: what it says, what its site says, and what was seen from outside."""
        said = self.facts or Facts({})
        said = replace(said, values={**said.values, SECTION: self.site})
        if self.seen is None:
            return replace(said, refused={**said.refused, "outside": self.unseen or "nobody looked from outside"})
        values = {**said.values, "outside": outside.compared(self.seen, said.values)}
        lacking: dict[str, str] = {}
        if self.facts is None:
            lacking = dict.fromkeys(("outside.ports.unexpected", "outside.ssh.disagreements"), "the node said nothing")
        if self.seen.get("ssh") is None:
            lacking["outside.ssh"] = "nothing spoke SSH to whom looked from outside"
        elif mute := [who for who, offers in self.seen["ssh"].get("methods", {}).items() if offers is None]:
            lacking["outside.ssh.methods"] = f"sshd did not say by what proofs it lets in: {', '.join(mute)}"
        return replace(said, values=values, refused={**said.refused, **lacking})


def program(ssh: Ssh, checks: Iterable[Check], nonce: str) -> bytes:
    """Return the program that is sent: the collector, and at its end who is who and what it is asked for."""
    request = {
        "admin": ssh.user,
        "audit": ssh.audit_user,
        "nonce": nonce,
        "wanted": wanted(checks),
    }
    source = paths.package("nodes", "collector.py").read_text(encoding="utf-8")
    return f"{source}\n\nmain(json.loads({json.dumps(request)!r}))\n".encode()


@contextmanager
def route_to(site: Site, hosts: Sequence[Host], ssh_config: Path | None) -> Iterator[Route]:
    """Yield the route to hosts, on which only the site's host keys count."""
    with TemporaryDirectory(prefix="gcloud-pk-") as folder:
        trusted = Path(folder, "known_hosts")
        trusted.write_text(known_hosts(site, hosts), encoding="ascii")
        yield Route(trusted, ssh_config.resolve() if ssh_config else None)


def gather(
    site: Site, hosts: Sequence[Host], checks: Sequence[Check], route: Route, *, user: str | None = None
) -> Iterator[Gathered]:
    """Yield what each host gives, in the order of the hosts. `user`: in place of the site's audit user."""

    def asked(host: Host, sent: bytes) -> Answer:
        return ask(site, host, route, COMMAND, sent, user=user or site.spec.ssh.audit_user, seconds=SECONDS)

    looking = any(path.root == "outside" for check in checks for path in check.every_path)
    seen = each(lambda host: _look(site, host, route) if looking else (None, None), hosts)
    told = each(lambda host: gathered(site, host, checks, asked), hosts)
    for one, view in zip(told, seen, strict=True):
        found, unseen = view.result()
        yield replace(one.result(), seen=found, unseen=unseen, site=about(site))


def each(work: Callable[[Host], T], hosts: Iterable[Host]) -> list[Future[T]]:
    """Do the work of every host, some at once. Nobody waits for threads that an interrupted run leaves behind."""
    waiting: SimpleQueue[tuple[Future[T], Host]] = SimpleQueue()
    futures: list[Future[T]] = []
    for host in hosts:
        futures.append(Future())
        waiting.put((futures[-1], host))

    def run() -> None:
        while True:
            try:
                future, host = waiting.get_nowait()
            except Empty:
                return
            try:
                future.set_result(work(host))
            except Exception as error:  # noqa: BLE001 - raised again where the result is asked for
                future.set_exception(error)

    for _ in range(min(AT_ONCE, len(futures))):
        threading.Thread(target=run, daemon=True).start()
    return futures


def gathered(
    site: Site,
    host: Host,
    checks: Iterable[Check],
    asker: Asker,
    made: Callable[[Ssh, Iterable[Check], str], bytes] = program,
    form: Form = OF_NODES,
) -> Gathered:
    """Ask one host, and read its answer as what it is: untrusted. `made`: the program that is sent."""
    nonce = secrets.token_hex(16)
    started = time.monotonic()
    answer = asker(host, made(site.spec.ssh, checks, nonce))
    seconds = time.monotonic() - started
    if answer.diagnosis is not None:
        return Gathered(host, None, seconds, diagnosis=answer.diagnosis)
    try:
        return Gathered(host, read(answer.output, nonce, form), seconds)
    except DishonestError as error:
        return Gathered(host, None, seconds, dishonest=str(error))


def _look(site: Site, host: Host, route: Route) -> tuple[dict[str, Any] | None, str | None]:
    try:
        seen = outside.look(way_to(site, host, route), site.spec.ssh.port)
    except UnavailableError as error:
        return None, error.message
    if seen["ssh"] is not None:
        seen["ssh"]["methods"] = door.methods(site, host, route)
    return seen, None
