"""Federal and provincial: a province tightens the federal rules, has a say of its own, and none in others' tenants."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tenants import a_request_document

from gcloud_pk import paths
from gcloud_pk.errors import RefusedError
from gcloud_pk.main import main
from gcloud_pk.model import federation, rules
from gcloud_pk.model.base import Province
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Site
from gcloud_pk.model.tenant import place
from gcloud_pk.registry import acts, demand, documents, governance
from gcloud_pk.registry.approvers import APPROVAL, REQUEST, STATE
from gcloud_pk.registry.demand import Demand
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.readings import fault, load

Sign = Callable[..., bytes]
DATA = Path(__file__).parent / "data"
ALICE, BOB, CAROL = "alice@ntc.example", "bob@ntc.example", "carol@ntc.example"
INVALID = sorted((DATA / "settings" / "invalid").glob("*.yaml"))
_HEAD = re.compile(r"# line (\d+): (\S+): (.*); expected (.*)")


# --- settings.yaml ---


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_settings_that_loosen_or_name_what_is_not_there_are_refused_at_their_line(
    path: Path, registry_folder: Path, public: Callable[[str], str]
) -> None:
    with (registry_folder / "approvers").open("a") as file:
        file.write(f'dora@ntc.example namespaces="gcloud-pk-request" {public("stranger")}\n')
    data = path.read_bytes()
    expected = [match.groups() for line in data.decode().split("\n") if (match := _HEAD.fullmatch(line))]
    assert expected
    (registry_folder / "settings.yaml").write_bytes(b"")
    found = governance.read(registry_folder, {"settings.yaml": data}).problems
    assert [(str(p.line), p.field, p.message, p.expected) for p in found] == expected
    assert all(p.file == str(registry_folder / "settings.yaml") for p in found)


def test_settings_that_tighten_everything_are_valid(registry_folder: Path) -> None:
    (registry_folder / "settings.yaml").write_text(STRICT)
    assert governance.read(registry_folder).problems == ()


def test_the_example_of_the_guide_is_valid() -> None:
    page = paths.data("docs", "registry.md").read_text()
    example = page.partition("## Federal and provincial")[2].partition("```yaml\n")[2].partition("```")[0]
    reading = load(documents.parse(example.encode(), "registry.md"), Settings)
    assert reading.ruled(rules.settings_problems) == []
    assert reading.model is not None
    assert {bond.name for bond in federation.bonds("PITB", ORGANISATIONS, reading.model)} == {"punjab"}


def test_a_revoked_principal_may_stay_in_settings_so_that_revoking_takes_one_step(registry_folder: Path) -> None:
    (registry_folder / "settings.yaml").write_text(STRICT)
    approvers = registry_folder / "approvers"
    alice, bob, carol = approvers.read_text().splitlines()
    approvers.write_text(f"{alice}\n# revoked 2026-11-22T03:10:00Z by root@host, lost: {bob}\n{carol}\n")
    assert governance.read(registry_folder).problems == ()
    approvers.write_text(f"{alice}\n{carol}\n")
    assert [p.field for p in governance.read(registry_folder).problems] == ["provinces.sindh.approvers[0]"]


STRICT = f"""\
approvals: {{restricted: 1, secret: 2}}
provinces:
  sindh:
    approvers: [{BOB}]
    sites: [isb-1, isb-2]
    approvals: {{restricted: 2, secret: 4}}
    signedRequests: [confidential]
    exposure: {{restricted: internal}}
    isolation: {{restricted: dedicated-nodes}}
    baseRegistries: [registry.gcloud.gov.pk/base/python/]
tiers:
  authority:
    approvers: [{CAROL}]
