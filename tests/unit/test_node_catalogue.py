"""The catalogue of nodes: read strictly; every control is checked and remedied, or says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError
from gcloud_pk.model.baseline import LEVELS
from gcloud_pk.nodes.catalogue import every, load, standard
from gcloud_pk.nodes.site_words import NAMES, SECTION, named
from gcloud_pk.nodes.waivers import proposals
from gcloud_pk.registry.waivers import waivable_of_nodes

INVALID = sorted(Path(__file__).with_name("data").joinpath("nodes", "invalid").glob("*.yaml"))
_HEAD = re.compile(r"# line (\d+): (\S+): (.*?)(?:; expected (.*))?")

INSTRUMENTS = {
    "CSP accreditation", "CERT Rules 2023", "CTDISR 2020", "CTDISR 2025", "Cloud First Policy 2022",
    "Digital Pakistan Policy 2017", "NCSP 2021", "PISF", "PKCERT e-Office advisory", "PSS",
}  # fmt: skip
"""Names of the sources that the project has facts of; none has clause numbers of ours."""


# --- this program's own ---


def test_there_are_at_least_150_checks_and_most_controls_have_one() -> None:
    assert len(standard().checks) >= 150
    unchecked = [control.id for control in standard().controls.values() if not control.checks]
    assert len(unchecked) < len(standard().controls) / 5


def test_every_control_has_checks_and_a_remediation_or_says_why_not() -> None:
    for control in standard().controls.values():
        assert bool(control.checks) != bool(control.unchecked), control.id
        assert (control.remediation is None) == bool(control.without), control.id


def test_every_remediation_is_a_role_that_there_is() -> None:
    roles = {path.name for path in paths.data("playbooks", "roles").iterdir() if path.is_dir()}
    assert {c.remediation for c in standard().controls.values() if c.remediation} <= roles


def test_every_role_that_hardens_has_a_file_of_the_catalogue() -> None:
    (play,) = yaml.safe_load(paths.data("playbooks", "harden.yml").read_text())
    roles = {one["role"] for one in play["roles"]}
    preparing = {"node"}
    assert {control.role for control in standard().controls.values()} >= roles - preparing


def test_what_some_roles_of_nodes_offer_is_forbidden_to_the_others_only() -> None:
    defaults = yaml.safe_load(paths.data("playbooks", "roles", "services", "defaults", "main.yml").read_text())
    offered = {
        f"units[{unit}]": set(one["roles"]) for one in defaults["services_masked_except"] for unit in one["units"]
    }
    offered |= {f"packages[{name}]": {"storage"} for name in ("nfs-kernel-server", "rpcbind")}
    offered |= {f"packages[{name}]": {"gateway"} for name in ("nginx", "bind9")}
    forbidding = [(c, path.text) for c in standard().checks.values() for path in c.paths if path.text in offered]
    assert len(forbidding) >= 10
    assert [(c.id, path) for c, path in forbidding if not c.roles or offered[path] & set(c.roles)] == []


def test_every_check_belongs_to_a_control_of_its_own_area() -> None:
    for check in standard().checks.values():
        owners = standard().controls_of(check.id)
        assert owners, check.id
        assert {owner.split("-")[1] for owner in owners} == {check.id.split("-")[1]}


def test_no_check_is_weaker_than_its_controls_say() -> None:
    for check in standard().checks.values():
        lowest = min(LEVELS.index(standard().controls[one].level) for one in standard().controls_of(check.id))
        assert LEVELS.index(standard().level_of(check)) >= lowest, check.id


def test_every_level_adds_something() -> None:
    found = [standard().level_of(check) for check in standard().checks.values()]
    assert set(found) == set(LEVELS)


def test_every_instrument_is_one_that_the_project_has_facts_of_and_no_clause_is_invented() -> None:
    for control in standard().controls.values():
        assert control.instruments, control.id
        for one in control.instruments:
            assert one.instrument in INSTRUMENTS, control.id
            assert not re.search(r"\b(clause|section|s\.)\s*\d|\d+\.\d+", f"{one.document or ''}"), control.id


def test_what_a_check_names_of_the_site_is_something_that_the_site_says() -> None:
    for check in standard().checks.values():
        names = named(check.expect) | (named(check.rows) if check.rows else frozenset())
        assert names <= NAMES, check.id
        assert {path.steps[1] for path in check.every_path if path.root == SECTION} <= NAMES, check.id


def test_every_section_that_a_check_reads_is_one_that_the_collector_fills() -> None:
    from gcloud_pk.nodes.facts import SECTIONS

    for check in standard().checks.values():
        assert {path.root for path in check.every_path} <= SECTIONS | {"outside", SECTION}, check.id


def test_what_can_be_waived_for_a_node_is_what_the_catalogues_have() -> None:
    assert waivable_of_nodes() == set(every().controls) | set(every().checks)


def test_every_proposal_of_a_role_is_of_a_control_that_is_checked() -> None:
    assert proposals(every())
    for one in proposals(every()):
        assert every().controls[one.control].role == one.role or one.control not in standard().controls
        assert every().controls[one.control].checks, one.name


def test_a_name_of_a_control_stands_for_its_checks() -> None:
    control = next(iter(standard().controls.values()))
    assert standard().named([control.id]) == set(control.checks)
    with pytest.raises(KeyError):
        standard().named(["GPK-SSH-999"])


def test_the_page_of_the_catalogue_names_every_section_and_every_operator() -> None:
    from gcloud_pk.nodes.expectation import _OPERATORS
    from gcloud_pk.nodes.facts import SECTIONS

    page = paths.data("policies", "controls", "nodes", "README.md").read_text()
    assert {name for name in SECTIONS - {"missing"} if not re.search(rf"`{name}\b", page)} == set()
    assert {name for name in _OPERATORS if f"`{name}:" not in page} == set()
    assert {name for name in NAMES if f".{name}`" not in page} == set()


# --- what a file may say ---


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_what_is_wrong_with_a_file_is_named_by_line_and_field(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    expected = [match.groups() for line in text.split("\n") if (match := _HEAD.fullmatch(line))]
    assert expected
    (tmp_path / "ssh.yaml").write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path)
    assert [(str(p.line), p.field or "-", p.message, p.expected) for p in caught.value.details] == expected


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    for role in ("ssh", "sudo"):
        (tmp_path / f"{role}.yaml").write_text(f"role: {role}\nchecks: 1\ncontrols: []\n")
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path)
    assert len(caught.value.details) == 2
