"""Who may do what: the expected table (`policies/rbac/rights.txt`), and what a live API server answers to each cell.

Two views. The authorizer is asked for every cell (SubjectAccessReview): it cannot be wrong about itself, but it answers
only what is asked. Each person's own list of rules (SelfSubjectRulesReview) is compared with the table as a whole:
there a verb shows that nobody thought of asking.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from multiprocessing.pool import ThreadPool
from typing import Any

from gcloud_pk import paths
from gcloud_pk.cluster.transport import Api, Identity

PATH = paths.data("policies", "rbac", "rights.txt")

READ, WRITE = "glw", "cupdx"
LETTERS = {
    "g": "get", "l": "list", "w": "watch", "c": "create", "u": "update", "p": "patch", "d": "delete",
    "x": "deletecollection", "B": "bind", "M": "manage", "I": "impersonate:user-info",
}  # fmt: skip
VERBS = tuple(LETTERS[letter] for letter in READ + WRITE)
COLUMNS = ("admins", "developers", "auditors", "anybody", "onboarder", "system", "verifier", "acts", "auditor")
_AS_ANOTHER = "impersonate-on:user-info:"
_REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"

# Verbs that are no request of their own, each on what Kubernetes asks it of.
SPECIAL = {
    "users": ("impersonate",),
    "groups": ("impersonate",),
    "serviceaccounts": ("impersonate",),
    "users.authentication.k8s.io": ("impersonate", "impersonate:user-info"),
    "groups.authentication.k8s.io": ("impersonate", "impersonate:user-info"),
    "uids.authentication.k8s.io": ("impersonate", "impersonate:user-info"),
    "userextras.authentication.k8s.io": ("impersonate", "impersonate:user-info"),
    "userextras.authentication.k8s.io/scopes": ("impersonate", "impersonate:user-info"),
    "serviceaccounts.authentication.k8s.io": ("impersonate", "impersonate:serviceaccount"),
    "nodes.authentication.k8s.io": ("impersonate", "impersonate:arbitrary-node", "impersonate:associated-node"),
    "roles.rbac.authorization.k8s.io": ("bind", "escalate"),
    "clusterroles.rbac.authorization.k8s.io": ("bind", "escalate"),
    "signers.certificates.k8s.io": ("approve", "sign", "attest"),
    "certificatesigningrequests.certificates.k8s.io": ("approve", "sign", "attest"),
    "podsecuritypolicies.policy": ("use",),
    "audiences": ("request-serviceaccounts-token-audience",),
    "platform.gcloud.gov.pk": ("manage", "administer"),
}


@dataclass(frozen=True)
class Row:
    """One line. `name`: the one object that the cells speak of; `served`: whether every cluster has the resource."""

    resource: str
    name: str
    served: bool
    cells: Mapping[str, frozenset[str]] = field(hash=False)

    def __str__(self) -> str:
        return self.resource + (f" {self.name}" if self.name else "")

    @property
    def is_path(self) -> bool:
        return self.resource.startswith("/")

    @property
    def group(self) -> str:
        return self.resource.partition("/")[0].partition(".")[2]

    @property
    def plural(self) -> str:
        """The name within the group, with its subresource: `deployments/scale`."""
        plain, slash, subresource = self.resource.partition("/")
        return plain.partition(".")[0] + slash + subresource


@dataclass(frozen=True)
class Place:
    """Where something is tried; `namespace` is empty for the whole cluster."""

    words: str
    namespace: str


@dataclass(frozen=True)
class Person:
    """Who tries. `columns`: by namespace, what he has beyond `everywhere`."""

    words: str
    identity: Identity
    everywhere: tuple[str, ...] = ("anybody",)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def columns_in(self, place: Place) -> tuple[str, ...]:
        return (*self.everywhere, *self.columns.get(place.namespace, ()))


@dataclass(frozen=True)
class Served:
    """A resource of the live server: whether it lies in namespaces, and which verbs it knows."""

    namespaced: bool
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One question: may this person do that there?"""

    person: Person
    place: Place
    row: Row
    verb: str

    @property
    def expected(self) -> bool:
        return any(self.verb in self.row.cells[column] for column in self.person.columns_in(self.place))

    @property
    def body(self) -> dict[str, Any]:
        of = self.person.identity
        spec: dict[str, Any] = {"user": of.user, "groups": [*of.groups, "system:authenticated"]}
        if self.row.is_path:
            spec["nonResourceAttributes"] = {"verb": self.verb, "path": self.row.resource.replace("*", "some")}
        else:
            plain, _, subresource = self.row.plural.partition("/")
            spec["resourceAttributes"] = {
                "verb": self.verb, "group": self.row.group, "resource": plain, "subresource": subresource,
                "namespace": self.place.namespace, "name": self.row.name,
            }  # fmt: skip
        return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}

    def __str__(self) -> str:
        return f"{self.verb} {self.row} by {self.person.words}, in {self.place.words}"


