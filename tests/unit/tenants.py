"""Tenants for tests: valid, small, and different in what a test asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.tenant import Tenant


def a_request_document(
    name: str = "moitt", environments: Sequence[str | dict[str, Any]] = ("eoffice",), **spec: Any
) -> dict[str, Any]:
    """Return a TenantRequest as YAML would give it."""
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "TenantRequest",
        "metadata": {"name": name, "revision": 1},
        "spec": {
            "organisation": "MOITT",
            "requestedBy": {"name": "Director IT", "designation": "Director", "email": "director.it@moitt.gov.pk"},
            "purpose": {"en": "E-Office"},
            "classification": "restricted",
            "contacts": {
                "owner": {"name": "Joint Secretary", "email": "js@moitt.gov.pk"},
                "technical": [{"name": "Deputy Director", "email": "dd@moitt.gov.pk"}],
            },
            "access": {
                "admins": [f"{name}-admins"],
                "developers": [f"{name}-developers"],
                "auditors": [f"{name}-auditors"],
            },
            "budget": {"cpu": "100", "memory": "200Gi", "storage": "1Ti"},
            "environments": [
                {
                    "name": environment,
                    "tier": "production",
                    "quota": {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20},
                }
                if isinstance(environment, str)
                else environment
                for environment in environments
            ],
            "registries": [f"registry.gcloud.gov.pk/{name}/"],
            **spec,
        },
    }


def a_tenant(name: str = "moitt", environments: Sequence[str | dict[str, Any]] = ("eoffice",), **spec: Any) -> Tenant:
    """Return an accepted tenant."""
    request = TenantRequest.model_validate(a_request_document(name, environments, **spec))
    organisation = Organisation.model_validate(
        {"code": "MOITT", "name": {"en": "MoITT"}, "tier": "federal", "domains": ["moitt.gov.pk"]}
    )
    return Tenant(request, "0" * 64, organisation, Settings())
