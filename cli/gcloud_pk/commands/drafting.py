"""`gcloud-pk request new`: a request from answers, from a template, or from another request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.commands.connection import open_registry_if_there
from gcloud_pk.commands.output import check_output, write_output
from gcloud_pk.console import somebody_answers
from gcloud_pk.errors import InvalidInputError, Problem, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.folder import Registry

Fields = dict[str, Any]

_FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.option("-o", "--output", metavar="FILE", type=_FILE, help="Write here.  [default: standard output]")
@click.option("--from", "source", metavar="FILE", type=_FILE, help="Take the answers from a request; ask for nothing.")
@click.option("--template", metavar="NAME", help="Start from a template; its values are the usual answers.")
@click.option("--list-templates", is_flag=True, help="List the templates, and do nothing else.")
@click.option("--organisation", metavar="CODE", help="Whose tenant it is, instead of being asked.")
@click.option("--name", metavar="TENANT", help="The tenant's name, instead of being asked.")
@click.option(
    "--set",
    "settings",
    metavar="PATH=VALUE",
    multiple=True,
    help="Set a field, such as spec.requestedBy.name='Director IT'; may be given several times.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@pass_invocation
def new(
    invocation: Invocation,
    output: Path | None,
    source: Path | None,
    template: str | None,
    list_templates: bool,
    organisation: str | None,
    name: str | None,
    settings: tuple[str, ...],
    force: bool,
) -> None:
    """Write a new request by answering questions.

    Prints a commented YAML that validates; -o puts it in a file.

    A template and --set answer in advance: where they leave nothing open, nothing is asked. Answers that end too early
    (Ctrl-C) are kept as a draft.
    """
    from gcloud_pk.registry import files
    from gcloud_pk.registry.documents import parse
    from gcloud_pk.registry.writing import request_yaml

    console = invocation.console
    opened = open_registry_if_there(invocation)
    if list_templates:
        _show_templates(console, opened)
        return
    check_output(output, force=force)
    if source is not None:
        if template or organisation or name or settings:
            raise WrongUsageError("--from takes all answers from a request: leave --template and the others out")
        document = parse(files.read(source), str(source))
        text = request_yaml(document.value) if isinstance(document.value, dict) else ""
        _valid(document.data, str(source), opened)
    else:
        text = _answered(console, opened, output, (template, organisation, name), _settings(settings))
    model = _valid(text.encode(), str(output or "the request"), opened)
    if output is not None or not console.machine:
        write_output(console, text, output)
    if console.machine:
        request = model.model_dump(mode="json", by_alias=True, exclude_none=True)
        console.document({"file": str(output) if output else None, "tenant": model.metadata.name, "request": request})
    elif output is not None:
        console.show(f"wrote {output}")
        console.show(f"next: look at it, then: gcloud-pk request submit {output}")


def _show_templates(console: Console, opened: Registry | None) -> None:
    from gcloud_pk.registry.templates import listed

    known = listed(opened.path if opened else None).values()
    if console.machine:
        console.document({"templates": [{"name": t.name, "about": t.about, "own": t.own} for t in known]})
        return
    console.table(
        ("TEMPLATE", "FROM", "WHAT"), [(t.name, "registry" if t.own else "gcloud-pk", t.about) for t in known]
    )


def _answered(
    console: Console,
    opened: Registry | None,
    output: Path | None,
    given: tuple[str | None, str | None, str | None],
    settings: Mapping[str, Any],
) -> str:
    """Return the YAML of a request from what was given and what is asked for. `given`: template, organisation, name.

    Raises InvalidInputError where the answers make no valid request, which leaves a draft.
    """
    from gcloud_pk.commands.questions import ask, begin, identify, ordered
    from gcloud_pk.registry.templates import named
    from gcloud_pk.registry.writing import draft_yaml, request_yaml

    template, organisation, name = given
    chosen = named(template, opened.path if opened else None) if template else None
    fields: Fields = {}
    known: Fields = {}
    try:
        identity = identify(opened, organisation, name)
        known = _known(chosen, identity, settings)
        if known:
            begin(opened, identity, fields, known)
            fields["spec"] = {**known["spec"], **fields["spec"]}
            if not _wrong(text := request_yaml(ordered(fields)), "the request", opened):
                return text
            fields.clear()
        ask(opened, identity, fields, known)
    except click.Abort:
        if fields and known:
            fields["spec"] = {**known["spec"], **fields["spec"]}
        _stopped(console, output, fields, opened)
        raise
    text = request_yaml(ordered(fields))
    if wrong := _wrong(text, "the request", opened):
        write_output(console, draft_yaml(ordered(fields), wrong), output)
        where = str(output or "the draft above")
        raise InvalidInputError(
            f"the answers make no valid request yet; {where} holds them, with what to mend",
            details=_wrong(draft_yaml(ordered(fields), wrong), where, opened),
            resolution=f"mend it, then: gcloud-pk request validate {output or 'FILE'}",
        )
    return text


def _stopped(console: Console, output: Path | None, fields: Fields, opened: Registry | None) -> None:
    """Keep the answers so far; nothing that lies there is overwritten by a draft. Raises WrongUsageError."""
    from gcloud_pk.commands.questions import ordered
    from gcloud_pk.registry.writing import draft_yaml, request_yaml

    if fields:
        so_far = ordered(fields)
        target = output if output is not None and not output.exists() else None
        write_output(console, draft_yaml(so_far, _wrong(request_yaml(so_far), "the request", opened)), target)
        console.note(f"\n{target or 'the draft above'} holds the answers so far, with what is missing")
    if not somebody_answers():
        raise WrongUsageError(
            "the answers on standard input ended too early", resolution="give --from FILE, or answer in a terminal"
        ) from None


def _known(chosen: Any, identity: tuple[str, str, str], settings: Mapping[str, Any]) -> Fields:
    """Return what a template and --set say; empty without both. Raises InvalidInputError for what cannot be."""
    from gcloud_pk.registry.documents import parse
    from gcloud_pk.registry.templates import faults, filled
    from gcloud_pk.registry.writing import request_yaml

    if chosen is None and not settings:
        return {}
    answers = dict(zip(("organisation", "tenant", "domain"), identity, strict=True))
    known = _plain(filled(chosen, answers).value) if chosen else _bare(answers)
    if chosen and (wrong := faults(filled(chosen, answers))):
        raise InvalidInputError(f"the template {chosen.name} is not valid", details=wrong)
    if not isinstance(known.get("spec"), dict):
        known["spec"] = {}
    for path, value in settings.items():
        _put(known, path, value)
    if chosen and settings:
        # The lines are those of no file.
        found = [replace(p, file=None, line=None) for p in faults(parse(request_yaml(known).encode(), "--set"))]
        if found:
            raise InvalidInputError("what --set says makes no valid request", details=found)
    return known


def _bare(answers: Mapping[str, str]) -> Fields:
    return {"metadata": {"name": answers["tenant"]}, "spec": {"organisation": answers["organisation"]}}


def _plain(value: Any) -> Any:
    """Return a copy of plain mappings and lists, without the lines of a file."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _settings(words: tuple[str, ...]) -> Fields:
    """Return path → value: a text, unless it looks like a list, a mapping, an integer, true or false, or is quoted."""
    from gcloud_pk.registry.documents import parse

    found: Fields = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not re.fullmatch(r"spec(\.[A-Za-z]+(\[\d+\])?)+", path):
            raise WrongUsageError(f"--set {word}: expected PATH=VALUE with a path such as spec.requestedBy.email")
        plain = not re.fullmatch(r"""[\[{"'].*|true|false|\d+""", text, re.DOTALL)
        try:
            found[path] = text if plain else _plain(parse(text.encode(), f"--set {path}").value)
        except InvalidInputError as error:
            said = error.details[0].message if error.details else error.message
            raise WrongUsageError(f"--set {path}: {said}") from None
    return found


