"""`node reboot-check`: asking nodes what a reboot would change, and showing it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gcloud_pk.errors import ExitCode, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gcloud_pk.console import Console
    from gcloud_pk.model.site import Host, Site
    from gcloud_pk.nodes.inventory import Route
    from gcloud_pk.nodes.outcome import Diagnosis
    from gcloud_pk.nodes.reboot import Difference

_AT_ONCE = 10


@dataclass(frozen=True)
class _Told:
    """What one host said: differences, or why there are none to show."""

    host: Host
    differences: tuple[Difference, ...] = ()
    diagnosis: Diagnosis | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.host.name,
            "answered": self.diagnosis is None,
            "differences": [one.as_dict() for one in self.differences],
            "failure": self.diagnosis.as_dict() if self.diagnosis else None,
        }


def _ask(site: Site, host: Host, route: Route, program: bytes) -> _Told:
    from gcloud_pk.nodes import reboot
    from gcloud_pk.nodes.call import ask
    from gcloud_pk.nodes.outcome import Diagnosis

    answer = ask(site, host, route, "sudo -n /usr/bin/python3 -I -", program)
    if answer.diagnosis is not None:
        return _Told(host, diagnosis=answer.diagnosis)
    try:
        return _Told(host, tuple(reboot.differences(reboot.read(answer.output))))
    except ValueError as error:
        wrong = Diagnosis("failed", f"its answer is {error}", f"look at {host.name}: it behaves like no other")
        return _Told(host, diagnosis=wrong)


def check(console: Console, site: Site, hosts: Sequence[Host], ssh_config: Path | None) -> int:
    """Ask hosts and show what a reboot would change; return the exit code. Raises UnavailableError where none says."""
    from gcloud_pk import paths
    from gcloud_pk.nodes.inventory import Route, known_hosts

    program = paths.package("nodes", "reboot_facts.py").read_bytes()
    with TemporaryDirectory(prefix="gcloud-pk-") as folder:
        trusted = Path(folder, "known_hosts")
        trusted.write_text(known_hosts(site, hosts), encoding="ascii")
        route = Route(trusted, ssh_config.resolve() if ssh_config else None)
        with ThreadPoolExecutor(_AT_ONCE) as pool, console.progress("asking hosts", len(hosts)) as bar:
            told = []
            for one in pool.map(lambda host: _ask(site, host, route, program), hosts):
                bar.advance(note=one.host.name)
                told.append(one)
    silent = [one for one in told if one.diagnosis is not None]
    if len(silent) == len(told):
        raise UnavailableError(
            "no host says what a reboot would change",
            details=[f"{one.host.name}: {one.diagnosis.words}" for one in silent if one.diagnosis],
            resolution=next(one.diagnosis.remedy for one in silent if one.diagnosis),
        )
    code = ExitCode.NOT_CHECKED if silent else ExitCode.DONE
    if console.machine:
        console.document({"site": site.metadata.name, "hosts": [one.as_dict() for one in told]})
    else:
        _show(console, told)
    return int(code)


def _show(console: Console, told: Sequence[_Told]) -> None:
    for one in told:
        name = one.host.name
        seen = [found for found in one.differences if found.seen]
        if one.diagnosis is not None:
            console.row("", f"{name}: {one.diagnosis.words}")
            console.row("    what to do: ", one.diagnosis.remedy)
            continue
        console.show(
            f"{name}: " + (f"a reboot changes {len(seen)}:" if seen else "a reboot changes nothing that shows")
        )
        if seen:
            console.table(
                ("kind", "what", "now", "after", "why"),
                [(found.kind, found.subject, found.now, found.after, found.reason) for found in seen],
            )
        for found in one.differences:
            if not found.seen:
                console.row("  ", f"{found.subject}: {found.reason}")
    console.show("self-reported by the nodes")