"""


# --- who is bound ---


def organisation(code: str, tier: str, **fields: Any) -> Organisation:
    domains = [f"{code.lower()}.gov.pk"]
    return Organisation.model_validate({"code": code, "name": {"en": code}, "tier": tier, "domains": domains, **fields})


ORGANISATIONS = {
    one.code: one
    for one in (
        organisation("MOITT", "federal"),
        organisation("NADRA", "authority"),
        organisation("NTC", "attached", parent="MOITT"),
        organisation("LAHORE-OFFICE", "attached", parent="MOITT", province="punjab"),
        organisation("PITB", "provincial", province="punjab"),
        organisation("HED", "attached", parent="PITB"),
        organisation("LAHORE-UNIVERSITY", "authority", parent="HED"),
        organisation("SINDH-IN-PUNJAB", "provincial", province="sindh", parent="PITB"),
        organisation("SNGPL", "soe"),
    )
}
BOUND = {
    "MOITT": (None, ()),
    "NADRA": (None, ("authority",)),
    "NTC": (None, ()),
    "LAHORE-OFFICE": (None, ()),  # where it stands is not to whom it belongs
    "PITB": ("punjab", ("punjab",)),
    "HED": ("punjab", ("punjab",)),
    "LAHORE-UNIVERSITY": ("punjab", ("punjab", "authority")),
    "SINDH-IN-PUNJAB": ("sindh", ("sindh",)),
    "SNGPL": (None, ("soe",)),
    "NOBODY": (None, ()),
}


@pytest.mark.parametrize("code", BOUND)
def test_a_tenant_is_bound_by_the_nearest_province_above_its_organisation_and_by_its_own_tier(code: str) -> None:
    settings = Settings.model_validate(
        {"provinces": {"punjab": {}, "sindh": {}}, "tiers": {"authority": {}, "soe": {}, "private": {}}}
    )
    province, names = BOUND[code]
    assert federation.province_of(code, ORGANISATIONS) == province
    assert tuple(bond.name for bond in federation.bonds(code, ORGANISATIONS, settings)) == names


def test_organisations_in_a_circle_belong_to_no_province() -> None:
    ring = {c: organisation(c, "attached", parent=p) for c, p in (("A", "B"), ("B", "A"))}
    assert federation.province_of("A", ring) is None


@pytest.mark.parametrize("name", federation.PROVINCES)
def test_the_provinces_are_those_of_the_model(name: str) -> None:
    assert fault(Province, name) is None


# --- what a request may ask ---


def a_request(code: str = "PITB", **spec: Any) -> TenantRequest:
    return TenantRequest.model_validate(a_request_document("pitb", organisation=code, **spec))


def environment(exposure: str) -> dict[str, Any]:
    quota = {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20}
    return {"name": "prod", "tier": "production", "quota": quota, "exposure": exposure}


PYTHON = "registry.gcloud.gov.pk/base/python/"
RULES = {
    "sites": ["lhe-1"],
    "exposure": {"restricted": "internal"},
    "isolation": {"restricted": "dedicated-nodes"},
    "baseRegistries": [PYTHON],
}
WELL: dict[str, Any] = {"isolation": "dedicated-nodes", "environments": [environment("internal")]}
BEYOND: dict[str, tuple[dict[str, Any], str, str]] = {
    "a site that is not the province's": (
        {"site": {"primary": "isb-1"}},
        "spec.site.primary: tenants of punjab may not be at site 'isb-1'",
        "one of: lhe-1 (provinces.punjab.sites)",
    ),
    "recovery outside of the province": (
        {"site": {"primary": "lhe-1", "recovery": "isb-1"}},
        "spec.site.recovery: tenants of punjab may not be at site 'isb-1'",
        "one of: lhe-1 (provinces.punjab.sites)",
    ),
    "isolation that the federal floor admits": (
        {"isolation": "namespace"},
        "spec.isolation: isolation 'namespace' is too weak for restricted data of punjab",
        "dedicated-nodes or stronger (provinces.punjab.isolation.restricted)",
    ),
    "exposure that the federal floor admits": (
        {"environments": [environment("government")]},
        "spec.environments[0].exposure: exposure 'government' is too wide for restricted data of punjab",
        "internal (provinces.punjab.exposure.restricted)",
    ),
    "a base registry that is not among the province's": (
        {"registries": ["registry.gcloud.gov.pk/pitb/", "registry.gcloud.gov.pk/base/java/"]},
        "spec.registries[1]: registry 'registry.gcloud.gov.pk/base/java/' is not among the base registries of punjab",
        f"a path under registry.gcloud.gov.pk/pitb/, {PYTHON} (provinces.punjab.baseRegistries)",
    ),
}


def surroundings(**provincial: Any) -> rules.Surroundings:
    settings = Settings.model_validate({"provinces": {"punjab": provincial}})
    return rules.Surroundings(ORGANISATIONS, settings, SITES)


def site(name: str, *admits: str) -> Site:
    location = {"city": "C", "province": "punjab", "kind": "government"}
    spec = {"operator": "NTC", "location": location, "admits": admits, "clusters": [{"name": "a"}]}
    document = {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "Site", "metadata": {"name": name}, "spec": spec}
    return Site.model_validate(document)


SITES = {"isb-1": site("isb-1", "restricted", "confidential"), "lhe-1": site("lhe-1", "restricted")}


@pytest.mark.parametrize("case", BEYOND)
def test_what_a_province_does_not_allow_is_a_problem_that_names_it_and_its_value(case: str) -> None:
    spec, words, expected = BEYOND[case]
    found = rules.request_problems(a_request(**{**WELL, **spec}), surroundings(**RULES))
    assert [(str(p), p.expected) for p in found] == [(f"{words}; expected {expected}", expected)]
    federal = rules.request_problems(a_request("MOITT", **{**WELL, **spec}), surroundings(**RULES))
    assert federal == []


def test_a_request_that_keeps_to_its_provinces_rules_is_valid() -> None:
    registries = ["registry.gcloud.gov.pk/pitb/", PYTHON]
    assert rules.request_problems(a_request(**WELL, registries=registries), surroundings(**RULES)) == []


def test_a_tenant_is_placed_at_a_site_of_its_province() -> None:
    around = surroundings(sites=["lhe-1"])

    def placed(request: TenantRequest) -> str | None:
        found = place(request, SITES, around.bonds(request))
        return found.metadata.name if found else None

    assert placed(a_request("MOITT")) == "isb-1"
    assert placed(a_request("HED")) == "lhe-1"
    assert placed(a_request(site={"primary": "isb-1"})) is None


def test_a_class_that_no_site_of_the_province_may_hold_is_named() -> None:
    (found,) = rules.request_problems(a_request(classification="confidential"), surroundings(sites=["lhe-1"]))
    assert (found.field, found.message) == (
        "spec.site",
        "no site of the registry may hold confidential data of punjab",
    )
    assert rules.request_problems(a_request(classification="confidential"), surroundings()) == []


# --- whose approvals count ---


def test_two_jurisdictions_bind_together_and_the_strictest_value_of_each_counts() -> None:
    settings = Settings.model_validate(
        {
            "provinces": {"punjab": {"exposure": {"open": "internal"}, "approvals": {"open": 4}, "approvers": ["p"]}},
            "tiers": {"authority": {"exposure": {"open": "government"}, "isolation": {"open": "dedicated-nodes"},
                                    "approvals": {"open": 2}, "approvers": ["t"]}},
        }
    )  # fmt: skip
    request = a_request("LAHORE-UNIVERSITY", classification="open", environments=[environment("government")])
    around = rules.Surroundings(ORGANISATIONS, settings)
    assert [p.field for p in rules.request_problems(request, around) if p.field != "spec.registries[0]"] == [
        "spec.environments[0].exposure",
        "spec.isolation",
    ]
    found = demand.of(request, ORGANISATIONS, settings)
    assert found.total == 4
    waiting = found.awaits(["f"], ["f", "g", "p", "t"])
    assert [(one.who, one.missing, one.principals) for one in waiting] == [
        ("punjab", 1, ("p",)),
        ("authority", 1, ("t",)),
        ("punjab or authority or federal", 1, ("g", "p", "t")),
    ]


def a_demand(federal: int, least: int, *, province: bool, tier: bool) -> Demand:
    settings = Settings.model_validate(
        {
            "provinces": {"punjab": {"approvers": ["p1", "p2"] if province else []}, "sindh": {"approvers": ["s1"]}},
            "tiers": {"soe": {"approvers": ["t1"] if tier else []}},
        }
    )
    binding = federation.bonds("X", {"X": organisation("X", "soe")}, settings)
    binding += federation.bonds("PITB", ORGANISATIONS, settings)
    return Demand(federal, binding, federation.owners(settings), least)


EVERYBODY = ("f1", "f2", "f3", "p1", "p2", "t1")


@given(
    federal=st.integers(1, 3), least=st.integers(0, 6), province=st.booleans(), tier=st.booleans(),
    have=st.sets(st.sampled_from(EVERYBODY)),
)  # fmt: skip
def test_nothing_is_awaited_exactly_when_all_have_their_share_and_the_total_is_reached(
    federal: int, least: int, province: bool, tier: bool, have: set[str]
) -> None:
    asked = a_demand(federal, least, province=province, tier=tier)
    have = {name for name in have if asked.objection(name) is None}
    own = ({"p1", "p2"} if province else set()) | ({"t1"} if tier else set())
    enough = (
        len(have - own) >= federal
        and (not province or bool(have & {"p1", "p2"}))
        and (not tier or "t1" in have)
        and len(have) >= max(federal + province + tier, least)
    )
    awaits = asked.awaits(sorted(have), EVERYBODY)
    assert (awaits == ()) == enough
    assert len({one.who for one in awaits}) == len(awaits)
    assert all(one.missing > 0 and not set(one.principals) & have for one in awaits)


def submit(registry: Registry, file: Path, code: str, domain: str, **changes: str) -> Registry:
    """Submit moitt's request as if it were another organisation's."""
    text = file.read_text().replace("organisation: MOITT", f"organisation: {code}").replace("moitt.gov.pk", domain)
    for before, after in changes.items():
        text = text.replace(before, after)
    file.write_text(text)
    acts.submit(registry, file)
    return Registry.open(registry.path)


@pytest.fixture
def sindhi(registry_folder: Path, request_file: Path) -> Registry:
    """Return a registry with a waiting request of Sindh, whose own approver is bob; carol is Punjab's."""
    (registry_folder / "settings.yaml").write_text(
        f"provinces:\n  sindh: {{approvers: [{BOB}]}}\n  punjab: {{approvers: [{CAROL}]}}\n"
    )
    return submit(Registry.open(registry_folder), request_file, "SINDH-ITD", "sindh.gov.pk")


