"""Nodes as a whole: hardened as foretold, and once; audited; broken in single ways, each seen by exactly its checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.e2e.node_mutations import Auditor, Mutation, Outcome, Verdicts, mutations
from tests.e2e.nodes import Nodes, plain_nodes

from gcloud_pk.model.finding import Verdict
from gcloud_pk.model.site import Site
from gcloud_pk.nodes import catalogue
from gcloud_pk.registry.folder import Registry

HOSTS = 2
ALL = mutations()


@dataclass(frozen=True)
class Runs:
    """Documents of `node harden`: with --check on the first plain node, on all of them, and on all once more."""

    foretold: dict[str, Any]
    first: dict[str, Any]
    second: dict[str, Any]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with plain_nodes(HOSTS, tmp_path_factory.mktemp("mutations")) as found:
        yield found


@pytest.fixture(scope="module")
def runs(plain: Nodes) -> Runs:
    def harden(*more: str) -> dict[str, Any]:
        words = ("node", "harden", "--site", plain.said["site"], "--yes", "--format", "json")
        document: dict[str, Any] = json.loads(plain.gcloud_pk(*words, *more, check=0).stdout)
        return document

    return Runs(harden("--check", "--limit", plain.names[0]), harden(), harden())


@pytest.fixture(scope="module")
def nodes(plain: Nodes, runs: Runs) -> Nodes:
    """Return the hardened nodes."""
    assert runs.first["outcome"] == "done"
    return plain


@pytest.fixture(scope="module")
def site(nodes: Nodes) -> Site:
    return Registry.open(nodes.registry).sites[nodes.said["site"]]


@pytest.fixture(scope="module")
def clean(nodes: Nodes, site: Site) -> list[Verdicts]:
    """Return the verdicts on each hardened host, before anything is broken."""
    auditor = Auditor(site, nodes.ssh_config)
    return [auditor.verdicts(host, outside=True) for host in site.spec.hosts]


@pytest.fixture(scope="module")
def outcomes(nodes: Nodes, site: Site, clean: list[Verdicts]) -> dict[str, Outcome | Exception]:
    return Auditor(site, nodes.ssh_config).outcomes(ALL, lambda host, script: _as_root(nodes, host, script))


def _as_root(nodes: Nodes, host: str, script: str) -> None:
    nodes.sudo(host, script)


def changed(document: dict[str, Any], host: str) -> list[str]:
    (found,) = [one for one in document["hosts"] if one["name"] == host]
    return [f"{change['role']}: {change['task']}" for change in found["changed"]]


def test_a_check_foretells_on_a_plain_node_what_the_run_changes(runs: Runs, plain: Nodes) -> None:
    first = plain.names[0]
    assert changed(runs.foretold, first)
    assert sorted(changed(runs.foretold, first)) == sorted(changed(runs.first, first))


def test_a_second_run_changes_nothing(runs: Runs, plain: Nodes) -> None:
    assert {name: changed(runs.second, name) for name in plain.names} == {name: [] for name in plain.names}


def test_a_hardened_node_fails_nothing_but_what_the_roles_propose_waivers_for(clean: list[Verdicts]) -> None:
    from gcloud_pk.nodes.waivers import proposals

    known = catalogue.standard()
    proposed = {proposal.control for proposal in proposals(catalogue.every())}
    for verdicts in clean:
        failing = {name for name, verdict in verdicts.items() if verdict is Verdict.FAIL}
        assert {name for name in failing if not proposed & {name, *known.controls_of(name)}} == set()
        assert Verdict.ERROR not in verdicts.values()


@pytest.mark.parametrize("mutation", ALL, ids=[one.name for one in ALL])
def test_exactly_the_checks_concerned_turn_to_fail(
    mutation: Mutation, outcomes: dict[str, Outcome | Exception]
) -> None:
    found = outcomes[mutation.name]
    if isinstance(found, Exception):
        raise found
    assert found == Outcome(tuple(sorted(mutation.breaks)))


def test_what_is_undone_leaves_no_trace(outcomes: dict[str, Outcome | Exception], site: Site) -> None:
    assert {host.name: outcomes[host.name] for host in site.spec.hosts} == {
        host.name: Outcome(()) for host in site.spec.hosts
    }
