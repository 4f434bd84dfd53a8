"""Rules that hold for all requests, not only for the cases in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gcloud_pk.model import rules
from gcloud_pk.model.base import LABEL_PATTERN
from gcloud_pk.model.classification import CLASSES, FLOOR
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest, namespace_name
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Site
from gcloud_pk.registry import documents

DATA = Path(__file__).parent / "data"

# A small alphabet finds collisions; a hyphen in every second place makes them likely.
labels = st.from_regex(rf"\A{LABEL_PATTERN.replace('a-z0-9', 'ab')}\Z").filter(lambda name: len(name) <= 30)


@given(labels, labels, labels, labels)
def test_tenants_whose_names_do_not_collide_never_share_a_namespace(a: str, b: str, first: str, second: str) -> None:
    assume(not rules.names_collide(a, b))
    assert namespace_name(a, first) != namespace_name(b, second)


@given(labels, labels)
def test_names_that_collide_could_share_a_namespace(shorter: str, rest: str) -> None:
    longer = f"{shorter}-{rest}"
    assert rules.names_collide(shorter, longer)
    assert rules.names_collide(longer, shorter)
    assert namespace_name(longer, "x") == namespace_name(shorter, f"{rest}-x")


@given(st.lists(labels, unique=True, max_size=8), labels)
def test_the_index_of_names_finds_the_same_collisions_as_comparing_all(names: list[str], name: str) -> None:
    around = rules.Surroundings(names=tuple(names), registry=False)
    request = request_named(name)
    found = {p.message for p in rules.request_problems(request, around) if p.field == "metadata.name"}
    expected = {n for n in names if n != name and rules.names_collide(n, name)}
    assert len(found) == len(expected)
    assert all(any(repr(n) in message for message in found) for n in expected)


BASE = documents.parse((DATA / "requests" / "valid" / "every-field.yaml").read_bytes(), "base")


def request_named(name: str, *, group: str = "g", domain: str | None = None) -> TenantRequest:
    fields = {**BASE.value, "metadata": {"name": name}}
    fields["spec"] = {**fields["spec"], "access": {"admins": [group]}}
    if domain:
        environment = {**fields["spec"]["environments"][0], "domains": [domain]}
        fields["spec"] = {**fields["spec"], "environments": [environment]}
    return TenantRequest.model_validate(fields)


parts = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=2, max_size=4).map(".".join)


@given(parts, parts)
def test_the_index_of_domains_finds_the_same_overlaps_as_comparing_all(mine: str, theirs: str) -> None:
    around = rules.Surroundings(others={"other": request_named("other", group="o", domain=theirs)}, registry=False)
    problems = rules.request_problems(request_named("mine", domain=mine), around)
    overlaps = rules.under_domain(mine, theirs) or rules.under_domain(theirs, mine)
    assert any("overlaps" in p.message for p in problems) == overlaps


def test_what_an_accepted_request_holds_is_held_until_a_new_one_is_accepted() -> None:
    proposed = request_named("other", group="new", domain="new.moitt.gov.pk")
    accepted = request_named("other", group="old", domain="old.moitt.gov.pk")
    around = rules.Surroundings(others={"other": proposed}, accepted={"other": accepted}, registry=False)
    for group, domain in (("old", "x.moitt.gov.pk"), ("mine", "old.moitt.gov.pk"), ("new", "x.moitt.gov.pk")):
        assert rules.request_problems(request_named("mine", group=group, domain=domain), around)
    assert not rules.request_problems(request_named("mine", group="mine", domain="x.moitt.gov.pk"), around)


def test_groups_that_differ_in_case_only_are_one_group() -> None:
    around = rules.Surroundings(others={"other": request_named("other", group="Admins")}, registry=False)
    assert rules.request_problems(request_named("mine", group="aDMINS"), around)


def test_a_tenant_does_not_conflict_with_itself() -> None:
    request = request_named("moitt", domain="eoffice.moitt.gov.pk")
    assert not rules.request_problems(request, rules.Surroundings(others={"moitt": request}, registry=False))


@pytest.mark.parametrize("name", CLASSES)
def test_settings_never_loosen_the_floor(name: str) -> None:
    settings = Settings.model_validate({"approvals": {name: 1}})
    assert settings.approvals_for(name) == FLOOR[name].approvals  # type: ignore[arg-type, index]
    assert bool(rules.settings_problems(settings)) == (FLOOR[name].approvals > 1)  # type: ignore[index]


def test_a_class_that_settings_leave_out_keeps_its_floor() -> None:
    assert Settings.model_validate({"approvals": {"open": 3}}).approvals_for("secret") == 2


@pytest.mark.parametrize("prefix", ["system:", "SYSTEM:", "gcloud:"])
def test_the_groups_prefix_cannot_make_groups_of_the_platform(prefix: str) -> None:
    with pytest.raises(ValueError, match="system:"):
        Settings.model_validate({"groupsPrefix": prefix})


def organisation(code: str, **fields: object) -> Organisation:
    return Organisation.model_validate(
        {"code": code, "name": {"en": code}, "tier": "federal", "domains": [f"{code.lower()}.gov.pk"], **fields}
    )


ORGANISATIONS = {
    "code-used-twice": [organisation("A"), organisation("A", domains=["b.pk"])],
    "domain-of-two": [organisation("A"), organisation("B", domains=["a.gov.pk"])],
    "parent-unknown": [organisation("A", parent="B")],
    "own-parent": [organisation("A", parent="A")],
    "circle": [organisation("A", parent="B"), organisation("B", parent="C"), organisation("C", parent="A")],
    "provincial-without-province": [organisation("A", tier="provincial")],
}


@pytest.mark.parametrize("case", ORGANISATIONS)
def test_organisations_that_contradict_each_other_are_named(case: str) -> None:
    assert rules.organisation_problems(ORGANISATIONS[case])


def test_a_tree_of_organisations_is_valid() -> None:
    listed = [organisation("A"), organisation("B", parent="A"), organisation("C", parent="B")]
    assert rules.organisation_problems(listed) == []


def site(name: str, uid: str | None = None, **location: str) -> Site:
    return Site.model_validate(
        {
            "apiVersion": "gcloud.gov.pk/v1alpha1",
            "kind": "Site",
            "metadata": {"name": name},
            "spec": {
                "operator": "NTC",
                "location": {"city": "Islamabad", "province": "ict", "kind": "government", **location},
                "admits": ["open", "restricted"],
                "clusters": [{"name": f"{name}-a", "uid": uid}],
            },
        }
    )


UID = "6c0e0000-0000-4000-8000-000000000001"
SITES = {
    "file-of-another-name": {"isb-1": site("isb-2")},
    "public-cloud-with-restricted-data": {"pub": site("pub", kind="public-cloud")},
    "one-cluster-in-two-sites": {"a": site("a", UID), "b": site("b", UID)},
}


@pytest.mark.parametrize("case", SITES)
def test_sites_that_cannot_be_are_named(case: str) -> None:
    assert len(rules.site_problems(SITES[case])) == 1


def test_a_request_that_no_site_may_hold_is_named() -> None:
    request = request_named("moitt").model_copy()
    spec = request.spec.model_copy(update={"site": None, "classification": "confidential"})
    request = request.model_copy(update={"spec": spec})
    around = rules.Surroundings(sites={"isb-1": site("isb-1")}, registry=False)
    assert [p.field for p in rules.request_problems(request, around)] == ["spec.site"]