def put(registry: Registry, name: str, data: bytes) -> None:
    path = registry.path / "tenants/moitt" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def bytes_of(registry: Registry) -> bytes:
    return (registry.path / "tenants/moitt/request.yaml").read_bytes()


def approve(registry: Registry, sign: Sign, *names: str) -> None:
    for name in names:
        put(registry, f"approvals/{name}@ntc.example.sig", sign(bytes_of(registry), name, APPROVAL))


def refused(registry: Registry) -> str:
    with pytest.raises(RefusedError) as caught:
        Registry.open(registry.path).accepted("moitt")
    return " ".join([caught.value.message, *map(str, caught.value.details)])


BY = {
    (): "0 of 2 approvals; 1 approval of sindh (bob@ntc.example) is missing; "
    "1 federal approval (alice@ntc.example) is missing",
    ("alice",): "1 of 2 approvals (alice@ntc.example); 1 approval of sindh (bob@ntc.example) is missing",
    ("bob",): "1 of 2 approvals (bob@ntc.example); 1 federal approval (alice@ntc.example) is missing",
    ("carol",): "carol@ntc.example approves for tenants of punjab only, and this one is not",
    ("alice", "carol"): "1 of 2 approvals (alice@ntc.example); 1 approval of sindh (bob@ntc.example) is missing",
    ("bob", "carol"): "1 of 2 approvals (bob@ntc.example); 1 federal approval (alice@ntc.example) is missing",
}


