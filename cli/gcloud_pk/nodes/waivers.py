"""Waivers of nodes: what of the registry's an audit goes by, and what the roles propose. Pure but for their files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.model.site import Site, SiteSpec
from gcloud_pk.nodes.check import Catalogue
from gcloud_pk.nodes.judge import Exemption
from gcloud_pk.registry import documents
from gcloud_pk.registry.waivers import IN_FORCE, Case, Waivers
from gcloud_pk.text import in_line

_LONGEST = 400
"""Characters of a subject that are shown."""


@dataclass(frozen=True)
class Proposal:
    """A waiver that a role proposes, for a site's approver to sign. `name`: that of its file.

    `where`: fields of a site's `spec` that have to say something (true) or nothing (false) for it to be needed there.
    """

    name: str
    role: str
    control: str
    reason: str
    where: Mapping[str, bool] = field(default_factory=dict)

    def needless(self, site: Site) -> str | None:
        """Return why a site has no need of it, None where it may."""
        said = site.spec.model_dump(by_alias=True)
        for name, wanted in self.where.items():
            if bool(said[name]) is not wanted:
                return f"the site {'says nothing' if wanted else 'says something'} under {name}"
        return None


_FIELDS = frozenset(one.alias or name for name, one in SiteSpec.model_fields.items())


def exemptions(waivers: Waivers, site: str, known: Collection[str] | None = None) -> tuple[Exemption, ...]:
    """Return the waivers of a site's nodes, those that do not count too, so that an audit can say why.

    `known`: those alone that are of one of these controls and checks, of the site's clusters too.
    """
    cases = [case for _, case in sorted(waivers.cases.items())]
    found = [one for case in cases if (one := _exemption(case, ("node", *(("cluster",) if known else ())))) is not None]
    mine = [one for one in found if one.subject.split("/")[1] == site]
    return tuple(one for one in mine if known is None or one.control in known)


def misfits(waivers: Waivers, site: str, sites: Collection[str]) -> list[str]:
    """Return, in words, each waiver of nodes that can never count at a site: of a control or a subject that is none.

    `sites`: of the registry; what is wrong for another of them, its own audit says.
    """
    found = []
    for name, case in sorted(waivers.cases.items()):
        subject = _subject(case)
        sort, _, rest = subject.partition("/")
        meant = rest.partition("/")[0]
        if case.state != "invalid" or sort.lower() != "node" or (meant in sites and meant != site):
            continue
        why = "; ".join(dict.fromkeys(_in_words(one) for one in case.problems)) or "it is not valid"
        found.append(f"waiver {name} (subject {in_line(subject)}) excepts nothing: {why}")
    return found


def _subject(case: Case) -> str:
    """Return what a waiver says that it is of, as it stands there where it is not valid."""
    if case.waiver is not None:
        return case.waiver.subject
    said = case.filed.reading.document.value if case.filed.reading else None
    subject = said.get("subject") if isinstance(said, dict) else None
    return subject[:_LONGEST] if isinstance(subject, str) else ""


def _in_words(one: Problem) -> str:
    expected = f", expected {one.expected}" if one.expected else ""
    return in_line(f"{one.field}: {one.message}{expected}" if one.field else f"{one.message}{expected}")


def _exemption(case: Case, sorts: Collection[str]) -> Exemption | None:
    said = case.waiver
    if said is None or said.sort not in sorts:
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
            reason = " ".join(value["reason"].split())
            found.append(Proposal(file.stem, file.parts[-3], value["control"], reason, value.get("where", {})))
    if wrong:
        raise InvalidInputError("a role's proposal of a waiver is not valid", details=wrong)
    return tuple(sorted(found, key=lambda one: one.name))


def _problems(value: dict[str, Any], catalogue: Catalogue) -> Iterator[Problem]:
    if set(value) - {"where"} != {"control", "reason"}:
        yield problem("has other fields than a proposal", expected="control and reason; where, if not at every site")
    where = value.get("where", {})
    if not isinstance(where, dict) or not all(isinstance(one, bool) for one in where.values()):
        yield problem("is no condition", field="where", expected="fields of a site's spec, each true or false")
    elif unknown := sorted(map(str, set(where) - _FIELDS)):
        yield problem(f"{unknown[0]} is no field of a site's spec", field="where", expected="timeServers, for example")
    for name in ("control", "reason"):
        if not isinstance(value.get(name), str):
            yield problem("is no text", field=name, expected="a text")
    if isinstance(value.get("control"), str) and value["control"] not in catalogue.controls:
        yield problem(f"{value['control']} is no control of the catalogue", field="control", expected="its id")


def standing(proposal: Proposal, given: tuple[Exemption, ...], site: Site) -> str:
    """Return in words how it stands with a proposal for a site."""
    subject = f"node/{site.metadata.name}"
    mine = [one for one in given if one.control == proposal.control and one.subject == subject]
    counting = [one for one in mine if one.standing is None]
    if counting:
        return f"in force until {counting[0].expires}"
    if mine:
        return mine[-1].standing or "proposed"
    hosts = [
        one.subject.rpartition("/")[2] for one in given if one.control == proposal.control and one.standing is None
    ]
    if hosts:
        return f"in force for {', '.join(hosts)}"
    needless = proposal.needless(site)
    return f"not needed: {needless}" if needless else "not proposed"
