"""Metadata that every rendered object carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gcloud_pk.model import labels

Manifest = dict[str, Any]

WAVE = "argocd.argoproj.io/sync-wave"
SYNC_OPTIONS = "argocd.argoproj.io/sync-options"
KEEP = "Prune=false,Delete=false"


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def manifest(  # the shape of a Kubernetes object, spelled out
    api_version: str,
    kind: str,
    name: str,
    *,
    tenant: str,
    wave: int,
    namespace: str | None = None,
    environment: str | None = None,
    own_labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    keep: bool = False,
    finalizers: tuple[str, ...] = (),
    **body: Any,
) -> Manifest:
    """Return one object of a tenant, with its ApplySet membership, sync wave and content hash.

    `wave` is the stage in which the object may be applied; `keep` has GitOps tools never prune or delete it.
    The hash covers the whole object, so that a field which left the request shows as a change.
    """
    metadata: dict[str, Any] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata["labels"] = {
        labels.MANAGED: labels.MANAGED_BY_PLATFORM,
        labels.TENANT: tenant,
        labels.APPLYSET_PART_OF: labels.applyset_id(tenant),
        **({labels.ENVIRONMENT: environment} if environment else {}),
        **(own_labels or {}),
    }
    metadata["annotations"] = {WAVE: str(wave), **({SYNC_OPTIONS: KEEP} if keep else {}), **(annotations or {})}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    made: Manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    digest = hashlib.sha256(canonical(made)).hexdigest()[:32]
    metadata["annotations"] = dict(sorted({**metadata["annotations"], labels.CONTENT_HASH: digest}.items()))
    metadata["labels"] = dict(sorted(metadata["labels"].items()))
    return made