@pytest.mark.parametrize("names", BY, ids=lambda names: " and ".join(names) or "nobody")
def test_a_provincial_tenant_needs_its_province_beside_the_federal_approvers(
    sindhi: Registry, sign: Sign, names: tuple[str, ...]
) -> None:
    approve(sindhi, sign, *names)
    assert BY[names] in refused(sindhi)


def test_with_both_it_is_accepted(sindhi: Registry, sign: Sign) -> None:
    approve(sindhi, sign, "alice", "bob")
    assert Registry.open(sindhi.path).accepted("moitt").approvers == (ALICE, BOB)


@pytest.mark.parametrize("key", ["bob", "carol"])
def test_a_province_has_no_say_in_a_federal_tenant(sindhi: Registry, request_file: Path, sign: Sign, key: str) -> None:
    registry = submit(Registry.open(sindhi.path), request_file, "MOITT", "moitt.gov.pk",
                      **{"organisation: SINDH-ITD": "organisation: MOITT", "sindh.gov.pk": "moitt.gov.pk",
                         "revision: 3": "revision: 4"})  # fmt: skip
    approve(registry, sign, key)
    words = refused(registry)
    assert "0 of 1 approvals; 1 federal approval (alice@ntc.example) is missing" in words
    assert f"{key}@ntc.example approves for tenants of" in words


def test_an_approval_that_cannot_count_is_refused_before_it_is_signed(sindhi: Registry, keys: Path) -> None:
    with pytest.raises(RefusedError, match=r"carol@ntc\.example approves for tenants of punjab only") as caught:
        acts.approver(sindhi, acts.approvable(sindhi, "moitt"), keys / "carol", None)
    assert caught.value.resolution == f"one of these approves it: {ALICE}, {BOB}"


