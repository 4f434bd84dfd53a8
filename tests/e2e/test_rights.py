"""Who may do what, cell by cell, on a live API server, against the table beside the roles."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.e2e import policy_world, rights
from tests.e2e.conftest import RunningLab, running
from tests.e2e.rights import Cell, Person, Place, Row, Table
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE_BINDING
from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.model import labels
from gcloud_pk.render import access
from gcloud_pk.render.tenant import render

TENANT, NEIGHBOUR = a_tenant("rights", ("eoffice", "portal")), a_tenant("neighbour", ("tax",))
OWN = Place("an environment of the tenant", "rights-eoffice")
SIBLING = Place("another environment of the tenant", "rights-portal")
RETIRED = Place("a retired environment", "rights-old")
OTHER = Place("another tenant's namespace", "neighbour-tax")
SYSTEM = Place("gcloud-pk-system", labels.SYSTEM_NAMESPACE)
WHOLE = Place("the whole cluster", "")
KUBE = Place("kube-system", "kube-system")
PLACES = (OWN, SIBLING, RETIRED, OTHER, SYSTEM, KUBE, WHOLE)


def at_home(*columns: str) -> dict[str, tuple[str, ...]]:
    return {place.namespace: columns for place in (OWN, SIBLING)}


ROLES = ("admins", "developers", "auditors")
ADMINS, DEVELOPERS, AUDITORS = (Person(f"the tenant's {role}", Identity("somebody", (f"oidc:rights-{role}",)),
                                       columns=at_home(role)) for role in ROLES)  # fmt: skip
PEOPLE = (
    ADMINS,
    DEVELOPERS,
    AUDITORS,
    Person("somebody in every group of the tenant", Identity("somebody", tuple(f"oidc:rights-{r}" for r in ROLES)),
           columns=at_home(*ROLES)),
    Person("somebody in every group of another tenant",
           Identity("somebody", tuple(f"oidc:neighbour-{r}" for r in ROLES)), columns={OTHER.namespace: ROLES}),
    Person("somebody of no group", Identity("somebody")),
    Person("the onboarder", Identity("gcloud-pk:onboarder", (labels.ONBOARDER_GROUP,)), ("anybody", "onboarder"),
           {SYSTEM.namespace: ("system",)}),
    Person("the verifier", Identity("gcloud-pk:verifier", (labels.VERIFIER_GROUP,)), ("anybody", "verifier", "acts")),
    Person("the platform's auditor", Identity("gcloud-pk:auditor", (labels.AUDITOR_GROUP,)),
           ("anybody", "auditor", "acts")),
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """Two tenants as onboarding leaves them, on a lab of their own: nobody else's bindings are there."""

    admin: Api
    table: Table
    live: dict[str, rights.Served]
    before: tuple[str, ...] = ()
    """What the lists of rules show that is not of the table: nothing, or one test alone should say so."""

    def wrong(self, *resources: str) -> list[str]:
        """Ask the authorizer for every cell of some resources."""
        rows = Table(tuple(row for row in self.table.rows if row.resource in resources))
        return rights.asked(self.admin, rights.cells(rows, self.live, PEOPLE, PLACES))

    def listed(self) -> list[str]:
        found = rights.listed(self.admin, self.table, PEOPLE, PLACES)
        return [words for words in found if words not in self.before]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(f"table-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        yield built(lab)


def built(lab: RunningLab) -> World:
    admin = policy_world.administrator(lab.kubeconfig)
    policy_world.install_platform(admin)
    for tenant, retired in ((TENANT, ("old",)), (NEIGHBOUR, ())):
        for manifest in render(tenant, retired):
            policy_world.apply(admin, manifest)
    made = World(admin, rights.expected(), rights.discovered(admin))
    return replace(made, before=tuple(made.listed()))


def test_every_resource_that_the_server_knows_has_a_line(world: World) -> None:
    found = rights.undecided(world.table, world.admin)
    assert not found, rights.report(found)


def test_the_authorizer_answers_every_cell_as_the_table_has_it(world: World) -> None:
    wanted = list(rights.cells(world.table, world.live, PEOPLE, PLACES))
    assert {cell.expected for cell in wanted} == {True, False}
    assert len(wanted) > 40_000
    wrong = rights.asked(world.admin, wanted)
    assert not wrong, rights.report(wrong)


def test_everybodys_own_list_of_rules_is_the_table_and_holds_no_other_verb(world: World) -> None:
    found = [*world.before]
    assert not found, rights.report(found)


def test_no_other_role_of_the_cluster_may_be_given_away(world: World) -> None:
    names = [role["metadata"]["name"] for role in world.admin.list(CLUSTER_ROLE)]
    assert {"cluster-admin", "admin", "edit", "view", "gcloud-pk:verifier", "gcloud-pk:tenant-admin"} <= {*names}
    resource = "clusterroles.rbac.authorization.k8s.io"
    known = world.table.by_name
    nothing: dict[str, frozenset[str]] = dict.fromkeys(rights.COLUMNS, frozenset())
    rows = [known.get((resource, name), Row(resource, name, True, nothing)) for name in names]
    wrong = rights.asked(
        world.admin,
        [Cell(p, place, row, verb) for row in rows for p in PEOPLE for place in (OWN, WHOLE)
         for verb in ("bind", "escalate")],
    )  # fmt: skip
    assert not wrong, rights.report(wrong)


# Nothing aggregated: a label would let rules flow into roles that this project does not write, or out of those.


def test_no_role_of_ours_aggregates_or_is_aggregated(world: World) -> None:
    ours = [role for role in world.admin.list(CLUSTER_ROLE) if role["metadata"]["name"].startswith("gcloud-pk:")]
    assert len(ours) >= 6
    for role in ours:
        assert "aggregationRule" not in role, role["metadata"]["name"]
        assert not [key for key in role["metadata"]["labels"] if "rbac.authorization.k8s.io/" in key]


def test_the_roles_that_kubernetes_brings_are_bound_to_nobody_in_a_tenants_namespace(world: World) -> None:
    for place in (OWN, SIBLING, RETIRED, OTHER):
        bound = {binding["roleRef"]["name"] for binding in world.admin.list(ROLE_BINDING, namespace=place.namespace)}
        assert bound == (set() if place is RETIRED else {*access.ROLES.values()})
    everywhere = {binding["roleRef"]["name"] for binding in world.admin.list(CLUSTER_ROLE_BINDING)}
    assert not everywhere & {"admin", "edit", "view"}


# The table has teeth: what is given or taken in the lab is reported, and nothing else is.


def everywhere(right: str, *who: str, places: tuple[Place, ...] = (OWN, SIBLING)) -> list[str]:
    return [f"{right} by {one}, in {place.words}" for one in who for place in places]


PATIENCE = 60
"""Seconds until a change is seen; milliseconds where nothing else runs."""
IN_ALL, OF_OTHERS = "somebody in every group of the tenant", "somebody in every group of another tenant"


@pytest.mark.parametrize(
    ("role", "rule", "cells"),
    [
        pytest.param(
            "gcloud-pk:tenant-developer", {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["patch"]},
            [*everywhere("patch resourcequotas", "the tenant's developers", IN_ALL),
             *everywhere("patch resourcequotas", OF_OTHERS, places=(OTHER,))],
            id="quotas for developers",
        ),
        pytest.param(
            "gcloud-pk:tenant-auditor", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
            everywhere("list secrets", "the tenant's auditors"),
            id="secrets for auditors, which others have already",
        ),
        pytest.param(
            "gcloud-pk:onboarder",
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]},
            everywhere("escalate roles.rbac.authorization.k8s.io", "the onboarder", places=PLACES),
            id="a verb that is no request of its own",
        ),
    ],
)  # fmt: skip
def test_a_right_too_many_is_reported_as_just_its_cells(
    world: World, role: str, rule: dict[str, Any], cells: list[str]
) -> None:
    group, (resource,) = rule["apiGroups"][0], rule["resources"]
    with rules_of(world, role, lambda rules: [*rules, rule]):
        # The list of rules exists by namespace only.
        assert sorted(settled(world)) == sorted(f"HELD: {cell}" for cell in cells if not cell.endswith(WHOLE.words))
        found = world.wrong(f"{resource}.{group}" if group else resource, "limitranges")
        assert sorted(found) == sorted(f"ALLOWED: {cell}; the table denies it" for cell in cells)


