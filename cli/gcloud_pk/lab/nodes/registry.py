"""The lab's registry: a site `lab-nodes` with the nodes as hosts, an organisation, an approver, signed by a keeper.

It is made by the same acts as any other; the trust file lies outside of it. What others put into it stays: only the
site's file is written again, when the nodes are others than before.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gcloud_pk.lab.nodes import access
from gcloud_pk.lab.nodes.layout import ADMIN_USER, APPROVER, AUDIT_USER, NETWORK, SITE, Layout, Node
from gcloud_pk.programs import files
from gcloud_pk.registry import acts
from gcloud_pk.registry import files as registry_files
from gcloud_pk.registry.approvers import REGISTRY
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.governance import SETTINGS

CLUSTER = "lab-nodes-a"
KEEPER = "keeper@lab.example"

_ORGANISATIONS = """\
- code: LAB
  name: {en: Lab}
  tier: federal
  domains: [lab.example]
"""


def site(lab: Layout, hosts: Sequence[tuple[Node, tuple[str, ...]]]) -> str:
    """Return the content of the site's file; `hosts`: each node with its public host keys."""
    document: dict[str, Any] = {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": SITE},
        "spec": {
            "operator": "gcloud-pk lab",
            "location": {"city": "Islamabad", "province": "ict", "seismicZone": "2b", "kind": "government"},
            "admits": ["open", "public", "restricted", "confidential", "secret"],
            "clusters": [
                {
                    "name": CLUSTER,
                    "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": NETWORK},
                }
            ],
            "ssh": {
                "user": ADMIN_USER,
                "auditUser": AUDIT_USER,
                "keys": [access.public_key(lab, "admin")],
                "auditKeys": [access.public_key(lab, "audit")],
                "allowFrom": [NETWORK],
            },
            "hosts": [
                {
                    "name": node.name,
                    "address": node.address,
                    "rack": node.rack_name,
                    "cluster": CLUSTER,
                    "role": "worker",
                    "hostKeys": list(keys),
                }
                for node, keys in hosts
            ],
        },
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=4096)


def ensure(lab: Layout, content: str, former: str | None, settings: str | None = None) -> str:
    """Make the registry, or bring the site's file up to date and sign it; return the digest of `content`.

    `former`: the digest of what was written last. Where nothing changed since, the file stays as somebody may have
    edited it. `settings`: those of the registry, written when it is made and never again. Raises InvalidInputError
    where what others put into the registry is not valid.
    """
    digest = digest_of(content)
    where = lab.registry / "sites" / f"{lab.kind.site}.yaml"
    signed = (lab.registry / "registry.sha256.sig").is_file()
    if not (lab.registry / "approvers").is_file():
        _make(lab, content)
    elif digest != former or not where.is_file():
        with registry_files.locked(lab.registry):
            registry_files.write(where, content.encode(), root=lab.registry)
    elif signed:
        return digest
    if settings is not None and not signed and not (lab.registry / SETTINGS).exists():
        with registry_files.locked(lab.registry):
            registry_files.write(lab.registry / SETTINGS, settings.encode(), root=lab.registry)
    sign(lab)
    return digest


def digest_of(content: str) -> str:
    """Return what tells a site's file from others; the UID of a cluster, which is registered later, is none of it."""
    lines = (line for line in content.splitlines(keepends=True) if not line.lstrip().startswith("uid: "))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sign(lab: Layout) -> None:
    """Have the keeper sign the registry as it is now. Raises InvalidInputError where it is not valid."""
    acts.sign_registry(Registry.open(lab.registry), lab.key("keeper"), trust_file=lab.trust)


def _make(lab: Layout, content: str) -> None:
    files.write(lab.trust, f'{KEEPER} namespaces="{REGISTRY}" {access.public_key(lab, "keeper")}\n')
    source = lab.folder / "registry-source"
    shutil.rmtree(source, ignore_errors=True)
    files.make_folder(source / "sites")
    files.write(source / "organisations.yaml", _ORGANISATIONS)
    files.write(source / "sites" / f"{lab.kind.site}.yaml", content)
    approver: dict[str, Path] = {APPROVER: lab.key("approver").with_suffix(".pub")}
    acts.initialise(lab.registry, approver, source / "organisations.yaml", source / "sites")
    shutil.rmtree(source)