def test_a_province_may_demand_more_approvals_and_the_requesters_signature(
    sindhi: Registry, sign: Sign, public: Callable[[str], str]
) -> None:
    (sindhi.path / "settings.yaml").write_text(
        f"provinces:\n  sindh: {{approvers: [{BOB}], approvals: {{restricted: 3}}, signedRequests: [restricted]}}\n"
    )
    approve(sindhi, sign, "alice", "bob")
    words = refused(sindhi)
    assert "2 of 3 approvals" in words
    assert "1 approval of sindh or federal (carol@ntc.example) is missing" in words
    assert "the requester's signature is missing" in words
    line = f'erum@ntc.example namespaces="gcloud-pk-request" {public("stranger")}\n'
    with (sindhi.path / "approvers").open("a") as file:
        file.write(line)
    approve(sindhi, sign, "carol")
    assert "requester's signature" in refused(sindhi)
    put(sindhi, "request.yaml.sig", sign(bytes_of(sindhi), "stranger", REQUEST))
    assert Registry.open(sindhi.path).accepted("moitt").approvers == (ALICE, BOB, CAROL)


def test_what_was_accepted_before_a_province_had_a_say_needs_it_now(sindhi: Registry, keys: Path) -> None:
    settings = sindhi.path / "settings.yaml"
    strict = settings.read_text()
    settings.write_text("{}\n")
    registry = Registry.open(sindhi.path)
    acts.approve(registry, registry.entry("moitt"), keys / "alice")
    digest = Registry.open(sindhi.path).accepted("moitt").digest
    settings.write_text(strict)
    with pytest.raises(RefusedError, match=r"1 approval of sindh \(bob@ntc\.example\) is missing"):
        Registry.open(sindhi.path).standing_request("moitt", digest)
    registry = Registry.open(sindhi.path)
    acts.approve(registry, registry.entry("moitt"), keys / "bob")
    assert Registry.open(sindhi.path).standing_request("moitt", digest).approvers == (ALICE, BOB)


def test_onboard_renders_a_provincial_tenant_for_a_site_of_its_province(
    sindhi: Registry, request_file: Path, sign: Sign, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (sindhi.path / "settings.yaml").open("w") as file:
        file.write(f"provinces:\n  sindh: {{approvers: [{BOB}], sites: [lhe-1]}}\n")
    text = request_file.read_text().replace("revision: 3", "revision: 4")
    request_file.write_text(re.sub(r"(?m)^  site: .*\n", "", text))
    acts.submit(Registry.open(sindhi.path), request_file)
    command = ["--registry", str(sindhi.path), "onboard", "moitt", "--output-dir", str(tmp_path / "out")]
    approve(sindhi, sign, "alice")
    assert main(command) == 4
    assert "1 approval of sindh (bob@ntc.example) is missing" in capsys.readouterr().err
    approve(sindhi, sign, "bob")
    assert main(command) == 0
    assert "site: lhe-1" in "".join(path.read_text() for path in (tmp_path / "out").rglob("*.yaml"))


def test_another_provinces_signature_does_not_open_a_tenant(sindhi: Registry, keys: Path, sign: Sign) -> None:
    registry = Registry.open(sindhi.path)
    registry.set_state("moitt", "suspended", "somebody", "a test")
    with pytest.raises(RefusedError, match=r"carol@ntc\.example approves for tenants of punjab only"):
        Registry.open(sindhi.path).set_state("moitt", "active", "x", "back", keys / "carol")
    Registry.open(sindhi.path).set_state("moitt", "active", "x", "back", keys / "bob")
    stands = Registry.open(sindhi.path)
    assert stands.standing(stands.entry("moitt")).state == "active"
    record = (sindhi.path / "tenants/moitt/state.yaml").read_bytes()
    put(sindhi, "state.yaml.sig", sign(record, "carol", STATE))
    stands = Registry.open(sindhi.path)
    assert stands.standing(stands.entry("moitt")).state is None


def test_every_tenant_of_the_example_keeps_its_verdict_without_jurisdictions() -> None:
    for code, classification in product(ORGANISATIONS, ("open", "restricted", "secret")):
        found = demand.of(a_request(code, classification=classification), ORGANISATIONS, Settings())
        assert (found.total, found.binding, found.signature) == (2 if classification == "secret" else 1, (), False)
