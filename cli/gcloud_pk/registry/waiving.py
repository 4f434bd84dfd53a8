"""What people do with waivers: propose, approve, end; each refuses before it writes, and stands in history."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, Problem, RefusedError, UnavailableError, problem
from gcloud_pk.model.waiver import Ending, Waiver
from gcloud_pk.registry import documents, files, signatures, waivers
from gcloud_pk.registry.approvers import REQUEST, WAIVER, Signer
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.readings import load
from gcloud_pk.registry.waivers import IN_FORCE, Case
from gcloud_pk.text import stamp


@dataclass(frozen=True)
class Proposal:
    """What was proposed. `digest`: SHA-256 of the file; `changed`: whether it was not there already."""

    name: str
    waiver: Waiver
    digest: str
    changed: bool


def document(fields: Mapping[str, str | Sequence[str]]) -> bytes:
    """Return the YAML of a flat mapping; a text in JSON's quotes is read as the same text."""
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()).encode()


def proposer(registry: Registry, key: Path) -> Signer:
    """Return whose key this is, of those who may sign requests or waivers, and see that it can sign.

    The signature is not kept: later readers have the history's word for it. Raises RefusedError, UnavailableError.
    """
    known = registry.approvers.by_key.get(signatures.public_key_of(key).blob)
    namespace = REQUEST if known and WAIVER not in known.namespaces else WAIVER
    signatures.entitled(key, namespace, registry.approvers, registry.now)
    return signatures.sign_as(b"gcloud-pk waiver propose\n", key, namespace, registry.approvers, registry.now)[1]


def propose(registry: Registry, name: str, fields: Mapping[str, str | Sequence[str]], actor: str) -> Proposal:
    """Write a waiver that an approver may sign then. `fields`: those of `Waiver`, by YAML name.

    Raises InvalidInputError for what breaks a rule, RefusedError where the name or the very bytes were used already.
    """
    path = waivers.path_of(registry.path, name)
    data = document(fields)
    waiver = _valid(registry, name, data)
    digest = sha256(data).hexdigest()
    before = registry.waivers.cases.get(name)
    _check_free(registry, name, digest)
    _check_chain(registry, waiver)
    changed = before is None or before.filed.data != data
    if changed:
        with files.locked(registry.path):
            _unchanged(registry, path, before)
            files.write(path, data, root=registry.path)
    _record(registry, name, waiver, "proposed", digest, actor)
    return Proposal(name, waiver, digest, changed)


def _valid(registry: Registry, name: str, data: bytes) -> Waiver:
    around = registry.circumstances
    reading = load(documents.parse(data, name), Waiver)
    wrong = list(reading.problems)
    if not waivers.is_name(name):
        expected = f"a DNS label of at most {waivers.NAME_LENGTH} characters"
        wrong.append(problem(f"{name!r} cannot be a waiver's name", field="name", expected=expected))
    if reading.model is not None:
        wrong += waivers.rule_problems(reading.model, around)
        if reading.model.expires < around.today:
            wrong.append(problem(f"{reading.model.expires} is past", field="expires", expected="a day to come"))
    if wrong or reading.model is None:
        # There is no file yet that a line could be named of.
        details = [replace(found, file=None, line=None) for found in wrong]
        raise InvalidInputError(f"the waiver {name} cannot be proposed", details=details)
    return reading.model


def _check_free(registry: Registry, name: str, digest: str) -> None:
    same = [case for case in registry.waivers.cases.values() if case.filed.digest == digest and case.name != name]
    if same:
        raise RefusedError(
            f"the waiver {same[0].name} says the same already ({same[0].state})",
            resolution="ask for something else, or for another day of expiry",
        )
    case = registry.waivers.cases.get(name)
    if case is None or case.state == "proposed" or (case.state == "invalid" and not case.approvers):
        return
    who = f" by {', '.join(case.approvers)}" if case.approvers else ""
    raise RefusedError(
        f"the waiver {name} was approved{who}, and is {case.state}; what was approved is not written over",
        resolution="give the new one another name"
        + (f"; to end this one: gcloud-pk waiver expire {name} --reason TEXT" if case.state in IN_FORCE else ""),
    )


def _check_chain(registry: Registry, waiver: Waiver) -> None:
    if waiver.workload and waiver.workload.tenant in registry.tenants:
        registry.check_chain(registry.entry(waiver.workload.tenant))


