"""The head of a tenant's history, as its Tenant names it: from then on no line is taken out of the history unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.write import write_status
from gcloud_pk.model.resources import TenantStatus
from gcloud_pk.onboarding.provenance import head_of
from gcloud_pk.onboarding.run import status_manifest


def known(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Tenant's status that this version knows: a newer one may have written more."""
    names = {field.alias or name for name, field in TenantStatus.model_fields.items()}
    return {name: value for name, value in status.items() if name in names}


def name_head(api: Api, parent: Mapping[str, Any] | None, head: str) -> None:
    """Have a Tenant name another head, and nothing else of its status change; nothing where it has no status yet.

    `parent`: the live Tenant; `head`: SHA-256, hexadecimal. Raises as `write_status`.
    """
    said = (parent or {}).get("status")
    if parent is None or not said or head_of(parent) == head:
        return
    status = TenantStatus.model_validate({**known(said), "historyHead": head})
    write_status(api, status_manifest(parent["metadata"]["name"], status))
