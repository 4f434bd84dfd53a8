"""`gcloud-pk organisation`: one more in the file, and totals that add up along the tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tenants import a_request_document
from tests.unit.test_request_command import Run

from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry import acts, documents
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.organisations import holdings, with_organisation

ADD = ["organisation", "add", "PUNJAB-HED", "--name-en", "Higher Education Department: Punjab", "--name-ur",
       "محکمہ ہائر ایجوکیشن", "--tier", "attached", "--parent", "PUNJAB-PITB", "--domain", "hed.punjab.gov.pk",
       "--domain", "hec.punjab.gov.pk"]  # fmt: skip
ADDED = {
    "code": "PUNJAB-HED",
    "name": {"en": "Higher Education Department: Punjab", "ur": "محکمہ ہائر ایجوکیشن"},
    "tier": "attached",
    "parent": "PUNJAB-PITB",
    "domains": ["hed.punjab.gov.pk", "hec.punjab.gov.pk"],
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


@pytest.fixture
def file(registry_folder: Path) -> Path:
    return registry_folder / "organisations.yaml"


def test_one_more_stands_at_the_end_and_no_other_byte_changes(run: Run, file: Path) -> None:
    before = file.read_bytes()
    told = run.json(*ADD)
    assert told == {"organisation": ADDED, "changed": True, "signed": False, "key": None, "serial": None}
    assert file.read_bytes().startswith(before)
    assert documents.parse(file.read_bytes(), "x").value[-1] == ADDED
    assert run("registry", "check") == 0
    assert run(*[word.replace("HED", "HED-TWO").replace("hed.", "two.").replace("hec.", "deux.") for word in ADD]) == 0
    assert "next: the registry must be signed anew: gcloud-pk registry sign --key KEY" in run.out


NEW = {"code": "X", "name": {"en": "X"}, "tier": "federal", "domains": ["x.pk"]}
# How people write the list; {} stands for the entry that is there.
STYLES = {
    "as the program writes it": "# head\n\n- code: A\n  name: {en: A}\n  tier: federal\n  domains: [a.pk]\n# tail\n",
    "without an end of the last line": "- {code: A, name: {en: A}, tier: federal, domains: [a.pk]}",
    "set in": "# head\n  - code: A   # why\n    name:\n      en: A\n    tier: federal\n    domains:\n      - a.pk\n",
    "with dashes alone": "-   code: A\n    name: {en: A}\n    tier: federal\n    domains: [a.pk]\n",
    "empty, with the comments of a new registry": acts._ORGANISATIONS,
    "empty": "[]\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_the_others_and_their_comments_stay_however_they_are_written(style: str) -> None:
    before = STYLES[style]
    after = with_organisation(before.encode(), NEW, "organisations.yaml")
    assert after.decode().startswith(before.removesuffix("[]\n"))
    assert documents.parse(after, "x").value == [*documents.parse(before.encode(), "x").value, NEW]


def test_a_list_in_one_line_is_left_to_people(run: Run, file: Path) -> None:
    file.write_text("[{code: A, name: {en: A}, tier: federal, domains: [a.pk]}]\n")
    before = file.read_bytes()
    assert run("organisation", "add", "X", "--name-en", "X", "--tier", "federal", "--domain", "x.pk") == 4
    assert "is not written as a list of entries that begin with '- code:'" in run.err
    assert file.read_bytes() == before


# (changes of the command line, exit code, words)
REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "a code that is there": ({"PUNJAB-HED": "MOITT"}, 3, "code 'MOITT' is used twice"),
    "a code in small letters": ({"PUNJAB-HED": "hed"}, 3, "expected a code in capital letters"),
    "a parent that is not there": ({"PUNJAB-PITB": "PITB"}, 3, "parent 'PITB' is not in the list"),
    "its own parent": ({"PUNJAB-PITB": "PUNJAB-HED"}, 3, "is its own ancestor"),
    "a province without its name": ({"attached": "provincial"}, 3, "a provincial organisation has a province"),
    "a domain of another": ({"hed.punjab.gov.pk": "punjab.gov.pk"}, 3, "is PUNJAB-PITB's already"),
    "a domain that is none": ({"hed.punjab.gov.pk": "*.pk"}, 3, "expected a DNS name"),
    "a name that hides": ({"Higher Education Department: Punjab": "x\u202ey"}, 3, "U+202E"),
    "a name of two lines": ({"Higher Education Department: Punjab": "x\n- code: Y"}, 3, "U+000A"),
    "a tier that is none": ({"attached": "private-ish"}, 2, "is not one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_rules_of_reading_refuse_is_not_written(run: Run, file: Path, case: str) -> None:
    changes, code, words = REFUSED[case]
    before = file.read_bytes()
    assert run(*[changes.get(word, word) for word in ADD]) == code, run.err
    assert words in run.err
    assert file.read_bytes() == before


def test_a_keeper_signs_at_once(run: Run, file: Path, keys: Path, tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    public = " ".join((keys / "keeper.pub").read_text().split()[:2])
    trust.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public}\n')
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    assert run(*ADD, "--sign", keys / "keeper", "--trust", trust) == 0
    assert Registry.open(file.parent).trust(trust).signer == "keeper@ntc.example"


# --- totals ---


def organisation(code: str, parent: str | None) -> Organisation:
    named = {"code": code, "name": {"en": code}, "tier": "federal", "domains": [f"{code.lower()}.pk"]}
    return Organisation.model_validate(named if parent is None else {**named, "parent": parent})


def a_request(name: str, code: str, **quota: Any) -> TenantRequest:
    environment = {
        "name": "prod",
        "tier": "production",
        "quota": {"memory": "1Gi", "storage": "1Gi", "pods": 1, **quota},
    }
    return TenantRequest.model_validate(a_request_document(name, [environment], organisation=code))


@given(
    parents=st.lists(st.integers(0, 6), min_size=1, max_size=7),
    tenants=st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["100m", "1", "2500m", "16"])), max_size=12),
)
def test_a_total_is_its_own_and_the_totals_of_those_directly_below(
    parents: list[int], tenants: list[tuple[int, str]]
) -> None:
    # The parent of each is one before it, or none: a forest.
    codes = [f"O{i}" for i in range(len(parents))]
    tree = {code: organisation(code, codes[parents[i]] if parents[i] < i else None) for i, code in enumerate(codes)}
    requests = [a_request(f"t{i}", codes[at % len(codes)], cpu=cpu) for i, (at, cpu) in enumerate(tenants)]
    held = holdings(tree, requests)
    for code in codes:
        own, whole = held[code]
        children = [held[other][1] for other, one in tree.items() if one.parent == code]
        assert whole.tenants == own.tenants + sum(child.tenants for child in children)
        assert whole.cpu == sum((child.cpu for child in children), own.cpu)
        assert whole.memory == sum((child.memory for child in children), own.memory)
    assert sum((held[code][0].cpu for code in codes), Quantity(0)) == sum(
        (Quantity.parse(cpu) for _, cpu in tenants), Quantity(0)
    )


def test_the_list_counts_what_is_accepted_and_adds_up_along_parents(
    run: Run, registry_folder: Path, request_file: Path, keys: Path
) -> None:
    text = request_file.read_text()
    registry_folder.joinpath("organisations.yaml").write_text(
        "- {code: FINANCE, name: {en: Finance}, tier: federal, domains: [finance.gov.pk]}\n"
        "- {code: FBR, name: {en: FBR}, tier: attached, parent: FINANCE, domains: [moitt.gov.pk]}\n"
    )
    request_file.write_text(text.replace("organisation: MOITT", "organisation: FBR"))
    assert run("request", "submit", request_file) == 0, run.err

    def told() -> dict[str, Any]:
        return {one["code"]: one for one in run.json("organisation", "list")["organisations"]}

    nothing = {"tenants": 0, "cpu": "0", "memory": "0", "storage": "0"}
    assert told()["FINANCE"]["total"] == nothing  # it waits
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    quotas = [e.quota for e in Registry.open(registry_folder).accepted("moitt").request.spec.environments]
    accepted = {
        "tenants": 1,
        **{name: str(sum((getattr(q, name) for q in quotas), Quantity(0))) for name in ("cpu", "memory", "storage")},
    }
    assert told()["FBR"]["own"] == told()["FBR"]["total"] == accepted
    assert (told()["FINANCE"]["own"], told()["FINANCE"]["total"]) == (nothing, accepted)
    request_file.write_text(
        request_file.read_text().replace("revision: 3", "revision: 4").replace('cpu: "16"', "cpu: 15")
    )
    run("request", "submit", request_file)
    assert told()["FBR"]["own"] == accepted  # what was accepted stands while a change waits
    assert run("organisation", "list") == 0
    assert "1 tenant, cpu" in run.out
    Registry.open(registry_folder).set_state("moitt", "offboarded", "somebody", "moved")
    assert told()["FINANCE"]["total"] == nothing


def test_the_list_names_the_jurisdictions_that_bind(run: Run, registry_folder: Path) -> None:
    (registry_folder / "settings.yaml").write_text("provinces: {punjab: {}}\ntiers: {soe: {}}\n")
    told = {one["code"]: one["jurisdictions"] for one in run.json("organisation", "list")["organisations"]}
    assert (told["PUNJAB-PITB"], told["SNGPL"], told["SINDH-ITD"], told["MOITT"]) == (["punjab"], ["soe"], [], [])
