"""`--output-dir`: the same objects as files, for GitOps and for eyes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from gcloud_pk.render.metadata import Manifest

_ORDER = (
    "Tenant",
    "Namespace",
    "TenantPolicy",
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "ServiceAccount",
    "RoleBinding",
)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Block style, no aliases: each file reads by itself."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def to_yaml(documents: Iterable[Manifest]) -> str:
    """Return YAML documents, keys sorted, Urdu readable."""
    text = yaml.dump_all(
        documents,
        Dumper=_Dumper,
        sort_keys=True,
        allow_unicode=True,
        default_flow_style=False,
        width=120,
        explicit_start=True,
    )
    assert isinstance(text, str)  # noqa: S101 - no stream was given
    return text


def files(tenant: str, manifests: Iterable[Manifest]) -> dict[str, str]:
    """Return relative path → text: `<tenant>/<namespace>/NN-kind.yaml`, cluster-scoped objects in `<tenant>/`."""
    grouped: dict[str, list[Manifest]] = {}
    for made in manifests:
        kind, metadata = made["kind"], made["metadata"]
        own = metadata.get("namespace")
        number = _ORDER.index(kind)
        path = f"{tenant}/{own + '/' if own else ''}{number:02d}-{kind.lower()}.yaml"
        grouped.setdefault(path, []).append(made)
    return {path: to_yaml(sorted(grouped[path], key=lambda m: str(m["metadata"]["name"]))) for path in sorted(grouped)}
