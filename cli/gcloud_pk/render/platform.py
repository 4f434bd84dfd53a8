"""What all tenants share: everything that `cluster init` installs, and the revision that tells it apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

from gcloud_pk import __version__
from gcloud_pk.model import labels
from gcloud_pk.render import crd, data
from gcloud_pk.render.metadata import Manifest, canonical

PLATFORM_VERSION = f"{labels.GROUP}/platform-version"
CANARY = "gpk-canary"
"""Policy and binding that refuse one ConfigMap and say which revision of the policies is in force."""
CANARY_CONFIG_MAP = "gcloud-pk-canary"

# Controls before access; the canary, which vouches for all, is added last.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "Role",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ClusterRoleBinding",
    "RoleBinding",
)
_VERSION_MARK = "@VERSION@"
_REVISION_MARK = "@REVISION@"


def assemble(documents: Iterable[Manifest], version: str) -> list[Manifest]:
    """Return `documents` labelled, hashed, in the order to apply, the canary last with the revision filled in.

    Pure: the same documents and version give the same bytes. Raises ValueError on a kind without a place in the order.
    """
    documents = list(documents)
    unknown = {d["kind"] for d in documents} - set(_ORDER)
    if unknown:
        raise ValueError(f"no place in the order for {', '.join(sorted(unknown))}")
    shared = sorted((_marked(d, version) for d in documents if d["metadata"]["name"] != CANARY), key=_place)
    canary = sorted((d for d in documents if d["metadata"]["name"] == CANARY), key=_place)
    found = revision(shared)
    return [*shared, *(_marked(_filled(d, {_VERSION_MARK: version, _REVISION_MARK: found}), version) for d in canary)]


def revision(shared: Iterable[Manifest]) -> str:
    """Return the SHA-256 of the canonical JSON of objects, in hexadecimal."""
    return hashlib.sha256(canonical(list(shared))).hexdigest()


def canary_message(version: str, found: str) -> str:
    """Return what the canary's refusal says: `platform <version> <revision>`."""
    return f"platform {version} {found}"


def _place(made: Manifest) -> tuple[int, str, str]:
    metadata = made["metadata"]
    return _ORDER.index(made["kind"]), metadata.get("namespace", ""), metadata["name"]


def _marked(document: Manifest, version: str) -> Manifest:
    metadata = document["metadata"]
    own_labels = {**metadata.get("labels", {}), labels.MANAGED: labels.MANAGED_BY_PLATFORM}
    annotations = {**metadata.get("annotations", {}), PLATFORM_VERSION: version}
    made = {
        **document,
        "metadata": {
            **metadata,
            "labels": dict(sorted(own_labels.items())),
            "annotations": dict(sorted(annotations.items())),
        },
    }
    digest = hashlib.sha256(canonical(made)).hexdigest()[:32]
    made["metadata"]["annotations"] = dict(sorted({**annotations, labels.CONTENT_HASH: digest}.items()))
    return made


def _filled(value: Any, marks: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(part, marks) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, marks) for part in value]
    if isinstance(value, str):
        for mark, text in marks.items():
            value = value.replace(mark, text)
    return value


@cache
def _assembled() -> tuple[Manifest, ...]:
    documents = (
        *crd.definitions(),
        *data.documents("policies", "rbac", "*.yaml"),
        *data.documents("policies", "admission", "*", "policy.yaml"),
    )
    return tuple(assemble(documents, __version__))


def platform_objects() -> list[Manifest]:
    """Return everything that `cluster init` installs, in the order to apply; not to be changed."""
    return list(_assembled())


def platform_revision() -> str:
    """Return the SHA-256 over all shared objects but the canary, which carries it."""
    return revision(made for made in _assembled() if made["metadata"]["name"] != CANARY)


def platform_message() -> str:
    """Return the text that the canary's refusal must contain for this version to be in force."""
    return canary_message(__version__, platform_revision())
