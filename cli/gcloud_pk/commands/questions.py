"""The questions of `request new`, with answers that usually fit; asked on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.text import escape, unsafe_characters

if TYPE_CHECKING:
    from gcloud_pk.registry.folder import Registry

_SIZES = {"cpu": "8", "memory": "16Gi", "storage": "100Gi"}


def ask(registry: Registry | None) -> dict[str, Any]:
    """Ask for a request; return its fields by their YAML names. Raises click.Abort where the answers end."""
    from gcloud_pk.model.base import DnsLabel, Group, OrganisationCode, Prose, RegistryPrefix
    from gcloud_pk.model.classification import CLASSES, FLOOR
    from gcloud_pk.model.quantity import Quantity, total
    from gcloud_pk.model.request import ENVIRONMENT_LENGTH

    organisations = registry.organisations if registry else {}
    domains: tuple[str, ...] = ()
    code = _text("organisation (its code)", check=_among(organisations) if organisations else _of(OrganisationCode))
    if code in organisations:
        domains = organisations[code].domains
    name = _text("tenant's name", code.split("-", maxsplit=1)[0].lower(), check=_free(registry, code))
    domain = domains[0] if domains else f"{name}.gov.pk"
    asker = _person("requester", f"it@{domain}", designation=True)
    purpose = {"en": _text("purpose, in English", check=_of(Prose))}
    if urdu := _text("purpose, in Urdu (may stay empty)", "", check=lambda text: _of(Prose)(text) if text else None):
        purpose["ur"] = urdu
    kind = _choice("classification", CLASSES, "restricted")
    rule = FLOOR[kind]  # type: ignore[index]
    personal = click.confirm("does it hold personal data", default=False, err=True)
    owner = _person("owner", asker["email"], name=asker["name"])
    technical = _person("technical contact", asker["email"], name=asker["name"])
    access = {
        "admins": _words("groups of admins", f"{name}-admins", check=_of(Group), least=1),
        "developers": _words("groups of developers", f"{name}-developers", check=_of(Group)),
        "auditors": _words("groups of auditors", f"{name}-auditors", check=_of(Group)),
    }
    environments = [
        _environment(environment, domain, rule.exposure)
        for environment in _words(
            "environments", "prod,staging", check=_of(DnsLabel, at_most=ENVIRONMENT_LENGTH), least=1
        )
    ]
    sums = {resource: str(total([Quantity.parse(e["quota"][resource]) for e in environments])) for resource in _SIZES}
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "TenantRequest",
        "metadata": {"name": name, "revision": _next_revision(registry, name)},
        "spec": {
            "organisation": code,
            "requestedBy": asker,
            "purpose": purpose,
            "classification": kind,
            "personalData": personal,
            "isolation": _choice("isolation", ("namespace", "dedicated-nodes", "dedicated-cluster"), rule.isolation),
            "contacts": {"owner": owner, "technical": [technical]},
            "access": {role: groups for role, groups in access.items() if groups},
            "budget": {resource: _quantity(f"budget of {resource}", sums[resource]) for resource in _SIZES},
            "environments": environments,
            "registries": _words("registries", f"registry.gcloud.gov.pk/{name}/", check=_of(RegistryPrefix), least=1),
        },
    }


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


def _environment(name: str, domain: str, widest: str) -> dict[str, Any]:
    from gcloud_pk.model.base import Domain

    tiers = ("production", "staging", "development", "sandbox")
    guess = next((tier for tier in tiers if tier[:3] in name or tier[:4] in name), "production")
    tier = _choice(f"{name}: tier", tiers, guess)
    quota: dict[str, Any] = {r: _quantity(f"{name}: {r}", size) for r, size in _SIZES.items()}
    quota["pods"] = click.prompt(f"{name}: pods", default=50, type=click.IntRange(1, 10000), err=True)
    fields: dict[str, Any] = {"name": name, "tier": tier, "quota": quota}
    if domains := _words(f"{name}: domains (under {domain}; may stay empty)", "", check=_of(Domain)):
        fields["domains"] = domains
        exposures = ("internal", "government", "internet")
        fields["exposure"] = _choice(
            f"{name}: exposure",
            exposures[: exposures.index(widest) + 1],
            "government" if widest != "internal" else widest,
        )
    return fields


def _person(role: str, email: str, *, name: str | None = None, designation: bool = False) -> dict[str, str]:
    from gcloud_pk.model.base import Email, Line

    person = {"name": _text(f"{role}'s name or role", name, check=_of(Line))}
    if designation:
        person["designation"] = _text(f"{role}'s designation", person["name"], check=_of(Line))
    person["email"] = _text(f"{role}'s e-mail address", email, check=_of(Email))
    return person


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

    return _split(_text(f"{question}, separated by commas" if default else question, default, check=each))


def _split(answer: str) -> list[str]:
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
