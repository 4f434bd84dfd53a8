"""Templates of our roles, rendered as Ansible renders them, with the defaults of their role."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"

TARGET: dict[str, Any] = {
    "node_level": "cl3",
    "node_role": "worker",
    "node_site": "isb-1",
    "node_admin_user": "gcloud-pk",
    "node_audit_user": "gcloud-pk-audit",
    "node_ssh_port": 22,
    "node_ssh_allow_from": [],
}
"""What an inventory says of a host."""


def defaults(role: str) -> dict[str, Any]:
    """Return the defaults of a role as they stand, unrendered."""
    text = (PLAYBOOKS / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@functools.cache
def _loader() -> Any:
    from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]

    return DataLoader()


def _trusted(value: Any) -> Any:
    from ansible.template import trust_as_template  # type: ignore[import-untyped]

    if isinstance(value, dict):
        return {key: _trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def rendered(role: str, template: str, **variables: Any) -> str:
    """Return the text of a role's template; `variables` win over its defaults and over `TARGET`."""
    from ansible.template import Templar, trust_as_template

    known = {**TARGET, **_trusted(defaults(role)), **variables}
    source = (PLAYBOOKS / "roles" / role / "templates" / template).read_text(encoding="utf-8")
    return str(Templar(_loader(), variables=known).template(trust_as_template(source)))


def program(name: str) -> str | None:
    """Return where a program is, those of administrators too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
