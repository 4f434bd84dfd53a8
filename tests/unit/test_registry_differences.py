"""What changed between two requests, in the words that an approver reads: what opens something stands first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.tenants import a_request_document

from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry.differences import OPENING, Difference, differences

FLOW = {"to": "10.20.0.0/16", "ports": [{"port": 5432}], "reason": "database servers"}


def basis() -> dict[str, Any]:
    prod = {
        "name": "eoffice-prod",
        "tier": "production",
        "quota": {"cpu": "16", "memory": "32Gi", "storage": "200Gi", "pods": 100},
        "domains": ["eoffice.moitt.gov.pk"],
        "exposure": "government",
        "allowFrom": ["10.8.0.0/16"],
        "egress": [copy.deepcopy(FLOW)],
    }
    return a_request_document("moitt", [prod, "dev"], storageClasses=["encrypted"], costCentre="17")


def changed(edit: Callable[[dict[str, Any], dict[str, Any]], object]) -> list[Difference]:
    """Return the differences that an edit of (spec, first environment) makes."""
    document = basis()
    edit(document["spec"], document["spec"]["environments"][0])
    document["metadata"]["revision"] = 2
    return differences(TenantRequest.model_validate(basis()), TenantRequest.model_validate(document))


SANDBOX = {
    "name": "sandbox",
    "tier": "development",
    "quota": {"cpu": "2", "memory": "4Gi", "storage": "10Gi", "pods": 20},
}

CASES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], object], list[str]]] = {
    "more cpu": (lambda s, e: e["quota"].update(cpu="24"), ["+size cpu 16 → 24 in eoffice-prod"]),
    "the same cpu in other words": (lambda s, e: e["quota"].update(cpu="16000m"), []),
    "less storage": (lambda s, e: e["quota"].update(storage="100Gi"), ["-size storage 200Gi → 100Gi in eoffice-prod"]),
    "more pods": (lambda s, e: e["quota"].update(pods=110), ["+size pods 100 → 110 in eoffice-prod"]),
    "budget": (lambda s, e: s["budget"].update(memory="300Gi"), ["+size budget of memory 200Gi → 300Gi"]),
    "a new environment": (
        lambda s, e: s["environments"].append(SANDBOX),
        ["+size new environment sandbox: development, cpu 2, memory 4Gi, storage 10Gi, 20 pods"],
    ),
    "a new environment that reaches out": (
        lambda s, e: s["environments"].append({**SANDBOX, "egress": [FLOW], "exposure": "government"}),
        [
            "+exposure exposure internal → government in sandbox",
            "+egress egress to 10.20.0.0/16 (TCP 5432) added in sandbox: database servers",
            "+size new environment sandbox: development, cpu 2, memory 4Gi, storage 10Gi, 20 pods",
        ],
    ),
    "an environment leaves": (
        lambda s, e: s["environments"].pop(),
        [
            "-access environment dev (production) leaves: closed; its namespace and data stay until it is offboarded",
        ],
    ),
    "another tier": (lambda s, e: e.update(tier="staging"), ["tier of eoffice-prod: production → staging"]),
    "a group may administer": (
        lambda s, e: s["access"]["admins"].append("moitt-ops"),
        ["+access group moitt-ops may administer"],
    ),
    "a group may no longer": (
        lambda s, e: s["access"].pop("auditors"),
        ["-access group moitt-auditors may no longer read all but secrets"],
    ),
    "a group rises": (
        lambda s, e: (s["access"].pop("developers"), s["access"]["admins"].append("moitt-developers")),
        ["+access group moitt-developers may administer; before: deploy workloads"],
    ),
    "a group descends": (
        lambda s, e: s["access"].update(auditors=["moitt-auditors", "moitt-developers"], developers=[]),
        ["-access group moitt-developers may read all but secrets; before: deploy workloads"],
    ),
    "a domain": (
        lambda s, e: e["domains"].append("portal.moitt.gov.pk"),
        ["+exposure domain portal.moitt.gov.pk in eoffice-prod"],
    ),
    "a domain under one that is there": (
        lambda s, e: e["domains"].append("new.eoffice.moitt.gov.pk"),
        ["domain new.eoffice.moitt.gov.pk in eoffice-prod"],
    ),
    "a domain given up": (
        lambda s, e: e.pop("domains"),
        ["-exposure domain eoffice.moitt.gov.pk given up in eoffice-prod"],
    ),
    "wider exposure": (
        lambda s, e: e.update(exposure="internet"),
        ["+exposure exposure government → internet in eoffice-prod"],
    ),
    "narrower exposure": (
        lambda s, e: e.update(exposure="internal"),
        ["-exposure exposure government → internal in eoffice-prod"],
    ),
    "who may reach it": (
        lambda s, e: e.update(allowFrom=["10.0.0.0/8"]),
        ["+exposure 10.0.0.0/8 may reach eoffice-prod", "10.8.0.0/16 may no longer reach eoffice-prod"],
    ),
    "fewer may reach it": (
        lambda s, e: e.update(allowFrom=["10.8.1.0/24"]),
        ["10.8.1.0/24 may reach eoffice-prod", "-exposure 10.8.0.0/16 may no longer reach eoffice-prod"],
    ),
    "another port": (
        lambda s, e: e["egress"][0]["ports"].append({"port": 22}),
        [
            "+egress egress to 10.20.0.0/16 (TCP 22, TCP 5432) added in eoffice-prod: database servers",
            "egress to 10.20.0.0/16 (TCP 5432) given up in eoffice-prod",
        ],
    ),
    "the ports in another order": (lambda s, e: e["egress"][0]["ports"].reverse(), []),
    "egress to a part of the network": (
        lambda s, e: e["egress"][0].update(to="10.20.1.0/24"),
        [
            "egress to 10.20.1.0/24 (TCP 5432) added in eoffice-prod: database servers",
            "-egress egress to 10.20.0.0/16 (TCP 5432) given up in eoffice-prod",
        ],
    ),
    "egress over IPv6": (
        lambda s, e: e["egress"].append({**FLOW, "to": "2001:db8::/48"}),
        ["+egress egress to 2001:db8::/48 (TCP 5432) added in eoffice-prod: database servers"],
    ),
    "egress for another reason": (
        lambda s, e: e["egress"][0].update(reason="archive"),
        ["egress to 10.20.0.0/16 (TCP 5432) in eoffice-prod: the reason is now: archive"],
    ),
    "a lower class": (
        lambda s, e: s.update(classification="public"),
        ["+protection class restricted → public: less protection"],
    ),
    "a higher class": (
        lambda s, e: s.update(classification="secret", isolation="dedicated-nodes"),
        ["class restricted → secret: more protection", "isolation namespace → dedicated-nodes: more protection"],
    ),
    "images from elsewhere": (
        lambda s, e: s["registries"].append("registry.gcloud.gov.pk/base/"),
        ["+images images from registry.gcloud.gov.pk/base/"],
    ),
    "images from below": (
        lambda s, e: s["registries"].append("registry.gcloud.gov.pk/moitt/eoffice/"),
        ["images from registry.gcloud.gov.pk/moitt/eoffice/"],
    ),
    "another storage class": (
        lambda s, e: s.update(storageClasses=["fast"]),
        ["+storage storage class fast", "-storage storage class encrypted given up"],
    ),
    "personal data": (lambda s, e: s.update(personalData=True), ["personal data: yes, before no"]),
    "critical": (
        lambda s, e: s.update(criticalInfrastructure=True),
        ["critical information infrastructure: yes, before no"],
    ),
    "a site": (lambda s, e: s.update(site={"primary": "isb-1"}), ["site: by classification → isb-1, recovery none"]),
    "people": (
        lambda s, e: (
            s["requestedBy"].update(name="DG"),
            s["contacts"]["owner"].update(phone="051 1"),
            s["contacts"]["technical"].append({"name": "NOC", "email": "noc@moitt.gov.pk"}),
        ),
        [
            "asked by: Director IT, Director <director.it@moitt.gov.pk> → DG, Director <director.it@moitt.gov.pk>",
            "owner: Joint Secretary <js@moitt.gov.pk> → Joint Secretary <js@moitt.gov.pk>, 051 1",
            "technical contact NOC <noc@moitt.gov.pk>",
        ],
    ),
    "texts": (
        lambda s, e: (s["purpose"].update(ur="دفتر"), s.pop("costCentre"), s.update(reviewAfter="2027-06-30")),
        ["purpose (ur): دفتر", "cost centre: none, before 17", "review after: 2027-06-30"],
    ),
    "the revision alone": (lambda s, e: None, []),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_is_said_in_words_with_its_mark(case: str) -> None:
    edit, words = CASES[case]
    assert [f"{change.mark} {change.words}".strip() for change in changed(edit)] == words


@pytest.mark.parametrize("case", CASES)
def test_what_opens_stands_first_and_is_marked_with_plus(case: str) -> None:
    changes = changed(CASES[case][0])
    opens = [change.opens for change in changes]
    assert opens == sorted(opens, reverse=True)
    for change in changes:
        assert change.opens == (change.mark[:1] == "+" and change.mark[1:] in OPENING)


def test_a_change_in_a_document_has_field_both_values_words_and_whether_it_opens() -> None:
    (change,) = changed(lambda s, e: e.update(exposure="internet"))
    assert change.as_dict() == {
        "field": "spec.environments[eoffice-prod].exposure",
        "before": "government",
        "after": "internet",
        "words": "exposure government → internet in eoffice-prod",
        "mark": "+exposure",
        "opens": True,
    }


FIELDS = {
    "organisation": "FBR",
    "requestedBy": {"name": "X", "designation": "X", "email": "x@moitt.gov.pk"},
    "purpose": {"en": "X"},
    "classification": "public",
    "personalData": True,
    "criticalInfrastructure": True,
    "isolation": "dedicated-nodes",
    "site": {"primary": "isb-1"},
    "contacts": {
        "owner": {"name": "X", "email": "x@moitt.gov.pk"},
        "technical": [{"name": "Deputy Director", "email": "dd@moitt.gov.pk"}],
    },
    "access": {"admins": ["x"]},
    "budget": {"cpu": "1", "memory": "200Gi", "storage": "1Ti"},
    "environments": [SANDBOX],
    "registries": ["x.gov.pk/"],
    "storageClasses": ["x"],
    "costCentre": "X",
    "reviewAfter": "2030-01-01",
}
"""Another value for every field of a request."""


def test_every_field_has_another_value_to_try() -> None:
    spec = TenantRequest.model_fields["spec"].annotation
    assert spec is not None
    assert {field.alias for field in spec.model_fields.values()} == set(FIELDS)


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_can_change_unseen(field: str) -> None:
    changes = changed(lambda spec, _: spec.update({field: FIELDS[field]}))
    assert any(change.path.startswith(f"spec.{field}") for change in changes)
