"""What people do to a registry: make it, sign it, submit, approve, reject. Each refuses before it writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, RefusedError, problem
from gcloud_pk.login import operator_name
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.rules import organisation_problems, site_problems
from gcloud_pk.model.site import Site
from gcloud_pk.registry import (
    approval,
    approvers,
    documents,
    files,
    revisions,
    signatures,
    superseded,
    templates,
    trust,
)
from gcloud_pk.registry import sites as site_files
from gcloud_pk.registry.approval import Approvals
from gcloud_pk.registry.approvers import APPROVAL, APPROVER_NAMESPACES, REGISTRY, REQUEST, STATE, Signer
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.governance import APPROVERS, ORGANISATIONS
from gcloud_pk.registry.readings import Reading, load
from gcloud_pk.text import in_line

_ORGANISATIONS = """\
# Who may ask for a tenant. One entry for each ministry, department, authority or company; an example:
#
# - code: MOITT
#   name: {en: Ministry of Information Technology and Telecommunication, ur: وزارتِ انفارمیشن ٹیکنالوجی}
#   tier: federal            # federal | provincial | attached | authority | soe | private
#   domains: [moitt.gov.pk]  # tenants' domains lie under these
#
# - code: PUNJAB-PITB
#   name: {en: Punjab Information Technology Board}
#   tier: provincial
#   province: punjab         # ict | punjab | sindh | kp | balochistan | gb | ajk
#   domains: [pitb.gov.pk]
[]
"""

_APPROVERS = f"""\
# Who may sign what: OpenSSH allowed signers, one line for each person and key:
#
#   PRINCIPAL namespaces="{",".join(APPROVER_NAMESPACES)}",valid-after="20260101",valid-before="20280101" KEYTYPE KEY
#
# Principals are of a-z 0-9 . _ @ -; no wildcard, no list of principals, no cert-authority, each key once. Times: UTC.
# Namespaces: gcloud-pk-approval (requests), gcloud-pk-state (reject, suspend, offboard), gcloud-pk-waiver (waivers),
# gcloud-pk-request (the requester's own signature). Key types: Ed25519, ECDSA, RSA of at least 3072 bits, security
# keys (sk-).
"""

GIT_ATTRIBUTES = """\
# Signatures are over bytes: git must not change a line's end.
* -text
# Two people acted at once: both lines stay, and the next act joins them.
tenants/*/history.jsonl merge=union
"""

_README = """\
# Registry

The source of truth for who may have what on the government cloud; kept under version control.

| File | What |
|---|---|
| `organisations.yaml` | who may ask |
| `approvers` | who may approve (OpenSSH allowed signers) |
| `settings.yaml` | optional: approvals for each class, base registries |
| `sites/<site>.yaml` | data centres and their clusters |
| `templates/<name>.yaml` | requests to start from: `gcloud-pk request new --template NAME` |
| `registry.sha256`, `registry.sha256.sig` | what its keepers signed: `gcloud-pk registry sign --key KEY` |
| `tenants/<tenant>/` | a tenant's request, approvals, state, accepted requests, and history.jsonl: what was done |

Check all of it with `gcloud-pk registry check`; in CI with `--trust FILE` as well.
"""


def initialise(
    path: Path, signers: Mapping[str, Path], organisations: Path | None, sites: Path | None = None
) -> list[str]:
    """Make a registry; return the files written. `signers`: principal → public key file, for the first approvers.

    `organisations` and the `NAME.yaml` of the folder `sites`, with their tables, are copied.

    Raises RefusedError where the folder holds anything, InvalidInputError for files that cannot be used.
    """
    lines = "".join(_approver_line(principal, key) for principal, key in signers.items())
    contents = {
        ".gitattributes": GIT_ATTRIBUTES.encode(),
        ORGANISATIONS: files.read(organisations) if organisations else _ORGANISATIONS.encode(),
        APPROVERS: (_APPROVERS + lines).encode(),
        "README.md": _README.encode(),
        "tenants/.gitkeep": b"",
        "sites/.gitkeep": b"",
        **{f"{templates.FOLDER}/{name}": data for name, data in templates.shipped().items()},
    }
    copied, whole = _sites(sites) if sites else ({}, {})
    contents |= {f"sites/{name}": data for name, data in whole.items()}
    if path.exists() and not _begun(path, contents):
        raise RefusedError(f"{path} is there and not empty", resolution="name another folder")
    wrong = list(approvers.parse(contents[APPROVERS], str(path / APPROVERS)).problems)
    if organisations:
        from gcloud_pk.model.organisation import Organisations

        reading = load(documents.parse(contents[ORGANISATIONS], str(organisations)), Organisations)
        wrong += reading.ruled(lambda listed: organisation_problems(listed.root))
    of_rules = site_problems({name: reading.repaired for name, reading in copied.items() if reading.repaired})
    for name, reading_of_site in copied.items():
        wrong += reading_of_site.problems
        wrong += reading_of_site.placed(found for site, found in of_rules if site == name)
    if wrong:
        raise InvalidInputError(f"{path} was not made", details=wrong)
    files.make_folder(path)
    with files.locked(path):
        # The approvers last: until they are there it is not a registry.
        for name in sorted(contents, key=lambda name: name == APPROVERS):
            files.write(path / name, contents[name], root=path)
    return sorted(contents)


def _begun(path: Path, contents: Mapping[str, bytes]) -> bool:
    """Whether a folder holds nothing but a part of what is to be made: the same act was stopped there."""
    tops = {name.partition("/")[0] for name in contents} - {APPROVERS}
    if not path.is_dir() or any(p.name not in tops and not p.name.startswith(files.TEMPORARY) for p in path.iterdir()):
        return False
    made = (p for p in path.rglob("*") if not p.name.startswith(files.TEMPORARY) and (p.is_symlink() or not p.is_dir()))
    return all(files.read(p, root=path) == contents.get(str(p.relative_to(path))) for p in made)


def _sites(folder: Path) -> tuple[dict[str, Reading[Site]], dict[str, bytes]]:
    """Return the sites of a folder, and by name the bytes of their files and tables."""
    found = sorted(folder.glob("*.yaml"))
    if not found:
        raise InvalidInputError(f"{folder} holds no site", details=[problem("has no NAME.yaml", file=folder)])
    data: dict[str, bytes] = {}

    def table(name: str) -> tuple[bytes, str] | None:
        if not os.path.lexists(folder / name):
            return None
        data[name] = files.read(folder / name, limit=site_files.LIMIT)
        return data[name], str(folder / name)

    for path in found:
        data[path.name] = files.read(path, limit=site_files.LIMIT)
    return {path.stem: site_files.read(data[path.name], str(path), table) for path in found}, data


def _approver_line(principal: str, key: Path) -> str:
    text = files.read(key).decode("utf-8", "replace")
    public, wrong = approvers.read_public_key(text, str(key))
    if public is None:
        raise InvalidInputError(f"{key} cannot be an approver's key", details=[wrong] if wrong else [])
    return f'{principal} namespaces="{",".join(APPROVER_NAMESPACES)}" {public}\n'


@dataclass(frozen=True)
class Signing:
    """What was signed. `files`: those covered; `key`: its fingerprint."""

    files: list[str]
    key: str
    serial: int


def sign_registry(registry: Registry, key: Path, at_least: int = 1, trust_file: Path | None = None) -> Signing:
    """Sign what decides for all, under the next serial, or `at_least` where that is higher.

    Raises InvalidInputError where any of the files is not valid, RefusedError where the key is none of those that
    `trust_file` names (its signature would take the place of one that holds), or where somebody else signed meanwhile.
    """
    if trust_file is not None:
        signatures.entitled(key, REGISTRY, registry.keepers(trust_file), registry.now)
    governance = registry.governance
    if governance.problems:
        raise InvalidInputError(f"the registry {registry.path} is not valid", details=governance.problems)
    version = trust.next_version(registry.manifest, registry.now, at_least)
    manifest = trust.manifest(governance.files, version)
    public = signatures.public_key_of(key)
    signature = signatures.sign(manifest, key, REGISTRY)
    if signatures.envelope(signature).key != public.blob:
        raise RefusedError(f"{key} and its .pub are not of one pair", resolution="name the right key")
    with files.locked(registry.path):
        if Registry(registry.path).manifest != registry.manifest:
            raise RefusedError(f"somebody else signed {registry.path} meanwhile", resolution="look, then run it again")
        files.write(registry.path / trust.MANIFEST, manifest, root=registry.path)
        files.write(registry.path / trust.SIGNATURE, signature, root=registry.path)
    return Signing(sorted(governance.files), public.fingerprint, version.serial)


@dataclass(frozen=True)
class Submission:
    """What came of submitting; `changed`: False where the same bytes lay there already."""

    request: TenantRequest
    digest: str
    changed: bool


def submit(registry: Registry, file: Path, key: Path | None = None) -> Submission:
    """Copy a request's bytes into the registry, signed by the requester where a key is given.

    A signature made by hand beside the file (`FILE.sig`) is taken along; approvals of what was there before are
    removed, where they are kept with it or it was never accepted. Raises InvalidInputError for its content,
    RefusedError for a revision that is not new, for a tenant that was offboarded, or for a history that was changed.
    """
    data = files.read(file)
    reading = load(documents.parse(data, str(file)), TenantRequest)
    wrong = [*registry.governance.problems, *registry.request_problems(reading)]
    if wrong or reading.model is None:
        raise InvalidInputError(
            f"{file} is not valid", details=wrong, resolution=f"check it with: gcloud-pk request validate {file}"
        )
    request, digest = reading.model, reading.document.digest
    name = request.metadata.name
    folder = registry.path / "tenants" / name
    entry = registry.tenants.get(name)
    if entry is not None:
        registry.check_chain(entry)
        _check_revision(registry, entry, request, digest)
    signature, signer = _requester_signature(registry, data, file, key)
    old = superseded.left_behind(registry, entry, data) if entry else {}
    changed = entry is None or entry.data != data
    own = folder / "request.yaml.sig"
    with files.locked(registry.path):
        there = (
            files.read(folder / "request.yaml", root=registry.path)
            if os.path.lexists(folder / "request.yaml")
            else None
        )
        if there != (entry.data if entry else None):
            raise RefusedError(
                f"somebody else submitted for tenant {name} meanwhile", resolution="look, then run it again"
            )
        if changed:
            # A signature over other bytes must not stand beside the new ones, in whatever order this is stopped.
            files.remove(own, root=registry.path)
            files.write(folder / "request.yaml", data, root=registry.path)
        if entry and old:
            # After the new bytes are there: before, whoever is stopped in between would leave a request without them.
            superseded.remove(registry.path, entry, old)
        if signature is not None:
            files.write(own, signature, root=registry.path)
    changed = changed or signature is not None
    recorded = entry is not None and any(line.act == "submit" and line.digest == digest for line in entry.chain.lines)
    if changed or not recorded:
        detail = {"signature": sha256(signature).hexdigest()} if signature else {}
        registry.record(
            name,
            "submit",
            signer or operator_name(),
            digest=digest,
            revision=request.metadata.revision,
            detail=detail,
            once=True,
        )
    return Submission(request, digest, changed)


def _check_revision(registry: Registry, entry: Entry, request: TenantRequest, digest: str) -> None:
    if registry.standing(entry).state == "offboarded":
        raise RefusedError(
            f"tenant {entry.name} was offboarded, and its name stays reserved",
            resolution=f"ask for a tenant of another name; {registry.remainder(entry.name)}",
        )
    known = {accepted.revision: accepted.digest for accepted in entry.history}
    if entry.reading and entry.reading.repaired and entry.digest:
        known.setdefault(entry.reading.repaired.metadata.revision, entry.digest)
    if not known:
        return
    highest = max(known)
    revision = request.metadata.revision
    if revision < highest or known.get(revision, digest) != digest:
        said = "lower than" if revision < highest else "the same as"
        raise RefusedError(
            f"revision {revision} is {said} that of the request submitted before ({highest})",
            details=[problem("is not a new revision", field="metadata.revision", expected=f"{highest + 1}")],
            resolution=f"write metadata.revision: {highest + 1}",
        )


def _requester_signature(
    registry: Registry, data: bytes, file: Path, key: Path | None
) -> tuple[bytes, str] | tuple[None, None]:
    """Return the requester's signature and his principal, where there is one."""
    if key is not None:
        signers = registry.approvers
        signatures.entitled(key, REQUEST, signers, registry.now)
        made, signer = signatures.sign_as(data, key, REQUEST, signers, registry.now)
        return made, signer.principal
    beside = file.with_name(file.name + ".sig")
    if not os.path.lexists(beside):
        return None, None
    signature = files.read(beside)
    try:
        signer = signatures.verify(data, signature, REQUEST, registry.approvers, registry.now)
    except signatures.SignatureError as error:
        raise RefusedError(
            f"the signature {beside} {error.message}", resolution="sign the request anew, or remove the signature"
        ) from None
    return signature, signer.principal


def approver(registry: Registry, entry: Entry, key: Path, principal: str | None) -> Signer:
    """Return who would approve with a key. Raises RefusedError where that would not count."""
    signer = signatures.entitled(key, APPROVAL, registry.approvers, registry.now)
    if principal is not None and principal != signer.principal:
        raise RefusedError(
            f"the key {key} is {signer.principal}'s, not {principal}'s",
            resolution=f"--as {signer.principal}, or another key",
        )
    if entry.signed and entry.request:
        demand = registry.demand(entry.request)
        if reason := approval.objection(signer, entry.request, entry.signed, demand):
            may = ", ".join(approval.eligible(entry.request, entry.signed, demand, registry.approvers, registry.now))
            raise RefusedError(
                f"this approval would not count: {reason}",
                resolution=f"one of these approves it: {may or 'nobody yet; add an approver'}",
            )
    return signer


def approvable(registry: Registry, name: str) -> Entry:
    """Return a tenant's entry whose request can be approved. Raises InvalidInputError, RefusedError otherwise."""
    entry = registry.entry(name)
    registry.check_open(entry)
    registry.check_chain(entry)
    if wrong := [*registry.governance.problems, *registry.content_problems(entry)]:
        raise InvalidInputError(f"the request of tenant {name} is not valid", details=wrong)
    revisions.check_no_way_back(entry)
    return entry


def approve(registry: Registry, entry: Entry, key: Path) -> Approvals:
    """Sign the bytes of an entry, put the signature in place, record it, and keep the request if that accepts it.

    Returns the approvals there are then. Raises RefusedError where the request was changed meanwhile.
    """
    if entry.signed is None:
        raise ValueError("only a request that can be read is approved")
    data = entry.signed.data
    signature, signer = signatures.sign_as(data, key, APPROVAL, registry.approvers, registry.now)
    with files.locked(registry.path):
        if files.read(entry.folder / "request.yaml", root=registry.path) != data:
            raise RefusedError(
                f"the request of tenant {entry.name} was changed meanwhile; what you saw is not what is there",
                resolution="look at it again: gcloud-pk request show " + entry.name,
            )
        files.write(entry.folder / "approvals" / f"{signer.principal}.sig", signature, root=registry.path)
    return approved(Registry.open(registry.path), entry.name, signer.principal)


def approved(registry: Registry, name: str, principal: str) -> Approvals:
    """Record that a principal approved the present request, and keep the request where that suffices; once.

    For whoever approved and was stopped before this, too. Returns the approvals there are.
    """
    entry = registry.entry(name)
    approvals = registry.approvals(entry)
    if approvals.sufficient:
        registry.keep(name)
    signature = entry.signed.approvals[principal] if entry.signed else b""
    detail: dict[str, str | int] = {"have": len(approvals.have), "need": approvals.need}
    detail["signature"] = sha256(signature).hexdigest()
    registry.record(name, "approve", principal, digest=entry.digest, detail=detail, once=True)
    return approvals


def _rejection(entry: Entry) -> tuple[str, str] | None:
    """Return by whom and why the present request was rejected."""
    record, line = entry.state[0], entry.chain.rejected(entry.digest)
    if record and record.state == "rejected":
        return record.by, record.reason
    return (line.actor, str(line.detail.get("reason", ""))) if line else None


def reject(registry: Registry, name: str, by: str, reason: str, key: Path | None) -> str:
    """Reject the present request of a tenant; return who did. What was accepted before stands as it did.

    Raises RefusedError where a stronger state holds, or where the present request was accepted already.
    """
    entry = registry.entry(name)
    if kept := entry.kept(entry.digest):
        raise RefusedError(
            f"the request of tenant {name} (revision {kept.revision}) was accepted already; "
            "what was accepted is not rejected",
            details=[problem("keeps it", file=kept.folder)],
            resolution=f"to change it: submit revision {kept.revision + 1}; to close the tenant: "
            f"gcloud-pk tenant suspend {name}, or gcloud-pk tenant offboard {name}",
        )
    state = registry.standing(entry).state
    if state in {"suspended", "offboarded"}:
        raise RefusedError(f"tenant {name} is {state}; a rejection would undo that", resolution="leave it as it is")
    who = signatures.entitled(key, STATE, registry.approvers, registry.now).principal if key else by
    if state == "rejected" and (already := _rejection(entry)):
        if already != (who, reason):
            raise RefusedError(
                f"the request of tenant {name} is rejected already by {in_line(already[0])}: {in_line(already[1])}",
                resolution="the requester submits a corrected one of a higher revision",
            )
        if entry.state[0] and entry.chain.rejected(entry.digest):
            return who
    # Whoever was stopped before it was recorded comes here again.
    stated = entry.state[0]
    # The signed `active` of a resumption stays: without it, the tenant would count as suspended again.
    if not (entry.chain.closings and stated and stated.state == "active"):
        registry.set_state(name, "rejected", by, reason, key)
        record = Registry.open(registry.path).entry(name).state[0]
        who = record.by if record else by
    registry.record(name, "reject", who, digest=entry.digest, detail={"reason": reason}, once=True)
    return who
