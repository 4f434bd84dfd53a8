"""What came in while a wall was down is found after the wall is back, on a real API server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.conftest import running
from tests.e2e.ministry import Ministry
from tests.e2e.policy_world import administrator
from tests.e2e.test_audit_isolation import BINDINGS, FURNISHED, audit, verdicts

from gcloud_pk.cluster.transport import Api

NAMESPACE = "/namespaces/moitt-prod"
PLANTED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpk-ingresses": (
        f"/apis/networking.k8s.io/v1{NAMESPACE}/ingresses",
        {"tls": [{"hosts": ["tax.nitb.gov.pk"]}], "rules": [{"host": "tax.nitb.gov.pk"}]},
    ),
    "gpk-services": (f"/api/v1{NAMESPACE}/services", {"type": "ExternalName", "externalName": "elsewhere.invalid"}),
    "gpk-images": (
        f"/api/v1{NAMESPACE}/pods",
        {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "old",
                    "image": "registry.invalid/old:1",
                    "imagePullPolicy": "Always",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    ),
}
"""By the policy that would have refused it: where it is made, and its spec."""


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    """A lab of its own: what is taken away here is what all tenants share."""
    with running(f"residents-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        made = Ministry.found(lab, tmp_path_factory.mktemp("registries") / "registry")
        made.write("moitt", FURNISHED)
        made.onboard("--all", "--no-verify")
        yield made


def plant(admin: Api, path: str, spec: dict[str, Any]) -> None:
    """Create an object once the policy that is gone has been forgotten."""
    until = time.monotonic() + 60
    while not (answer := admin.request("POST", path, body={"metadata": {"name": "planted"}, "spec": spec})).ok:
        assert time.monotonic() < until, answer.message
        time.sleep(0.1)


def test_what_came_in_while_walls_were_down_is_found_when_they_are_back(ministry: Ministry) -> None:
    admin = administrator(ministry.lab.kubeconfig)
    checks = ("moitt", "--probes", "ISO-134,ISO-135,ISO-136,ISO-137,ISO-630")
    audit(ministry, *checks, check=0)
    for policy, (path, spec) in PLANTED.items():
        assert admin.request("DELETE", f"{BINDINGS}/{policy}").ok
        plant(admin, path, spec)
    ministry.run("cluster", "init", "--context", "admin", "--yes")
    report = audit(ministry, *checks, check=6)
    assert verdicts(report)["ISO-630"] == "pass"
    found = {r["id"]: r for r in report["results"] if r["subject"] == "tenant/moitt/prod"}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "ISO-134": "fail", "ISO-135": "fail", "ISO-136": "fail", "ISO-137": "pass",
    }  # fmt: skip
    assert "Ingress moitt-prod/planted: spec.rules[0].host: tax.nitb.gov.pk" in found["ISO-134"]["observed"]
    assert "Service moitt-prod/planted: spec.externalName: elsewhere.invalid" in found["ISO-135"]["observed"]
    assert "Pod moitt-prod/planted: spec.containers[0].image: registry.invalid/old:1" in found["ISO-136"]["observed"]
