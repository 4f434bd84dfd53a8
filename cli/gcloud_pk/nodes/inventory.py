"""A site's hosts as an inventory of Ansible: pure; the same site gives the same bytes.

The names of the variables are the contract with `playbooks/`: each role reads its own.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.errors import InvalidInputError, problem
from gcloud_pk.model.baseline import LEVELS, Level
from gcloud_pk.model.site import Host, Site

API_PORT = 6443
"""Where the API server of a control plane's node listens (Kubernetes: Ports and Protocols)."""

SSH_PORT = 22

_ALIVE = {"ConnectTimeout": "10", "ServerAliveInterval": "10", "ServerAliveCountMax": "6"}
# What a person's own configuration of ssh must not change: whom we believe, and what a node gets from us.
_FIXED = {
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "none",
    "KnownHostsCommand": "none",
    "VerifyHostKeyDNS": "no",
    "UpdateHostKeys": "no",
    "CheckHostIP": "no",
    "CanonicalizeHostname": "no",
    "BatchMode": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}


@dataclass(frozen=True)
class Route:
    """How this machine reaches nodes. `known_hosts`: the only file whose keys count; `ssh_config`: for jump hosts."""

    known_hosts: Path
    ssh_config: Path | None = None

    def options(self, host: Host) -> list[str]:
        """Return ssh's options for a host that is called by its name; its address is the site's, whatever a file says.

        `Host NAME` of the ssh_config applies, and so its ProxyJump, ProxyCommand and IdentityFile do.
        """
        chosen = {**_FIXED, **_ALIVE, "UserKnownHostsFile": str(self.known_hosts), "HostName": host.address}
        words = ["-F", str(self.ssh_config)] if self.ssh_config else []
        for name, value in chosen.items():
            words += ["-o", f"{name}={value}"]
        return words


def select(site: Site, limit: Sequence[str] = ()) -> tuple[Host, ...]:
    """Return the hosts that words name, in the site's order; all without a word.

    A word is a host's name or address, or else a rack, a cluster, a role or a level. Raises InvalidInputError where the
    site has no host, or where a word names none.
    """
    name = site.metadata.name
    hosts = site.spec.hosts
    if not hosts:
        raise InvalidInputError(
            f"site {name} has no hosts",
            details=[problem("names no machine", file=f"sites/{name}.yaml", field="spec.hosts")],
            resolution=f"add its hosts (name, address, hostKeys) to sites/{name}.yaml, then: gcloud-pk registry sign",
        )
    words = [word.strip() for given in limit for word in given.split(",")]
    chosen: set[str] = set()
    unknown: list[str] = []
    for word in words:
        found = {host.name for host in hosts if word in (host.name, host.address)}
        found = found or {host.name for host in hosts if word in _groups_of(site, host)}
        chosen |= found
        if not found:
            unknown.append(word)
    if unknown:
        groups = sorted({group for host in hosts for group in _groups_of(site, host)})
        raise InvalidInputError(
            f"--limit names no host of site {name}: {', '.join(repr(word) for word in unknown)}",
            details=[f"hosts: {_some(host.name for host in hosts)}", f"groups: {_some(groups)}"],
            resolution="name one of these; several with commas",
        )
    return tuple(host for host in hosts if host.name in chosen) if words else hosts


def _some(names: Iterable[str], most: int = 20) -> str:
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def _groups_of(site: Site, host: Host) -> tuple[str, ...]:
    return tuple(one for one in (host.rack, host.cluster, host.role, site.spec.level_of(host)) if one)


def below(site: Site, hosts: Iterable[Host], level: Level) -> list[str]:
    """Return the names of hosts whose data ask for more than `level`."""
    return [host.name for host in hosts if LEVELS.index(site.spec.level_of(host)) > LEVELS.index(level)]


def inventory(site: Site, hosts: Sequence[Host], route: Route, level: Level | None = None) -> dict[str, Any]:
    """Return the inventory document (Ansible's YAML format): hosts with their variables, groups by what they are.

    `level`: in place of each host's own.
    """
    groups: dict[str, dict[str, Any]] = {}
    for host in hosts:
        kinds = (
            ("role", host.role),
            ("rack", host.rack),
            ("cluster", host.cluster),
            ("level", level or site.spec.level_of(host)),
        )
        for kind, value in kinds:
            if value:
                # Ansible wants names of variables there.
                members = groups.setdefault(f"{kind}_{value}".replace("-", "_"), {"hosts": {}})["hosts"]
                members[host.name] = None
    return {
        "all": {
            "hosts": {host.name: _of_host(site, host, route, level) for host in hosts},
            "children": dict(sorted(groups.items())),
            "vars": _of_all(site),
        }
    }


def _of_all(site: Site) -> dict[str, Any]:
    ssh = site.spec.ssh
    return {
        "ansible_connection": "ssh",
        "ansible_user": ssh.user,
        "ansible_port": ssh.port,
        "ansible_become": True,
        "ansible_become_method": "sudo",
        "ansible_python_interpreter": "/usr/bin/python3",
        "node_site": site.metadata.name,
        "node_admin_user": ssh.user,
        "node_audit_user": ssh.audit_user,
        "node_admin_keys": list(ssh.keys),
        "node_audit_keys": list(ssh.audit_keys),
        "node_ssh_port": ssh.port,
        "node_ssh_allow_from": list(ssh.allow_from),
        "node_time_servers": list(site.spec.time_servers),
        "node_time_nts": site.spec.time_nts,
        "node_log_host": site.spec.log_host or "",
        "node_api_port": API_PORT,
    }


def _of_host(site: Site, host: Host, route: Route, level: Level | None) -> dict[str, Any]:
    return {
        "ansible_ssh_common_args": shlex.join(route.options(host)),
        "node_address": host.address,
        "node_level": level or site.spec.level_of(host),
        "node_role": host.role,
        "node_networks": _networks(site, host),
    }


def _networks(site: Site, host: Host) -> Mapping[str, str]:
    """Return the ranges of the host's cluster: the one that it names, or the only one there is."""
    clusters = site.spec.clusters
    named = [one for one in clusters if one.name == host.cluster] or (clusters if len(clusters) == 1 else ())
    if host.role == "plain" or not named or named[0].networks is None:
        return {}
    networks = named[0].networks
    return {"pods": networks.pods, "services": networks.services, "nodes": networks.nodes}


def known_hosts(site: Site, hosts: Iterable[Host]) -> str:
    """Return the lines of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): each host's own keys alone."""
    port = site.spec.ssh.port
    return "".join(
        f"{host.address if port == SSH_PORT else f'[{host.address}]:{port}'} {key}\n"
        for host in hosts
        for key in host.host_keys
    )


def fingerprint(key: str) -> str:
    """Return `SHA256:…` of a public key's line, as ssh-keygen -l shows it."""
    blob = base64.b64decode(key.split()[1] + "==")
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
