"""Where machines come from: a small interface, and the providers that installed packages offer under it.

A provider is a class of the entry point group `gcloud_pk.machines`, by the name that `spec.provider` of a site has
(docs/stacks.md says how to write one). It is made without arguments, once for each run.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from gcloud_pk.errors import InvalidInputError, UnavailableError, problem
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.call import ask
from gcloud_pk.nodes.inventory import Route, known_hosts
from gcloud_pk.stack.works import Facts

GROUP = "gcloud_pk.machines"


class MachineProvider(Protocol):
    """How machines of one kind are had. Every call may come again for the same host.

    Raise UnavailableError where it cannot be done.
    """

    def reach(self, site: Site, host: Host, ssh_config: Path | None) -> Facts:
        """Return what the machine says of itself, once it runs and lets `spec.ssh.user` in; make or start it first."""
        ...

    def release(self, site: Site, host: Host) -> None:
        """Give up a machine that left the site: what this provider made for it goes."""
        ...

    def api_proxy(self, site: Site) -> str | None:
        """Return the URL of a proxy through which clusters' APIs are reached from here; None: they are without."""
        ...


class SshMachines:
    """Machines that are there already: bare metal or virtual, reached over SSH under the host keys of the site."""

    def reach(self, site: Site, host: Host, ssh_config: Path | None) -> Facts:
        """Ask the machine."""
        return over_ssh(site, host, ssh_config)

    def release(self, site: Site, host: Host) -> None:
        """Leave it as it is: it was there before."""

    def api_proxy(self, site: Site) -> str | None:  # noqa: ARG002 - of the interface
        """Return None: whoever reaches the nodes reaches the API."""
        return None


_QUESTION = b"""\
set -eu
sudo -n true
uname -r
uname -m
. /etc/os-release
printf '%s\\n' "$PRETTY_NAME"
nproc
sed -n 's/^MemTotal: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo
"""


def over_ssh(site: Site, host: Host, ssh_config: Path | None) -> Facts:
    """Ask a machine of itself, and whether its user may become root. Raises UnavailableError with words of what is."""
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as folder:
        known = Path(folder, "known_hosts")
        known.write_text(known_hosts(site, [host]), encoding="utf-8")
        route = Route(known, ssh_config.resolve() if ssh_config else None)
        answer = ask(site, host, route, "/bin/sh -s", _QUESTION, limit=4096)
    if answer.diagnosis:
        raise UnavailableError(f"{host.name}: {answer.diagnosis.words}", resolution=answer.diagnosis.remedy)
    return read_facts(host, answer.output)


def read_facts(host: Host, said: bytes) -> Facts:
    """Return a machine's answer as facts. Raises UnavailableError where it is none."""
    lines = said.decode("utf-8", "replace").splitlines()
    try:
        kernel, architecture, system, cpus, memory = lines
        return Facts(system[:200], kernel[:200], architecture[:50], int(cpus), int(memory) // 1024)
    except ValueError:
        raise UnavailableError(
            f"{host.name}: it does not answer as a machine of Linux does", resolution=f"look at {host.name}"
        ) from None


def names() -> list[str]:
    """Return the names of the providers that are installed."""
    return sorted(entry_points(group=GROUP).names)


def provider(name: str) -> MachineProvider:
    """Return the provider of a name. Raises InvalidInputError, which names those that there are; UnavailableError."""
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise InvalidInputError(
            f"no provider of machines is called {name!r}",
            details=[
                problem(f"{name!r} is not installed", field="spec.provider", expected=f"one of {', '.join(names())}")
            ],
            resolution="install the package that offers it, or name another in spec.provider",
        )
    try:
        return cast("MachineProvider", next(iter(found)).load()())
    except ImportError as error:
        raise UnavailableError(
            f"the provider of machines {name!r} cannot be loaded: {error}", resolution="install its package anew"
        ) from None
