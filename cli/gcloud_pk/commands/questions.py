"""The questions of `request new`, with answers that usually fit; asked on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.text import escape, unsafe_characters

if TYPE_CHECKING:
    from gcloud_pk.registry.folder import Registry

_SIZES = {"cpu": "8", "memory": "16Gi", "storage": "100Gi"}


Fields = dict[str, Any]


def identify(registry: Registry | None, organisation: str | None, name: str | None) -> tuple[str, str, str]:
    """Return (organisation's code, tenant's name, a domain of the organisation); ask for what is not given.

    Raises click.Abort where the answers end, WrongUsageError for given ones that cannot be.
    """
    from gcloud_pk.errors import WrongUsageError
    from gcloud_pk.model.base import OrganisationCode

    organisations = registry.organisations if registry else {}
    known = _among(organisations) if organisations else _of(OrganisationCode)
    if organisation is not None and (wrong := known(organisation)):
        raise WrongUsageError(f"--organisation {wrong}")
    code = organisation if organisation is not None else _text("organisation (its code)", check=known)
    free = _free(registry, code)
    if name is not None and (wrong := free(name)):
        raise WrongUsageError(f"--name {name}: {wrong}")
    tenant = name if name is not None else _text("tenant's name", code.split("-", maxsplit=1)[0].lower(), check=free)
    domains = organisations[code].domains if code in organisations else ()
    return code, tenant, domains[0] if domains else f"{tenant}.gov.pk"


def ask(registry: Registry | None, identity: tuple[str, str, str], fields: Fields, known: Mapping[str, Any]) -> None:
    """Ask for a request; put its fields, by their YAML names, into `fields` as they are answered.

    `identity`: what `identify` returned; `known`: fields of a template, whose values are the usual answers. What is
    not asked for is taken from there. Raises click.Abort where the answers end: `fields` then holds those so far.
    """
    from gcloud_pk.model.base import DnsLabel, Group, Prose, RegistryPrefix
    from gcloud_pk.model.classification import CLASSES, FLOOR
    from gcloud_pk.model.quantity import Quantity, total
    from gcloud_pk.model.request import ENVIRONMENT_LENGTH

    _, name, domain = identity
    usual = _within(known, "spec")
    begin(registry, identity, fields, known)
    spec = fields["spec"]
    asker = spec["requestedBy"] = _person(
        "requester", f"it@{domain}", designation=True, usual=_within(usual, "requestedBy")
    )
    wanted = _within(usual, "purpose")
    spec["purpose"] = {"en": _text("purpose, in English", wanted.get("en"), check=_of(Prose))}
    if urdu := _text(
        "purpose, in Urdu (may stay empty)",
        wanted.get("ur", ""),
        check=lambda text: _of(Prose)(text) if text else None,
    ):
        spec["purpose"]["ur"] = urdu
    kind = spec["classification"] = _choice("classification", CLASSES, usual.get("classification", "restricted"))
    rule = FLOOR[kind]  # type: ignore[index]
    spec["personalData"] = click.confirm(
        "does it hold personal data", default=usual.get("personalData") is True, err=True
    )
    contacts = _within(usual, "contacts")
    technical = [one for one in contacts.get("technical", ()) if isinstance(one, dict)]
    owner = _person("owner", asker["email"], name=asker["name"], usual=_within(contacts, "owner"))
    spec["contacts"] = {"owner": owner}
    first = _person("technical contact", asker["email"], name=asker["name"], usual=technical[0] if technical else {})
    spec["contacts"]["technical"] = [first, *technical[1:]]
    access = _within(usual, "access")
    spec["access"] = {}
    for role, least in (("admins", 1), ("developers", 0), ("auditors", 0)):
        # A template that names groups says which there are.
        default = _listed(access.get(role, ())) if access else f"{name}-{role}"
        if groups := _words(f"groups of {role}", default, check=_of(Group), least=least):
            spec["access"][role] = groups
    drafts = {one["name"]: one for one in usual.get("environments", ()) if isinstance(one, dict) and "name" in one}
    spec["environments"] = []
    for environment in _words(
        "environments",
        _listed(drafts) or "prod,staging",
        check=_of(DnsLabel, at_most=ENVIRONMENT_LENGTH),
        least=1,
    ):
        spec["environments"].append(_environment(environment, domain, rule.exposure, drafts.get(environment, {})))
    quotas = [one["quota"] for one in spec["environments"]]
    sums = {resource: str(total([Quantity.parse(quota[resource]) for quota in quotas])) for resource in _SIZES}
    isolations = ("namespace", "dedicated-nodes", "dedicated-cluster")
    spec["isolation"] = _choice("isolation", isolations, usual.get("isolation", rule.isolation))
    spec["budget"] = {resource: _quantity(f"budget of {resource}", sums[resource]) for resource in _SIZES}
    registries = _listed(usual.get("registries", ())) or f"registry.gcloud.gov.pk/{name}/"
    spec["registries"] = _words("registries", registries, check=_of(RegistryPrefix), least=1)


def begin(registry: Registry | None, identity: tuple[str, str, str], fields: Fields, known: Mapping[str, Any]) -> None:
    """Put into `fields` what is known before anything is asked: who it is for, and what a template says besides."""
    code, name, _ = identity
    besides = {key: value for key, value in _within(known, "spec").items() if key not in _QUESTIONS}
    fields |= {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "TenantRequest",
        "metadata": {"name": name, "revision": _next_revision(registry, name)},
        "spec": {**besides, "organisation": code},
    }


_QUESTIONS = {
    "organisation", "requestedBy", "purpose", "classification", "personalData", "isolation", "contacts", "access",
    "budget", "environments", "registries",
}  # fmt: skip
"""Fields of `spec` that are asked for."""


def ordered(fields: Mapping[str, Any]) -> Fields:
    """Return a request's fields in the model's order; unknown ones last."""
    from gcloud_pk.model.request import Environment, RequestSpec

    def sort(given: Mapping[str, Any], model: Any) -> Fields:
        names = [field.alias for field in model.model_fields.values()]
        return dict(sorted(given.items(), key=lambda item: names.index(item[0]) if item[0] in names else len(names)))

    spec = sort(fields["spec"], RequestSpec)
    if isinstance(spec.get("environments"), list):
        spec["environments"] = [
            sort(one, Environment) if isinstance(one, dict) else one for one in spec["environments"]
        ]
    return {**fields, "spec": spec}


def _within(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a mapping that is a field of another; empty where the template has none, or something else, there."""
    value = given.get(name)
    return value if isinstance(value, dict) else {}


