"""The door of a node as it really is: by what proofs the sshd that runs lets somebody try, asked without any proof."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.inventory import Route

UNKNOWN = "gcloud-pk-nobody"
"""A user that no node has."""

SECONDS = 20.0

_NOTHING_SHOWN = {
    "ControlMaster": "no",
    "ControlPath": "none",
    "PreferredAuthentications": "none",
}
"""A connection of its own, on which no key and no password is tried."""

_DENIED = re.compile(r"Permission denied \(([a-z0-9@.,-]*)\)\.?")


def methods(site: Site, host: Host, route: Route) -> dict[str, list[str] | None]:
    """Return the methods that sshd offers to `admin`, `audit`, `root` and `unknown`; None where it said nothing of it.

    `none` among them: who came was let in without any proof.
    """
    ssh = site.spec.ssh
    users = {"admin": ssh.user, "audit": ssh.audit_user, "root": "root", "unknown": UNKNOWN}
    with ThreadPoolExecutor(len(users)) as pool:
        return dict(zip(users, pool.map(lambda user: _asked(site, host, route, user), users.values()), strict=True))


def offered(code: int, said: str) -> list[str] | None:
    """Return the methods of which ssh's last words tell; `none` where it got in. Pure."""
    if code == 0:
        return ["none"]
    found = _DENIED.findall(said)
    return sorted({one for one in found[-1].split(",") if one}) if found else None


def _asked(site: Site, host: Host, route: Route, user: str) -> list[str] | None:
    words = ["ssh", *route.options(host), *_options(_NOTHING_SHOWN), "-p", str(site.spec.ssh.port), "-l", user]
    try:
        done = subprocess.run(
            [*words, host.name, "exit 0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return offered(done.returncode, done.stderr[-4000:].decode("utf-8", "replace"))


def _options(chosen: Mapping[str, str]) -> Iterable[str]:
    return [word for name, value in chosen.items() for word in ("-o", f"{name}={value}")]