def _put(fields: Fields, path: str, value: Any) -> None:
    """Set a field by its path, as problems name it; a list may grow by one. Raises WrongUsageError."""
    from gcloud_pk.registry.documents import steps_of

    *before, last = steps_of(path)
    steps = list(zip(before, [*before[1:], last], strict=True))
    place: Any = fields
    for step, following in steps:
        empty: Any = [] if isinstance(following, int) else {}
        place = _step(place, step, empty, path)
    _step(place, last, value, path, overwrite=True)


def _step(place: Any, step: str | int, value: Any, path: str, *, overwrite: bool = False) -> Any:
    if isinstance(step, int):
        if not isinstance(place, list) or step > len(place):
            there = f"there are {len(place)} entries" if isinstance(place, list) else "it is no list"
            raise WrongUsageError(f"--set {path}: there is no [{step}]", resolution=there)
        if step == len(place):
            place.append(value)
        elif overwrite:
            place[step] = value
        return place[step]
    if not isinstance(place, dict):
        raise WrongUsageError(f"--set {path}: {step} is no field of that")
    if overwrite or step not in place:
        place[step] = value
    return place[step]


def _valid(data: bytes, name: str, opened: Registry | None) -> Any:
    wrong, reading = _judge(data, name, opened)
    if wrong or reading is None or reading.model is None:
        raise InvalidInputError(f"{name} is not valid", details=wrong)
    return reading.model


def _wrong(text: str, name: str, opened: Registry | None) -> list[Problem]:
    try:
        return _judge(text.encode(), name, opened)[0]
    except InvalidInputError as error:
        return list(error.details)


def _judge(data: bytes, name: str, opened: Registry | None) -> tuple[list[Problem], Any]:
    from gcloud_pk.model.request import TenantRequest
    from gcloud_pk.model.rules import Surroundings, request_problems
    from gcloud_pk.registry.documents import parse
    from gcloud_pk.registry.readings import load

    reading = load(parse(data, name), TenantRequest)
    surroundings = opened.surroundings if opened else Surroundings(registry=False)
    return reading.ruled(lambda model: request_problems(model, surroundings)), reading
