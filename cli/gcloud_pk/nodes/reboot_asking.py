"""Asking hosts what a reboot would change: many at once, each by the program `reboot_facts.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gcloud_pk import paths
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import reboot
from gcloud_pk.nodes.call import ask
from gcloud_pk.nodes.gather import each
from gcloud_pk.nodes.inventory import Route
from gcloud_pk.nodes.outcome import Diagnosis
from gcloud_pk.nodes.reboot import Difference

COMMAND = "sudo -n /usr/bin/python3 -I -"


@dataclass(frozen=True)
class Told:
    """What one host said: differences, or why there are none to show."""

    host: Host
    differences: tuple[Difference, ...] = ()
    diagnosis: Diagnosis | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shape in the document."""
        return {
            "name": self.host.name,
            "answered": self.diagnosis is None,
            "differences": [one.as_dict() for one in self.differences],
            "failure": self.diagnosis.as_dict() if self.diagnosis else None,
        }


def asked(site: Site, hosts: Sequence[Host], route: Route) -> Iterator[Told]:
    """Yield what each host says, in the order of the hosts."""
    program = paths.package("nodes", "reboot_facts.py").read_bytes()
    for future in each(lambda host: _told(site, host, route, program), hosts):
        yield future.result()


def _told(site: Site, host: Host, route: Route, program: bytes) -> Told:
    answer = ask(site, host, route, COMMAND, program)
    if answer.diagnosis is not None:
        return Told(host, diagnosis=answer.diagnosis)
    try:
        return Told(host, tuple(reboot.differences(reboot.read(answer.output))))
    except ValueError as error:
        wrong = Diagnosis("failed", f"its answer is {error}", f"look at {host.name}: it behaves like no other")
        return Told(host, diagnosis=wrong)