def _listed(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def _free(registry: Registry | None, code: str) -> Callable[[str], str | None]:
    """Return the check of a tenant's name: well formed, nobody else's, and no other's beginning."""
    from gcloud_pk.model.base import DnsLabel
    from gcloud_pk.model.request import TENANT_LENGTH
    from gcloud_pk.model.rules import Surroundings, name_problems

    well_formed = _of(DnsLabel, at_most=TENANT_LENGTH)

    def check(name: str) -> str | None:
        if wrong := well_formed(name):
            return wrong
        entry = registry.tenants.get(name) if registry else None
        if registry and entry:
            asked = entry.reading.repaired if entry.reading else None
            if registry.standing(entry).state == "offboarded":
                return f"tenant {name!r} was offboarded, and its name stays reserved"
            if asked is None or asked.spec.organisation != code:
                return f"the name {name!r} is taken" + (f" (by {asked.spec.organisation})" if asked else "")
        around = registry.surroundings if registry else Surroundings(registry=False)
        return next((f"{p.message}; expected {p.expected}" for p in name_problems(name, around)), None)

    return check


def _next_revision(registry: Registry | None, name: str) -> int:
    entry = registry.tenants.get(name) if registry else None
    if entry is None:
        return 1
    known = [accepted.revision for accepted in entry.history]
    if entry.reading and entry.reading.repaired:
        known.append(entry.reading.repaired.metadata.revision)
    return max(known, default=0) + 1


def _environment(name: str, domain: str, widest: str, usual: Mapping[str, Any]) -> Fields:
    from gcloud_pk.model.base import Domain

    tiers = ("production", "staging", "development", "sandbox")
    guess = next((tier for tier in tiers if tier[:3] in name or tier[:4] in name), "production")
    tier = _choice(f"{name}: tier", tiers, usual.get("tier", guess))
    sizes = {**_SIZES, **_within(usual, "quota")}
    quota: Fields = {r: _quantity(f"{name}: {r}", str(sizes[r])) for r in _SIZES}
    pods = _within(usual, "quota").get("pods", 50)
    quota["pods"] = click.prompt(f"{name}: pods", default=pods, type=click.IntRange(1, 10000), err=True)
    fields: Fields = {**usual, "name": name, "tier": tier, "quota": quota}
    fields.pop("domains", None)
    exposure = fields.pop("exposure", "government" if widest != "internal" else widest)
    known = _listed(usual.get("domains", ()))
    if domains := _words(f"{name}: domains (under {domain}; may stay empty)", known, check=_of(Domain)):
        fields["domains"] = domains
        exposures = ("internal", "government", "internet")
        allowed = exposures[: exposures.index(widest) + 1]
        fields["exposure"] = _choice(f"{name}: exposure", allowed, exposure if exposure in allowed else allowed[-1])
    elif "exposure" in usual:
        fields["exposure"] = exposure
    return fields


def _person(
    role: str, email: str, *, name: str | None = None, designation: bool = False, usual: Mapping[str, Any]
) -> dict[str, str]:
    from gcloud_pk.model.base import Email, Line

    person = {"name": _text(f"{role}'s name or role", usual.get("name", name), check=_of(Line))}
    if designation:
        default = usual.get("designation", person["name"])
        person["designation"] = _text(f"{role}'s designation", default, check=_of(Line))
    person["email"] = _text(f"{role}'s e-mail address", usual.get("email", email), check=_of(Email))
    return {**usual, **person}


def _checked(check: Callable[[str], str | None] | None) -> Callable[[str], str]:
    def convert(answer: str) -> str:
        answer = answer.strip()
        if hidden := unsafe_characters(answer):
            raise click.UsageError(f"holds {', '.join(hidden)}")
        if check and (wrong := check(answer)):
            raise click.UsageError(escape(wrong))
        return answer

    return convert


def _text(question: str, default: str | None = None, *, check: Callable[[str], str | None] | None = None) -> str:
    answer = click.prompt(question, default=default, show_default=bool(default), value_proc=_checked(check), err=True)
    return str(answer)


def _words(
    question: str, default: str, *, check: Callable[[str], str | None] | None = None, least: int = 0
) -> list[str]:
    def each(answer: str) -> str | None:
        if len(_split(answer)) < least:
            return f"at least {least} is needed"
        return next((wrong for word in _split(answer) if check and (wrong := check(word))), None)

    if default:
        question += ", separated by commas" + ("" if least else " (- for none)")
    return _split(_text(question, default, check=each))


def _split(answer: str) -> list[str]:
    if answer.strip() == "-":
        return []
    return list(dict.fromkeys(word.strip() for word in answer.split(",") if word.strip()))


def _choice(question: str, choices: tuple[str, ...], default: str) -> str:
    return str(click.prompt(question, default=default, type=click.Choice(choices), err=True))


def _quantity(question: str, default: str) -> str:
    from gcloud_pk.model.quantity import Quantity

    def check(answer: str) -> str | None:
        try:
            return None if Quantity.parse(answer).value > 0 else "more than 0 is needed"
        except ValueError as error:
            return str(error)

    return _text(question, default, check=check)


def _among(known: Any) -> Callable[[str], str | None]:
    return lambda answer: None if answer in known else f"{answer!r} is none of {', '.join(sorted(known)[:20])}"


def _of(annotation: Any, *, at_most: int | None = None) -> Callable[[str], str | None]:
    """Return the check that an answer is of a model's type, in the model's words; `at_most`: characters."""

    def check(answer: str) -> str | None:
        from gcloud_pk.registry.readings import fault

        if at_most and len(answer) > at_most:
            return f"is {len(answer)} characters long; expected at most {at_most}"
        return fault(annotation, answer)

    return check