def test_a_right_that_is_missing_is_reported_as_just_its_cells(world: World) -> None:
    def without_limits(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**rule, "resources": [r for r in rule["resources"] if r != "limitranges"]} for rule in rules]

    lost = [f"{verb} limitranges" for verb in ("get", "list", "watch")]
    cells = [cell for right in lost for cell in everywhere(right, "the tenant's auditors")]
    with rules_of(world, "gcloud-pk:tenant-auditor", without_limits):
        assert sorted(settled(world)) == sorted(f"MISSING: {cell}" for cell in cells)
        found = world.wrong("limitranges", "resourcequotas")
        assert sorted(found) == sorted(f"DENIED: {cell}; the table allows it" for cell in cells)


def test_a_verb_that_nobody_thought_of_stands_in_the_list_of_rules(world: World) -> None:
    rule = {"apiGroups": ["example.org"], "resources": ["vaults"], "verbs": ["open"]}
    with rules_of(world, "gcloud-pk:tenant-auditor", lambda rules: [*rules, rule]):
        found = settled(world)
        assert len(found) == 5
        assert "HELD: open vaults.example.org by the tenant's auditors, in an environment of the tenant" in found


def test_a_role_of_kubernetes_bound_for_the_whole_cluster_is_reported_everywhere(world: World) -> None:
    binding = {
        "apiVersion": CLUSTER_ROLE_BINDING.api_version, "kind": "ClusterRoleBinding",
        "metadata": {"name": "rights-meddled"},
        "roleRef": {"apiGroup": CLUSTER_ROLE_BINDING.group, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": CLUSTER_ROLE_BINDING.group, "kind": "Group", "name": "oidc:rights-auditors"}],
    }  # fmt: skip
    policy_world.apply(world.admin, binding)
    try:
        found = settled(world)
        cells = everywhere(
            "list deployments.apps", "the tenant's auditors", IN_ALL, places=(RETIRED, OTHER, SYSTEM, KUBE)
        )
        assert {f"HELD: {cell}" for cell in cells} <= {*found}
        whole = everywhere("list configmaps", "the tenant's auditors", IN_ALL, places=(WHOLE,))
        assert {f"ALLOWED: {cell}; the table denies it" for cell in whole} <= {*world.wrong("configmaps")}
    finally:
        world.admin.request("DELETE", CLUSTER_ROLE_BINDING.path(name="rights-meddled"))
    gone(world)


def test_a_resource_without_a_line_is_reported(world: World) -> None:
    less = Table(tuple(row for row in world.table.rows if row.resource != "pods/resize"))
    assert rights.undecided(less, world.admin) == [
        "pods/resize is served, and the table does not list it: decide about it"
    ]
    more = rights.read(f"{rights.PATH.read_text()}\n[every cluster serves these]\npods/rezise nobody\n")
    assert rights.undecided(more, world.admin) == [
        "pods/rezise is not served; it belongs under [not every cluster serves these]"
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("pods R R R", "line 1: 3 cells, expected 9"),
        ("pods R R R - - - - - Q", "line 1, auditor: Q is no letter of the table"),
        ("pods nobody\npods nobody", "named twice: pods"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        rights.read(line)


@contextmanager
def rules_of(world: World, role: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Iterator[None]:
    """Change a ClusterRole's rules, and put them back."""
    path = CLUSTER_ROLE.path(name=role)
    before = world.admin.get(path)["rules"]
    try:
        put(world.admin, path, change(before))
        yield
    finally:
        put(world.admin, path, before)
        gone(world)


def put(admin: Api, path: str, rules: list[dict[str, Any]]) -> None:
    answer = admin.request("PATCH", path, body={"rules": rules}, content_type=policy_world.PATCH)
    assert answer.ok, answer.message


def settled(world: World) -> list[str]:
    """Return what is found once it stays the same; the authorizer learns of a change some milliseconds later."""
    deadline = time.monotonic() + PATIENCE
    before: list[str] = []
    while not (found := world.listed()) or found != before:
        assert time.monotonic() < deadline, "nothing was found"
        before = found
        time.sleep(0.05)
    return found


def gone(world: World) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := world.listed():
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
