"""Waivers of nodes: what of the registry's an audit goes by, and what the roles propose. Pure but for their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.nodes.check import Catalogue
from gcloud_pk.nodes.judge import Exemption
from gcloud_pk.registry import documents
from gcloud_pk.registry.waivers import IN_FORCE, Case, Waivers


@dataclass(frozen=True)
class Proposal:
    """A waiver that a role proposes, for a site's approver to sign. `name`: that of its file."""

    name: str
    role: str
    control: str
    reason: str


def exemptions(waivers: Waivers, site: str) -> tuple[Exemption, ...]:
    """Return the waivers of a site's nodes, those that do not count too, so that an audit can say why."""
    found = (_exemption(case) for _, case in sorted(waivers.cases.items()))
    return tuple(one for one in found if one is not None and one.subject.split("/")[1] == site)


def _exemption(case: Case) -> Exemption | None:
    said = case.waiver
    if said is None or said.sort != "node":
        return None
    return Exemption(
        case.name,
        said.control,
        said.subject,
        said.reason,
        said.author,
        case.approvers,
        said.expires,
        None if case.state in IN_FORCE else _why_not(case),
    )


def _why_not(case: Case) -> str:
    if case.state == "expired" and case.waiver is not None:
        return f"it expired on {case.waiver.expires}"
    if case.state == "proposed":
        return case.stopped or "nobody has approved it"
    if case.state == "ended":
        return "it was ended"
    return case.problems[0].message if case.problems else "it is not valid"


def proposals(catalogue: Catalogue) -> tuple[Proposal, ...]:
    """Return what the roles propose, by name. Raises InvalidInputError with all that is wrong in their files."""
    wrong: list[Problem] = []
    found: list[Proposal] = []
    for file in sorted(paths.data("playbooks", "roles").glob("*/waivers/*.yaml")):
        document = documents.parse(file.read_bytes(), str(file))
        value = document.value if isinstance(document.value, dict) else {}
        mine = [document.located(one) for one in _problems(value, catalogue)]
        wrong += mine
        if not mine:
            found.append(Proposal(file.stem, file.parts[-3], value["control"], " ".join(value["reason"].split())))
    if wrong:
        raise InvalidInputError("a role's proposal of a waiver is not valid", details=wrong)
    return tuple(sorted(found, key=lambda one: one.name))


def _problems(value: dict[str, object], catalogue: Catalogue) -> Iterator[Problem]:
    if set(value) != {"control", "reason"}:
        yield problem("has other fields than a proposal", expected="control and reason")
    for name in ("control", "reason"):
        if not isinstance(value.get(name), str):
            yield problem("is no text", field=name, expected="a text")
    if isinstance(value.get("control"), str) and value["control"] not in catalogue.controls:
        yield problem(f"{value['control']} is no control of the catalogue", field="control", expected="its id")


def standing(proposal: Proposal, given: tuple[Exemption, ...], site: str) -> str:
    """Return in words how it stands with a proposal for a site."""
    mine = [one for one in given if one.control == proposal.control and one.subject == f"node/{site}"]
    counting = [one for one in mine if one.standing is None]
    if counting:
        return f"in force until {counting[0].expires}"
    if mine:
        return mine[-1].standing or "proposed"
    hosts = [
        one.subject.rpartition("/")[2] for one in given if one.control == proposal.control and one.standing is None
    ]
    return f"in force for {', '.join(hosts)}" if hosts else "not proposed"