@dataclass(frozen=True)
class Table:
    """The expected table, by row."""

    rows: tuple[Row, ...]

    @cached_property
    def by_name(self) -> dict[tuple[str, str], Row]:
        return {(row.resource, row.name): row for row in self.rows}

    def effective(self, row: Row) -> Row:
        """Return a row of one object with what the resource's own row allows on all objects."""
        whole = self.by_name.get((row.resource, ""))
        if not row.name or whole is None:
            return row
        return replace(row, cells={column: row.cells[column] | whole.cells[column] for column in COLUMNS})

    def of_group(self, group: str) -> Iterator[Row]:
        return (row for row in self.rows if row.group == group and not row.name and not row.is_path)


def read(text: str) -> Table:
    """Read the table. Raises ValueError on a line that is none, an unknown letter, a resource named twice."""
    rows: list[Row] = []
    served = True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            served = line != "[not every cluster serves these]"
            continue
        resource, *cells = line.split()
        name = ""
        if cells == ["nobody"]:
            cells = ["-"] * len(COLUMNS)
        if len(cells) == len(COLUMNS) + 1:
            name = cells.pop(0)
        if [resource, *cells] == ["resource", *COLUMNS]:
            continue
        if len(cells) != len(COLUMNS):
            raise ValueError(f"line {number}: {len(cells)} cells, expected {len(COLUMNS)}")
        rows.append(Row(resource, name, served, dict(zip(COLUMNS, _cells(cells, number), strict=True))))
    twice = {str(row) for row in rows if sum((r.resource, r.name) == (row.resource, row.name) for r in rows) > 1}
    if twice:
        raise ValueError(f"named twice: {', '.join(sorted(twice))}")
    return Table(tuple(rows))


def _cells(cells: Iterable[str], number: int) -> Iterator[frozenset[str]]:
    for column, cell in zip(COLUMNS, cells, strict=True):
        letters = "" if cell == "-" else cell.replace("R", READ).replace("W", WRITE)
        if unknown := sorted({*letters} - LETTERS.keys()):
            raise ValueError(f"line {number}, {column}: {', '.join(unknown)} is no letter of the table")
        before = _AS_ANOTHER if column == "acts" else ""
        yield frozenset(before + LETTERS[letter] for letter in letters)


def expected() -> Table:
    return read(PATH.read_text(encoding="utf-8"))


def discovered(api: Api) -> dict[str, Served]:
    """Return every resource and subresource that the server knows, in all its versions."""
    versions = ["/api/v1"]
    versions += [f"/apis/{v['groupVersion']}" for g in api.get("/apis")["groups"] for v in g["versions"]]
    found: dict[str, Served] = {}
    for path in versions:
        group = path.removeprefix("/apis/").partition("/")[0] if path.startswith("/apis/") else ""
        for one in api.get(path)["resources"]:
            plain, slash, subresource = one["name"].partition("/")
            name = f"{plain}{'.' + group if group else ''}{slash}{subresource}"
            known = found.get(name, Served(one["namespaced"], ()))
            found[name] = Served(known.namespaced, tuple(sorted({*known.verbs, *one["verbs"]})))
    return found


def undecided(table: Table, api: Api) -> list[str]:
    """Return what the server has and the table does not speak of, and what the table calls served and is not."""
    live = discovered(api)
    listed = {row.resource for row in table.rows}
    found = [
        f"{name} is served, and the table does not list it: decide about it" for name in live if name not in listed
    ]
    patterns = [row.resource for row in table.rows if row.is_path]
    found += [
        f"{path} is served, and the table does not list it: decide about it"
        for path in api.get("/")["paths"]
        if not any(re.fullmatch(re.escape(each).replace(r"\*", ".*"), path) for each in patterns)
    ]
    found += [
        f"{row} is not served; it belongs under [not every cluster serves these]"
        for row in table.rows
        if row.served and not row.is_path and not row.name and row.resource not in live
    ]
    return found


