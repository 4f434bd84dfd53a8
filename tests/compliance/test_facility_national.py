"""Several sites together: recovery elsewhere, room for it, and the nation without any one site."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.unit.facility_sites import Document, consistent
from tests.unit.tenants import a_request_document

from gcloud_pk.facility.national import judge_all
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.site import Site

TODAY = dt.date(2026, 11, 22)

PLACES = {
    "isb-1": ("Islamabad", "ict", "2b"),
    "lhe-1": ("Lahore", "punjab", "2a"),
    "khi-1": ("Karachi", "sindh", "3"),
}
"""Sites of three racks, a worker of 16 cores and 64Gi in each: 48 cores, 32 with one rack out."""


def nation(**changes: Callable[[Document], object]) -> dict[str, Site]:
    """Return three sites, changed by `lhe_1=…`."""
    sites = {}
    for name, (city, province, zone) in PLACES.items():
        document = consistent()
        document["metadata"]["name"] = name
        document["spec"]["location"] = {
            "city": city, "province": province, "seismicZone": zone, "kind": "government",
        }  # fmt: skip
        if change := changes.get(name.replace("-", "_")):
            change(document["spec"])
        sites[name] = Site.model_validate(document)
    return sites


def tenants(*rows: tuple[str, str, str | None, str], **spec: Any) -> dict[str, TenantRequest]:
    """Return requests by `(name, primary, recovery, cores)`."""
    found = {}
    for name, primary, recovery, cores in rows:
        site = {"primary": primary, **({"recovery": recovery} if recovery else {})}
        budget = {"cpu": cores, "memory": "10Gi", "storage": "1Ti"}
        found[name] = TenantRequest.model_validate(a_request_document(name, site=site, budget=budget, **spec))
    return found


def verdict(findings: Iterable[Finding], check: str, subject: str) -> tuple[Verdict, str]:
    (one,) = [one for one in findings if (one.id, one.subject) == (check, subject)]
    return one.verdict, one.observed


GOOD = tenants(("moitt", "isb-1", "lhe-1", "16"), ("nadra", "lhe-1", "khi-1", "16"))


def test_tenants_with_room_elsewhere_pass() -> None:
    findings = judge_all(nation(), GOOD, TODAY)
    assert {one.verdict for one in findings} == {Verdict.PASS, Verdict.NOT_APPLICABLE}
    assert verdict(findings, "DC-101", "tenant/moitt") == (
        Verdict.PASS,
        "isb-1 (Islamabad, zone 2B) to lhe-1 (Lahore, zone 2A)",
    )
    assert verdict(findings, "DC-103", "nation/without/isb-1") == (
        Verdict.PASS,
        "2 tenants: 32 of 48 cpu, 20Gi of 192Gi memory",
    )


@pytest.mark.parametrize(
    ("recovery", "change", "words"),
    [
        ("isb-1", {}, "the same site"),
        ("xyz-1", {}, "the registry has no site xyz-1"),
        ("lhe-1", {"lhe_1": lambda spec: spec["location"].update(city="islamabad")}, "both stand in Islamabad"),
        ("lhe-1", {"lhe_1": lambda spec: spec["location"].update(seismicZone="2B")}, "both stand in seismic zone 2B"),
        ("lhe-1", {"lhe_1": lambda spec: spec["location"].update(city="Islamabad ")}, "both stand in Islamabad"),
        ("lhe-1", {"lhe_1": lambda spec: spec["location"].update(city="\uff29slāmābād")}, "both stand in Islamabad"),
        ("lhe-1", {"lhe_1": lambda spec: spec.update(admits=["open"])}, "does not admit restricted data"),
        ("lhe-1", {"lhe_1": lambda spec: spec["clusters"][0].update(admits=["open"])}, "no cluster of lhe-1 admits it"),
        ("lhe-1", {"lhe_1": lambda spec: spec["clusters"][0].update(dedicatedTo="nadra")}, "no cluster of lhe-1"),
        (
            "lhe-1",
            {"lhe_1": lambda spec: spec.update(accreditation={"scheme": "audit", "expires": "2026-11-21"})},
            "the accreditation of lhe-1 expired on 2026-11-21",
        ),
    ],
)  # fmt: skip
def test_a_recovery_site_must_be_elsewhere_and_admit_the_tenant(
    recovery: str, change: dict[str, Callable[[Document], object]], words: str
) -> None:
    found, observed = verdict(
        judge_all(nation(**change), tenants(("moitt", "isb-1", recovery, "4")), TODAY), "DC-101", "tenant/moitt"
    )
    assert found is Verdict.FAIL
    assert words in observed


def test_no_recovery_site_and_no_seismic_zone_are_not_checked() -> None:
    findings = judge_all(nation(), tenants(("moitt", "isb-1", None, "4")), TODAY)
    assert verdict(findings, "DC-101", "tenant/moitt")[0] is Verdict.NOT_CHECKED
    zoneless = nation(lhe_1=lambda spec: spec["location"].pop("seismicZone"))
    findings = judge_all(zoneless, tenants(("moitt", "isb-1", "lhe-1", "4")), TODAY)
    assert verdict(findings, "DC-101", "tenant/moitt")[0] is Verdict.NOT_CHECKED


def test_a_city_that_may_be_the_same_one_is_not_checked() -> None:
    nearly = nation(lhe_1=lambda spec: spec["location"].update(city="Islamabd", province="ict"))
    findings = judge_all(nearly, tenants(("moitt", "isb-1", "lhe-1", "4")), TODAY)
    (one,) = [one for one in findings if (one.id, one.subject) == ("DC-101", "tenant/moitt")]
    assert one.verdict is Verdict.NOT_CHECKED
    assert one.reason == "'Islamabad' and 'Islamabd' may be one city: one spelling for one city, in sites/"


@pytest.mark.parametrize("role", ["storage", "gateway"])
def test_hosts_of_other_work_are_no_room_for_tenants(role: str) -> None:
    busy = nation(isb_1=lambda spec: [one.update(role=role) for one in spec["hosts"][4:]])
    findings = judge_all(busy, tenants(("moitt", "isb-1", "lhe-1", "1")), TODAY)
    # w1 alone is left, and its rack is taken out
    assert verdict(findings, "DC-102", "site/isb-1") == (
        Verdict.FAIL,
        "1 of cpu short with rack-1 of isb-1 out for 1 tenant: moitt",
    )


def test_control_planes_run_pods_where_there_is_nothing_else_and_not_beside_storage() -> None:
    alone = nation(isb_1=lambda spec: spec.update(hosts=spec["hosts"][:3]))
    wanted = tenants(("moitt", "isb-1", "lhe-1", "32"))
    assert verdict(judge_all(alone, wanted, TODAY), "DC-102", "site/isb-1")[0] is Verdict.PASS
    beside = nation(isb_1=lambda spec: [one.update(role="storage") for one in spec["hosts"][3:]])
    assert verdict(judge_all(beside, wanted, TODAY), "DC-102", "site/isb-1")[0] is Verdict.FAIL


def test_hosts_that_may_not_hold_a_class_are_no_room_for_its_tenants() -> None:
    partly = nation(isb_1=lambda spec: spec["hosts"][5].update(holds=["open"]))
    findings = judge_all(partly, tenants(("moitt", "isb-1", "lhe-1", "17")), TODAY)
    assert verdict(findings, "DC-102", "site/isb-1") == (
        Verdict.FAIL,
        "1 of cpu short with rack-1 of isb-1 out for 1 tenant: moitt",
    )


def test_what_the_kubelet_keeps_for_the_system_is_no_room_for_tenants() -> None:
    kept = nation(isb_1=lambda spec: spec["clusters"][0].update(kubelet={"systemReservedCpu": "500m"}))
    findings = judge_all(kept, tenants(("moitt", "isb-1", "lhe-1", "32")), TODAY)
    assert verdict(findings, "DC-102", "site/isb-1") == (
        Verdict.FAIL,
        "1 of cpu short with rack-1 of isb-1 out for 1 tenant: moitt",
    )


def test_a_site_must_hold_its_tenants_with_any_one_rack_out() -> None:
    fits = judge_all(nation(), tenants(("moitt", "isb-1", "lhe-1", "32")), TODAY)
    assert verdict(fits, "DC-102", "site/isb-1")[0] is Verdict.PASS
    over = judge_all(nation(), tenants(("moitt", "isb-1", "lhe-1", "33")), TODAY)
    assert verdict(over, "DC-102", "site/isb-1") == (
        Verdict.FAIL,
        "1 of cpu short with rack-1 of isb-1 out for 1 tenant: moitt",
    )


def test_a_recovery_site_must_hold_its_own_tenants_and_those_that_come() -> None:
    findings = judge_all(nation(), tenants(("moitt", "isb-1", "lhe-1", "20"), ("nadra", "lhe-1", "khi-1", "20")), TODAY)
    assert verdict(findings, "DC-103", "nation/without/isb-1") == (
        Verdict.FAIL,
        "8 of cpu short with rack-1 of lhe-1 out for 2 tenants: moitt, nadra",
    )
    assert verdict(findings, "DC-103", "nation/without/lhe-1")[0] is Verdict.PASS
    assert verdict(findings, "DC-104", "nation/without/isb-1")[0] is Verdict.PASS


def test_the_rack_that_gives_most_is_the_one_that_is_taken_out() -> None:
    def uneven(spec: Document) -> None:
        spec["machines"].append({"name": "large", "cpu": 40, "memory": "64Gi"})
        spec["hosts"][5]["machine"] = "large"

    findings = judge_all(nation(isb_1=uneven), tenants(("moitt", "isb-1", "lhe-1", "33")), TODAY)
    assert verdict(findings, "DC-102", "site/isb-1") == (
        Verdict.FAIL,
        "1 of cpu short with rack-3 of isb-1 out for 1 tenant: moitt",
    )


def test_memory_is_judged_as_well_as_cpu() -> None:
    wanted = tenants(("moitt", "isb-1", "lhe-1", "4"))
    document = a_request_document(
        "moitt", site={"primary": "isb-1", "recovery": "lhe-1"}, budget={"cpu": "4", "memory": "129Gi", "storage": "1"}
    )
    wanted["moitt"] = TenantRequest.model_validate(document)
    found = verdict(judge_all(nation(), wanted, TODAY), "DC-102", "site/isb-1")
    assert found == (Verdict.FAIL, "1Gi of memory short with rack-1 of isb-1 out for 1 tenant: moitt")


def test_national_totals_are_judged_class_by_class() -> None:
    def open_only(spec: Document) -> None:
        spec["admits"] = ["open"]

    wanted = tenants(("moitt", "isb-1", "lhe-1", "30"), ("nadra", "lhe-1", "isb-1", "30"))
    enough = judge_all(nation(), wanted, TODAY)
    assert verdict(enough, "DC-104", "nation/without/isb-1")[0] is Verdict.PASS
    short = judge_all(nation(khi_1=open_only), wanted, TODAY)
    assert verdict(short, "DC-104", "nation/without/isb-1") == (
        Verdict.FAIL,
        "12 of cpu short for 2 tenants: moitt, nadra",
    )


def test_a_tenant_of_its_own_cluster_has_room_in_that_one_only() -> None:
    def own(spec: Document) -> None:
        spec["clusters"].append({"name": "own", "dedicatedTo": "moitt"})
        for number, one in enumerate(spec["hosts"]):
            one["cluster"] = "own" if number == 5 else "isb-1-a"

    wanted = tenants(("moitt", "isb-1", "isb-1", "17"), isolation="dedicated-cluster")
    findings = judge_all(nation(isb_1=own), wanted, TODAY)
    assert verdict(findings, "DC-102", "site/isb-1")[0] is Verdict.FAIL


def test_machines_of_no_known_class_are_not_checked() -> None:
    bare = nation(lhe_1=lambda spec: [one.pop("machine") for one in spec["hosts"]])
    findings = judge_all(bare, tenants(("moitt", "isb-1", "lhe-1", "4")), TODAY)
    assert verdict(findings, "DC-103", "nation/without/isb-1")[0] is Verdict.NOT_CHECKED
    assert verdict(findings, "DC-102", "site/isb-1")[0] is Verdict.PASS


def test_one_site_is_no_nation() -> None:
    findings = judge_all({"isb-1": nation()["isb-1"]}, {}, TODAY)
    assert verdict(findings, "DC-104", "nation")[0] is Verdict.NOT_CHECKED


def test_a_request_without_a_site_counts_where_it_is_placed() -> None:
    placed = {"moitt": TenantRequest.model_validate(a_request_document("moitt"))}
    assert verdict(judge_all(nation(), placed, TODAY), "DC-102", "site/isb-1")[0] is Verdict.FAIL  # 100 cores
    elsewhere = judge_all(nation(), placed, TODAY, {"moitt": "khi-1"})
    assert verdict(elsewhere, "DC-102", "site/isb-1")[0] is Verdict.NOT_APPLICABLE
