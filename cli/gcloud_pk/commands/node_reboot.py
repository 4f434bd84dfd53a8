"""`node reboot-check`: asking nodes what a reboot would change, and showing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gcloud_pk.errors import ExitCode, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gcloud_pk.console import Console
    from gcloud_pk.model.site import Host, Site
    from gcloud_pk.nodes.reboot_asking import Told


def check(console: Console, site: Site, hosts: Sequence[Host], ssh_config: Path | None) -> int:
    """Ask hosts and show what a reboot would change; return the exit code. Raises UnavailableError where none says."""
    from gcloud_pk.nodes.gather import route_to
    from gcloud_pk.nodes.reboot_asking import asked

    told = []
    with route_to(site, hosts, ssh_config) as route, console.progress("asking hosts", len(hosts)) as bar:
        for one in asked(site, hosts, route):
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


def _show(console: Console, told: Sequence[Told]) -> None:
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