def cells(
    table: Table, live: Mapping[str, Served], people: Iterable[Person], places: Iterable[Place]
) -> Iterator[Cell]:
    """Yield every cell that can be a request: verbs that the server knows for the resource, in places where it lies.

    What the server does not serve is asked with all verbs in all places, what is no resource at all with its special
    ones. Acting as another is asked for the whole cluster only; `listed` sees it everywhere.
    """
    people, places = tuple(people), tuple(places)
    for row in table.rows:
        there, verbs = _there(row, live, places), _asked(row, live)
        judged = table.effective(row)
        for person in people:
            for place in there:
                for verb in verbs:
                    if not verb.startswith(_AS_ANOTHER) or not place.namespace:
                        yield Cell(person, place, judged, verb)


def _asked(row: Row, live: Mapping[str, Served]) -> tuple[str, ...]:
    if row.is_path:
        return ("get", "post", "put", "patch", "delete")
    unserved = () if row.resource in SPECIAL else VERBS
    own = live[row.resource].verbs if row.resource in live else unserved
    ruled = chain.from_iterable(row.cells.values())
    return tuple(sorted({*own, *(_AS_ANOTHER + verb for verb in own), *SPECIAL.get(row.resource, ()), *ruled}))


def _there(row: Row, live: Mapping[str, Served], places: tuple[Place, ...]) -> tuple[Place, ...]:
    whole = tuple(place for place in places if not place.namespace)
    if row.is_path:
        return whole
    served = live.get(row.resource) or live.get(row.resource.partition("/")[0])
    # A request for one namespace counts as one inside it.
    if served is None or served.namespaced or row.resource.partition("/")[0] == "namespaces":
        return places
    return whole


def asked(api: Api, wanted: Iterable[Cell], threads: int = 4) -> list[str]:
    """Ask the authorizer; return in words each cell that is not as the table has it."""
    with ThreadPool(threads) as pool:
        return [words for words in pool.imap(lambda cell: _wrong(api, cell), wanted, chunksize=64) if words]


def _wrong(api: Api, cell: Cell) -> str | None:
    answer = api.request("POST", _REVIEW, body=cell.body)
    status = answer.body.get("status") or {}
    if not answer.ok or not isinstance(status.get("allowed"), bool) or status.get("evaluationError"):
        return f"no answer to {cell}: {answer.message or status}"
    if status["allowed"] is cell.expected:
        return None
    return f"ALLOWED: {cell}; the table denies it" if status["allowed"] else f"DENIED: {cell}; the table allows it"


def listed(api: Api, table: Table, people: Iterable[Person], places: Iterable[Place]) -> list[str]:
    """Compare each person's own list of rules, in each namespace, with the table; `api` may impersonate."""
    found = []
    for person in people:
        acting = api.impersonating(person.identity)
        for place in (place for place in places if place.namespace):
            answer = acting.request("POST", _RULES, body={"spec": {"namespace": place.namespace}})
            assert answer.ok, answer.message
            assert answer.body["status"]["incomplete"] is False, answer.body["status"]
            live = {*_live_rights(answer.body["status"], table)}
            wanted = {
                (row.resource, row.name, verb)
                for row in table.rows
                for column in person.columns_in(place)
                for verb in row.cells[column]
            }
            found += [
                f"{words}: {verb} {resource}{' ' + name if name else ''} by {person.words}, in {place.words}"
                for words, rights in (("HELD", live - wanted), ("MISSING", wanted - live))
                for resource, name, verb in sorted(rights)
            ]
    return found


def _live_rights(status: Mapping[str, Any], table: Table) -> Iterator[tuple[str, str, str]]:
    for rule in status["resourceRules"]:
        for group in rule.get("apiGroups") or [""]:
            for resource in rule.get("resources") or []:
                for written in _written(group, resource, table):
                    for name in rule.get("resourceNames") or [""]:
                        for verb in rule["verbs"]:
                            yield written, name, verb
    for rule in status["nonResourceRules"]:
        for path in rule.get("nonResourceURLs") or []:
            for verb in rule["verbs"]:
                yield path, "", verb


def _written(group: str, resource: str, table: Table) -> Iterable[str]:
    """Return what a rule's resource covers, as the table writes it; a wildcard covers what the table knows."""
    if resource == "*" and group != "*":
        return [row.resource for row in table.of_group(group)]
    plain, slash, subresource = resource.partition("/")
    return [f"{plain}{'.' + group if group else ''}{slash}{subresource}"]


def report(found: list[str], most: int = 40) -> str:
    """Return the first findings, one a line."""
    more = f"\n… and {len(found) - most} more" if len(found) > most else ""
    return "\n".join(found[:most]) + more