def _unchanged(registry: Registry, path: Path, before: Case | None) -> None:
    there = files.read(path, root=registry.path) if os.path.lexists(path) else None
    if there != (before.filed.data if before else None):
        raise RefusedError(
            f"{path} was changed meanwhile; what you saw is not what is there",
            resolution="look at it again: gcloud-pk waiver list",
        )


def _record(registry: Registry, name: str, waiver: Waiver | None, step: str, digest: str, actor: str) -> None:
    """Record a step, once however often it is repeated: whoever was stopped before this runs the same command again."""
    found = waiver.workload if waiver else None
    if found is None or found.tenant not in registry.tenants:
        return
    detail = {"waiver": name, "step": step, "digest": digest}
    lines = Registry.open(registry.path).entry(found.tenant).chain.lines
    if not any(line.act == "waiver" and line.actor == actor and line.detail == detail for line in lines):
        registry.record(found.tenant, "waiver", actor, detail=detail)


def case(registry: Registry, name: str) -> Case:
    """Return a waiver. Raises UnavailableError, naming the nearest, where there is none."""
    if name not in registry.waivers.cases:
        from difflib import get_close_matches

        near = get_close_matches(name, registry.waivers.cases, n=1)
        raise UnavailableError(
            f"the registry {registry.path} has no waiver {name!r}",
            resolution=f"did you mean {near[0]}?" if near else "see: gcloud-pk waiver list --expired",
        )
    return registry.waivers.cases[name]


def approvable(registry: Registry, name: str, key: Path) -> tuple[Case, Signer]:
    """Return a waiver that can be approved, and who would. Raises InvalidInputError, RefusedError otherwise."""
    found = case(registry, name)
    if found.state in {"ended", "expired"}:
        raise RefusedError(f"the waiver {name} is {found.state}", resolution="propose a new one, under another name")
    if found.waiver is None or found.state == "invalid":
        raise InvalidInputError(f"the waiver {name} is not valid", details=found.problems)
    _check_chain(registry, found.waiver)
    signer = signatures.entitled(key, WAIVER, registry.approvers, registry.now)
    if reason := waivers.objection(signer, found.filed, found.waiver, registry.circumstances):
        raise RefusedError(f"this approval would not count: {reason}", resolution="somebody else approves it")
    return found, signer


def approve(registry: Registry, found: Case, key: Path) -> Case:
    """Sign the bytes of a waiver, put the signature in place; return the waiver as it stands then.

    Raises RefusedError where it was changed meanwhile.
    """
    if found.filed.data is None:
        raise ValueError("only a waiver that can be read is approved")
    signature, signer = signatures.sign_as(found.filed.data, key, WAIVER, registry.approvers, registry.now)
    path = waivers.path_of(registry.path, found.name)
    with files.locked(registry.path):
        _unchanged(registry, path, found)
        files.write(path.with_name(f"{path.name}.{signer.principal}.sig"), signature, root=registry.path)
    record_approval(registry, found, signer.principal)
    return case(Registry.open(registry.path), found.name)


def record_approval(registry: Registry, found: Case, principal: str) -> None:
    """Record that somebody approved a waiver; does nothing where that is recorded."""
    if found.filed.digest is not None:
        _record(registry, found.name, found.waiver, "approved", found.filed.digest, principal)


def end(registry: Registry, name: str, by: str, reason: str) -> str | None:
    """End a waiver at once: unsigned, because it closes. Return why its history does not say so, where it does not.

    Raises InvalidInputError for a reason that cannot be shown, UnavailableError where there is no such waiver.
    """
    found = case(registry, name)
    path = waivers.path_of(registry.path, name)
    digest = found.filed.digest or sha256(b"").hexdigest()
    if not found.filed.over:
        now = stamp(dt.datetime.now(dt.UTC))
        data = document({"digest": digest, "by": by, "reason": reason, "time": now})
        reading = load(documents.parse(data, name), Ending)
        if reading.model is None:
            details: list[Problem] = [replace(wrong, file=None, line=None) for wrong in reading.problems]
            raise InvalidInputError(f"the end of the waiver {name} cannot be written", details=details)
        with files.locked(registry.path):
            files.write(path.with_name(f"{name}.ended.yaml"), data, root=registry.path)
    try:
        _record(registry, name, found.waiver, "ended", digest, by)
    except RefusedError as error:
        return error.message  # it is ended all the same: a broken history must not keep open what closes
    return None
