"""Variables of `playbooks/cluster.yml`, put together as Ansible does for one host of a cluster."""

from __future__ import annotations

from typing import Any

import yaml
from tests.unit.role_templates import PLAYBOOKS, TARGET

INVENTORY: dict[str, Any] = {
    "cluster_name": "isb-1-a",
    "cluster_site": "isb-1",
    "cluster_version": "1.36.3",
    "cluster_endpoint_address": "10.207.0.10",
    "cluster_networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
    "cluster_image_prefix": "registry.example:5000/k8s",
    "cluster_hosts": {
        **{f"c{n}": {"address": f"10.207.0.1{n}", "role": "control-plane", "rack": f"rack-{n}"} for n in (1, 2, 3)},
        **{f"w{n}": {"address": f"10.207.0.2{n}", "role": "worker", "rack": f"rack-{n}"} for n in (1, 2, 3)},
    },
    "cluster_addons_known": {"networks": {f"{kind}{n}": f"10.208.{n if kind == 'c' else n + 3}.0/24"
                                          for kind in "cw" for n in (1, 2, 3)}},
}  # fmt: skip
ROLES = sorted(path.name for path in (PLAYBOOKS / "roles").iterdir() if path.name.startswith("cluster"))


def variables(host: str = "c1", **changes: Any) -> dict[str, Any]:
    """Return what a host knows before a role acts; `changes` win."""
    known: dict[str, Any] = {**TARGET, "node_shared_kernel": False}
    for part in ("defaults", "vars"):
        for role in ROLES:
            path = PLAYBOOKS / "roles" / role / part / "main.yml"
            known |= (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    hosts = list(INVENTORY["cluster_hosts"])
    found = {"standing": "absent", "interface": "eth0", "nameservers": []}
    return {
        **known,
        **INVENTORY,
        "inventory_hostname": host,
        "ansible_play_hosts": hosts,
        "ansible_play_hosts_all": hosts,
        "hostvars": {name: {"inventory_hostname": name, "cluster_found": found} for name in hosts},
        "cluster_found": found,
        "playbook_dir": str(PLAYBOOKS),
        **changes,
    }


def evaluated(expression: str, **known: Any) -> Any:
    """Return the value of a template's expression, as Ansible has it."""
    from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]
    from ansible.template import Templar, trust_as_template  # type: ignore[import-untyped]
    from tests.unit.role_templates import _trusted

    templar = Templar(DataLoader(), variables=_trusted(variables(**known)))
    return templar.template(trust_as_template(expression))


def template(role: str, name: str, **known: Any) -> str:
    """Return the text of a role's template."""
    source = (PLAYBOOKS / "roles" / role / "templates" / name).read_text(encoding="utf-8")
    return str(evaluated(source, **known))
