"""Requests to start from: `templates/<name>.yaml` of a registry, and those that come with the program.

A template is a TenantRequest in which `${tenant}`, `${organisation}` and `${domain}` stand for what differs. They are
replaced in the text, by words of an alphabet that means nothing in YAML; what is still missing is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError, Problem, WrongUsageError, problem
from gcloud_pk.model.base import DOMAIN_PATTERN, LABEL_PATTERN
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.rules import Surroundings, request_problems
from gcloud_pk.registry import files
from gcloud_pk.registry.documents import Document, parse
from gcloud_pk.registry.readings import load

FOLDER = "templates"

_SLOT = re.compile(r"\$\{([^}\n]*)\}?")
_ALPHABETS = {
    "tenant": re.compile(LABEL_PATTERN),
    "organisation": re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*"),
    "domain": re.compile(DOMAIN_PATTERN),
}
_EXAMPLE = {"tenant": "example", "organisation": "EXAMPLE", "domain": "example.gov.pk"}
_PERSON = {"name": "Example", "email": "example@example.gov.pk"}
_ASKED = {
    "requestedBy": {**_PERSON, "designation": "Example"},
    "purpose": {"en": "Example"},
    "contacts": {"owner": _PERSON, "technical": [_PERSON]},
}
"""What a template need not have, with examples to judge the rest by."""


@dataclass(frozen=True)
class Template:
    """A template as it lies there. `own`: it is the registry's, not the program's."""

    name: str
    path: Path
    data: bytes
    own: bool

    @property
    def about(self) -> str:
        """The comment in its first line."""
        first = self.data.split(b"\n", 1)[0].decode("utf-8", "replace")
        return first.removeprefix("#").strip() if first.startswith("#") else ""


def listed(registry: Path | None) -> dict[str, Template]:
    """Return all templates by name; the registry's stand before the program's.

    Raises InvalidInputError where one cannot be read, RefusedError for a link out of the registry.
    """
    found = {path.stem: Template(path.stem, path, path.read_bytes(), own=False) for path in _shipped()}
    if registry is not None:
        for entry in files.entries(registry / FOLDER, root=registry):
            name, path = entry.name.removesuffix(".yaml"), registry / FOLDER / entry.name
            if name != entry.name and re.fullmatch(LABEL_PATTERN, name):
                found[name] = Template(name, path, files.read(path, root=registry), own=True)
    return dict(sorted(found.items()))


def _shipped() -> list[Path]:
    return sorted(paths.data("examples", "registry", FOLDER).glob("*.yaml"))


def shipped() -> dict[str, bytes]:
    """Return what a new registry gets: file name → bytes."""
    return {path.name: path.read_bytes() for path in _shipped()}


def named(name: str, registry: Path | None) -> Template:
    """Return a template. Raises WrongUsageError where there is none of that name."""
    known = listed(registry)
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, known, n=1)
        raise WrongUsageError(
            f"there is no template {name!r}",
            details=[f"there are: {', '.join(known)}"] if known else [],
            resolution=f"did you mean {near[0]}?" if near else "see: gcloud-pk request new --list-templates",
        )
    return known[name]


def filled(template: Template, answers: Mapping[str, str]) -> Document:
    """Return the document of a template with its slots filled: tenant, organisation, domain.

    Raises InvalidInputError for a template that cannot be used, ValueError for answers of another alphabet.
    """
    for name, answer in answers.items():
        if not _ALPHABETS[name].fullmatch(answer):
            raise ValueError(f"{name} cannot be {answer!r}")
    text = template.data.decode("utf-8", "surrogateescape")
    wrong = [
        problem(
            f"{match[0]} is no slot",
            file=template.path,
            line=text.count("\n", 0, match.start()) + 1,
            expected=" or ".join(f"${{{name}}}" for name in _ALPHABETS),
        )
        for match in _SLOT.finditer(text)
        if match[1] not in answers or not match[0].endswith("}")
    ]
    if wrong:
        raise InvalidInputError(f"the template {template.name} cannot be used", details=wrong)
    put = _SLOT.sub(lambda match: answers[match[1]], text)
    document = parse(put.encode("utf-8", "surrogateescape"), str(template.path))
    if not isinstance(document.value, dict):
        wrong = [problem("is no mapping", file=template.path, expected="a TenantRequest")]
        raise InvalidInputError(f"the template {template.name} cannot be used", details=wrong)
    return document


def problems(registry: Path) -> list[Problem]:
    """Return everything that is wrong with the registry's own templates, judged with an example's answers."""
    found: list[Problem] = []
    for entry in files.entries(registry / FOLDER, root=registry):
        name = entry.name.removesuffix(".yaml")
        if name == entry.name or not re.fullmatch(LABEL_PATTERN, name):
            found.append(problem("is not a template", file=registry / FOLDER / entry.name, expected="NAME.yaml"))
    for template in listed(registry).values():
        if template.own:
            found += _problems(template)
    return found


def _problems(template: Template) -> list[Problem]:
    try:
        return faults(filled(template, _EXAMPLE))
    except InvalidInputError as error:
        return list(error.details)


def faults(document: Document) -> list[Problem]:
    """Return what is wrong with what a filled template says; what it leaves to be asked for is not."""
    spec: Any = document.value.get("spec")
    if isinstance(spec, dict):
        for name, example in _ASKED.items():
            spec.setdefault(name, example)
    reading = load(document, TenantRequest)
    return reading.ruled(lambda request: request_problems(request, Surroundings(registry=False)))
