"""What is verified is what the request asks for, in the words of the request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.unit.proof_server import moitt

from gcloud_pk.onboarding.verification import target
from gcloud_pk.render.tenant import render

NOBODY = cast("Any", SimpleNamespace(tenants={}))


def test_a_target_says_what_the_request_allows_in_each_environment() -> None:
    tenant = moitt("eoffice", "portal", isolation="dedicated-nodes")
    aim = target(tenant, ["old"], {"moitt": ["moitt-eoffice", "moitt-portal"]}, NOBODY)
    assert aim.isolation == "dedicated-nodes"
    assert [(e.name, e.retired) for e in aim.environments] == [("eoffice", False), ("portal", False), ("old", True)]
    rendered = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for o in render(tenant)}
    for environment in aim.active:
        parameters = rendered["TenantPolicy", environment.namespace, "tenant"]["spec"]
        assert parameters["domains"] == list(environment.domains) == [f"{environment.name}.moitt.gov.pk"]
        assert parameters["storageClasses"] == list(environment.storage_classes) == ["encrypted"]
        assert [flow["to"] for flow in parameters["egressFlows"]] == list(environment.egress_cidrs) == ["10.20.0.0/16"]
        assert parameters["ingressCidrs"] == list(environment.ingress_cidrs) == ["10.8.0.0/16"]
        assert environment.flows == rendered["NetworkPolicy", environment.namespace, "declared-flows"]["spec"]
    assert aim.environments[-1].flows == {}
