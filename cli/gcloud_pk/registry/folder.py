"""The registry folder: every file read once, and what follows from all of them together."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, NoReturn

from gcloud_pk.errors import (
    InvalidInputError,
    Problem,
    RefusedError,
    UnavailableError,
    problem,
)
from gcloud_pk.login import user_name
from gcloud_pk.model import rules
from gcloud_pk.model.base import LABEL_PATTERN
from gcloud_pk.model.cities import place_notes
from gcloud_pk.model.facility_rules import accreditation_problem
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TENANT_LENGTH, TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.model.state import StateName
from gcloud_pk.model.tenant import UNREGISTERED, Tenant, place
from gcloud_pk.registry import (
    approval,
    approvers,
    demand,
    documents,
    files,
    governance,
    history,
    review,
    revisions,
    signatures,
    standing,
    suspension,
    templates,
    trust,
    waivers,
)
from gcloud_pk.registry.approval import Approvals, Signed
from gcloud_pk.registry.approvers import REGISTRY, STATE, Signer, Signers
from gcloud_pk.registry.demand import Demand
from gcloud_pk.registry.entries import Accepted, Entry
from gcloud_pk.registry.governance import APPROVERS, ORGANISATIONS, Governance
from gcloud_pk.registry.history import Act
from gcloud_pk.registry.readings import Reading, load, ordered
from gcloud_pk.registry.signatures import Claim, SignatureError
from gcloud_pk.registry.standing import Standing
from gcloud_pk.registry.trust import TrustState
from gcloud_pk.registry.waivers import Circumstances, Waivers
from gcloud_pk.text import in_line

Status = Literal["pending", "approved", "rejected", "suspended", "offboarded", "invalid"]


@dataclass(eq=False)
class Registry:
    """A registry folder. Each file is read once, when it is first needed; open it again after a write."""

    path: Path
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    _verdicts: dict[Claim, Signer | SignatureError] = field(default_factory=dict, repr=False)
    _entries: dict[str, Entry] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> Registry:
        """Open a registry. Raises UnavailableError where there is none, or none that this user may read."""
        try:
            path.stat()
            os.scandir(path).close()
            (path / APPROVERS).lstat()
        except PermissionError:
            raise UnavailableError(
                f"the registry {path} cannot be read by {user_name()}",
                resolution="run it as a user who may read all of it, or give this one the right to (folders: r and x)",
            ) from None
        except OSError:
            pass  # what is missing is named below
        missing = [name for name in (ORGANISATIONS, APPROVERS) if not os.path.lexists(path / name)]
        if not path.is_dir() or missing:
            why = f"it has no {' and no '.join(missing)}" if path.is_dir() else "there is no such folder"
            raise UnavailableError(
                f"{path} is not a registry: {why}",
                resolution=f"make one with: gcloud-pk registry init {path}   or name another with --registry DIR",
            )
        return cls(path)

    # --- what decides for all -------------------------------------------------------------------------------------

    def _label(self, *parts: str) -> str:
        return str(self.path.joinpath(*parts))

    def _read(self, *parts: str) -> bytes:
        return files.read(self.path.joinpath(*parts), root=self.path)

    def _list(self, *parts: str) -> list[os.DirEntry[str]]:
        return files.entries(self.path.joinpath(*parts), root=self.path)

    @cached_property
    def governance(self) -> Governance:
        """Settings, organisations, approvers and sites, with all that is wrong with them."""
        return governance.read(self.path)

    def _sound(self) -> Governance:
        if self.governance.problems:
            raise InvalidInputError(
                f"the registry {self.path} is not valid",
                details=self.governance.problems,
                resolution="mend these, then: gcloud-pk registry check",
            )
        return self.governance

    @property
    def settings(self) -> Settings:
        """Raises InvalidInputError, as the three that follow, where anything that decides for all is not valid."""
        return self._sound().settings

    @property
    def organisations(self) -> Mapping[str, Organisation]:
        """Organisations by code."""
        return self._sound().organisations

    @property
    def approvers(self) -> Signers:
        """Who may sign what."""
        return self._sound().approvers

    @property
    def sites(self) -> Mapping[str, Site]:
        """Sites by name."""
        return self._sound().sites

    def site(self, name: str, how: str = "") -> Site:
        """Return a site. Raises InvalidInputError, which names those that there are, and `how` to name one."""
        sites = self.sites
        if name not in sites:
            raise InvalidInputError(
                f"the registry {self.path} has no site {name!r}",
                details=[f"its sites: {', '.join(sorted(sites)) or 'none'}"],
                resolution=f"name one of these{how}, or another registry with --registry DIR",
            )
        return sites[name]

    def cluster_by_uid(self, uid: str) -> tuple[Site, Cluster] | None:
        """Return the site and cluster of a kube-system UID."""
        for site in self.sites.values():
            for cluster in site.spec.clusters:
                if cluster.uid == uid:
                    return site, cluster
        return None

    def trust(self, trust_file: Path | None) -> TrustState:
        """Say whether the signers named in `trust_file`, outside the registry, vouch for what decides.

        Raises RefusedError where a trust file is given and the registry does not hold, UnavailableError where there is
        no such file.
        """
        if trust_file is None:
            return TrustState(False, reason="no file of trusted signers is given (--trust)")
        signers = self.keepers(trust_file)
        absent = [name for name in (trust.MANIFEST, trust.SIGNATURE) if not os.path.lexists(self.path / name)]
        if absent:
            self._distrusted([problem("is missing", file=self._label(name)) for name in absent])
        signed = self.manifest or b""
        signer, wrong = trust.judge(self.governance.files, signed, self._read(trust.SIGNATURE), signers, self.now)
        if wrong or signer is None:
            both = governance.conflict(signed, self._label(trust.MANIFEST))
            self._distrusted(both or [replace(p, file=self._label(p.file or "")) for p in wrong])
        return TrustState(
            True,
            signer.principal,
            version=trust.read_version(signed),
            key=signer.key.fingerprint,
            keepers={one.key.fingerprint: one.principal for one in signers.may(REGISTRY)},
        )

    @cached_property
    def manifest(self) -> bytes | None:
        """The bytes of registry.sha256, as they lie there; None where there is none. Raises as reading does."""
        return self._read(trust.MANIFEST) if os.path.lexists(self.path / trust.MANIFEST) else None

    def keepers(self, trust_file: Path) -> Signers:
        """Return those whose signature on the registry counts.

        Raises RefusedError where the file lies inside the registry or is not valid, UnavailableError where it is not
        there.
        """
        if files.leads_through(trust_file, self.path):
            raise RefusedError(
                f"the trust file {trust_file} lies inside the registry, or is reached through it",
                resolution="keep it outside: whoever edits the registry could name himself in it",
            )
        if not os.path.lexists(trust_file):
            raise UnavailableError(f"there is no trust file {trust_file}", resolution="check --trust")
        signers = approvers.parse(files.read(trust_file), str(trust_file))
        if signers.problems:
            raise RefusedError(f"the trust file {trust_file} is not valid", details=signers.problems)
        return signers

    def _distrusted(self, details: list[Problem]) -> NoReturn:
        raise RefusedError(
            f"the registry {self.path} is not what its keepers signed",
            details=details,
            resolution="see what changed; if it is right, one of the keepers runs: gcloud-pk registry sign --key KEY",
        )

    # --- tenants --------------------------------------------------------------------------------------------------

    @cached_property
    def tenants(self) -> dict[str, Entry]:
        """Every tenant's folder by name; no signature is verified for it."""
        return {name: self.entry(name) for name in self._names}

    @cached_property
    def _names(self) -> list[str]:
        return [one.name for one in self._list("tenants") if one.is_dir() and not self._misnamed(one.name)]

    @staticmethod
    def _misnamed(name: str) -> bool:
        return not re.fullmatch(LABEL_PATTERN, name) or len(name) > TENANT_LENGTH

    def _entry(self, name: str) -> Entry:
        folder = self.path / "tenants" / name
        file = str(folder / "request.yaml")
        problems: list[Problem] = []
        signed, reading = None, None
        kept: tuple[Accepted | Problem, ...] = ()
        present: set[str] = set()
        try:
            present = {entry.name for entry in self._list("tenants", name)}
            kept = tuple(self._history(name, present))
            signed = self._signed(folder, present, problems)
            reading = load(documents.parse(signed.data, file), TenantRequest)
        except InvalidInputError as error:
            problems.extend(error.details)
        optional: dict[str, bytes | None] = {}
        for part in ("state.yaml", "state.yaml.sig"):
            try:
                optional[part] = self._read("tenants", name, part) if part in present else None
            except InvalidInputError as error:
                problems.extend(error.details)
                optional[part] = b""  # there, and not to be believed: that closes
        lines: bytes | None = None
        try:
            lines = self._lines(name) if history.FILE in present else None
        except InvalidInputError as error:
            problems.extend(error.details)
        return Entry(
            name,
            folder,
            file,
            signed,
            reading,
            tuple(problems),
            tuple(one for one in kept if isinstance(one, Accepted)),
            optional["state.yaml"],
            optional["state.yaml.sig"],
            lines,
            tuple(one for one in kept if isinstance(one, Problem)),
            now=self.now,
        )

    def _lines(self, name: str) -> bytes:
        return files.read(self.path / "tenants" / name / history.FILE, root=self.path, limit=history.LIMIT)

    def _signed(self, folder: Path, present: set[str], problems: list[Problem]) -> Signed:
        data = files.read(folder / "request.yaml", root=self.path)
        found: dict[str, bytes] = {}
        for entry in self._list(*folder.relative_to(self.path).parts, "approvals") if "approvals" in present else ():
            name = entry.name.removesuffix(".sig")
            if name == entry.name or not approvers.PRINCIPAL.fullmatch(name):
                problems.append(
                    problem("is not an approval", file=folder / "approvals" / entry.name, expected="PRINCIPAL.sig")
                )
                continue
            found[name] = files.read(folder / "approvals" / entry.name, root=self.path)
        own = "request.yaml.sig"
        return Signed(data, found, files.read(folder / own, root=self.path) if own in present else None)

    def _history(self, name: str, present: set[str]) -> Iterator[Accepted | Problem]:
        """Yield what was accepted and is intact, and what is wrong with the rest."""
        if "history" in present:
            for entry in self._list("tenants", name, "history"):
                yield self._kept(name, entry.name)

    def _kept(self, name: str, digest: str) -> Accepted | Problem:
        folder = self.path / "tenants" / name / "history" / digest
        try:
            present = {entry.name for entry in self._list("tenants", name, "history", digest)}
            signed = self._signed(folder, present, [])
            if sha256(signed.data).hexdigest() != digest:
                return problem("is not the request that was accepted", file=folder / "request.yaml", expected=digest)
            reading = load(documents.parse(signed.data, str(folder / "request.yaml")), TenantRequest)
        except InvalidInputError as error:
            return error.details[0] if error.details else problem(error.message, file=folder)
        # The rules of today may be stricter than those it was accepted by: what it holds is held nonetheless.
        if reading.repaired is None or reading.repaired.metadata.name != name:
            return problem("is not this tenant's request", file=folder / "request.yaml", expected=f"tenant {name}")
        return Accepted(digest, reading.repaired, signed, folder, reading)

    def entry(self, name: str) -> Entry:
        """Return a tenant's folder; no other is read for it. Raises UnavailableError where there is no such tenant."""
        if name not in self._names:
            from difflib import get_close_matches

            near = get_close_matches(name, self._names, n=1)
            raise UnavailableError(
                f"the registry {self.path} has no tenant {name!r}",
                resolution=f"did you mean {near[0]}?" if near else "see: gcloud-pk request list",
            )
        if name not in self._entries:
            self._entries[name] = self._entry(name)
        return self._entries[name]

    @cached_property
    def surroundings(self) -> rules.Surroundings:
        """What each request is judged against: all others, valid or not.

        A tenant whose offboarding an approver signed keeps nothing but its name: what the name stands for in logs and
        evidence must not change. Unsigned, that closes it and frees nothing; a rejection frees nothing accepted.
        """
        others: dict[str, TenantRequest] = {}
        accepted: dict[str, TenantRequest] = {}
        for name, entry in self.tenants.items():
            if name in self._departed:
                continue
            given_up = (
                entry.digest is not None
                and entry.kept(entry.digest) is None
                and standing.is_given_up(entry.state[0], entry.chain, entry.digest, there=entry.state_file is not None)
            )
            if entry.reading and entry.reading.repaired and not given_up:
                others[name] = entry.reading.repaired
            last = entry.last_accepted
            if last and last.digest != entry.digest:
                accepted[name] = last.request
        found = self.governance
        return rules.Surroundings(
            found.organisations, found.settings, found.sites, others, accepted, tuple(self.tenants)
        )

    @cached_property
    def _departed(self) -> frozenset[str]:
        """The names of tenants whose offboarding an approver signed."""
        said = [
            entry
            for entry in self.tenants.values()
            if entry.state_signature and (record := entry.state[0]) and record.state == "offboarded"
            if record.tenant == entry.name
        ]
        if not said or self.governance.problems:
            return frozenset()
        self._verify([claim for entry in said for claim in self._state_claims(entry)])
        stands = {entry.name: self.standing(entry) for entry in said}
        return frozenset(name for name, one in stands.items() if one.state == "offboarded" and one.signer)

    def remainder(self, name: str) -> str:
        """Return what became of an offboarded tenant's groups and domains."""
        if name in self._departed:
            return "its groups and domains are free"
        return (
            "its groups and domains stay held until an approver signs the offboarding: gcloud-pk tenant offboard "
            f"{name} --confirm {name} --reason TEXT --key KEY"
        )

    def request_problems(self, reading: Reading[TenantRequest]) -> list[Problem]:
        """Return everything that is wrong with a request, in this registry."""
        return reading.ruled(lambda request: rules.request_problems(request, self.surroundings))

    def content_problems(self, entry: Entry) -> list[Problem]:
        """Return everything that is wrong with a tenant's request; signatures and state are judged elsewhere."""
        problems = list(entry.problems)
        if entry.reading:
            problems += self.request_problems(entry.reading)
            if entry.request and entry.request.metadata.name != entry.name:
                wrong = problem(
                    f"the folder is {entry.name!r}, the request is {entry.request.metadata.name!r}'s",
                    field="metadata.name",
                    expected=entry.name,
                )
                problems.append(entry.reading.document.located(wrong))
        return ordered(problems)

    # --- signatures -----------------------------------------------------------------------------------------------

    def _verify(self, claims: Sequence[Claim]) -> list[Signer | SignatureError]:
        fresh = [claim for claim in dict.fromkeys(claims) if claim not in self._verdicts]
        self._verdicts.update(zip(fresh, signatures.verify_all(fresh), strict=True))
        return [self._verdicts[claim] for claim in claims]

    def verify_all(self, at: Mapping[str, dt.datetime] | None = None, *, kept: bool = False) -> None:
        """Verify every tenant's signatures together, which is quicker than one tenant after another.

        `at`: by tenant, the moment at which approvals will be judged, where it is not now. `kept`: those beside the
        requests that were accepted once, too.
        """
        signers, moments = self.approvers, at or {}
        claims: list[Claim] = []
        for name, entry in self.tenants.items():
            if entry.signed:
                claims += approval.claims(entry.signed, signers, moments.get(name, self.now))
            claims += self._state_claims(entry)
            claims += [one.claim for one in self._kept_signatures(entry)] if kept else []
        self._verify(claims)

    def _kept_signatures(self, entry: Entry) -> list[review.Kept]:
        """Return the signatures of kept requests that are not the present one's very own: those are verified anyway."""
        present: set[tuple[str | None, bytes | None]] = set()
        if entry.signed is not None:
            present = {*entry.signed.approvals.items(), (None, entry.signed.request)}
        return [
            one
            for one in review.kept_signatures(entry, self.approvers, self.now)
            if one.accepted.digest != entry.digest or (one.name, one.claim.signature) not in present
        ]

    def approvals(self, entry: Entry, at: dt.datetime | None = None) -> Approvals:
        """Judge a tenant's approvals at a moment (now, if none is given). The request must be well formed."""
        if entry.signed is None or entry.request is None:
            raise ValueError("a request that cannot be read has no approvals")
        return self.judged(entry.signed, entry.request, at)

    def demand(self, request: TenantRequest) -> Demand:
        """Return whose approvals a request needs."""
        return demand.of(request, self.organisations, self.settings)

    def judged(self, signed: Signed, request: TenantRequest, at: dt.datetime | None = None) -> Approvals:
        """Judge the approvals of a request, the present one or a kept one, at a moment (now, if none is given)."""
        found = self.demand(request)
        return approval.judge(signed, request, found, self.approvers, at or self.now, self._verify)

    def _state_claims(self, entry: Entry) -> list[Claim]:
        if entry.state_file is None or entry.state_signature is None:
            return []
        # Judged at the moment that it names: a key that expires later does not undo what it set.
        record = entry.state[0]
        at = min(record.time, self.now) if record and record.time.tzinfo else self.now
        return [Claim(entry.state_file, entry.state_signature, STATE, self.approvers, at)]

    def standing(self, entry: Entry, digest: str | None = None) -> Standing:
        """Return where a tenant stands in its life.

        `digest`: for which of its requests, the present one if none is given: a rejection speaks of one alone.
        """
        file = str(entry.folder / "state.yaml")
        if entry.state_file is None:
            return standing.bound(Standing("active"), entry.chain, digest or entry.digest, file, there=False)
        signature: tuple[str | None, str | None] = (None, None)
        for verdict in self._verify(self._state_claims(entry)):
            if isinstance(verdict, SignatureError):
                signature = (None, verdict.message)
            elif reason := self.foreign(entry, verdict.principal):
                signature = (None, f"does not count: {reason}")
            else:
                signature = (verdict.principal, None)
        digests = {d for d in (entry.digest, *(kept.digest for kept in entry.history)) if d}
        stands = standing.judge(entry.name, digest or entry.digest, digests, entry.state, signature, file, self.now)
        return standing.bound(stands, entry.chain, digest or entry.digest, file, there=True)

    def foreign(self, entry: Entry, principal: str) -> str | None:
        """Return why a signer has no say about a tenant, being of another jurisdiction, or None."""
        request = entry.request or (entry.last_accepted.request if entry.last_accepted else None)
        return self.demand(request).objection(principal) if request else None

    def status(self, entry: Entry) -> Status:
        """Return the one word for a tenant's request."""
        stands = self.standing(entry)
        if stands.state in {"offboarded", "suspended", "rejected"}:
            return stands.state
        if stands.state is None or self.content_problems(entry) or entry.chain.problems or revisions.overtaken(entry):
            return "invalid"
        return "approved" if self.approvals(entry).sufficient else "pending"

    def entry_problems(self, entry: Entry) -> list[Problem]:
        """Return everything that is wrong with a tenant's folder.

        What a rejected request or an offboarded tenant asked for breaks no rule any more: others may have it now.
        """
        stands = self.standing(entry)
        problems = [*stands.problems, *entry.chain.problems]
        if stands.state in {"rejected", "offboarded"}:
            return problems
        problems += self.content_problems(entry)
        if older := revisions.overtaken(entry):
            problems.append(older)
        if entry.request:
            problems += [
                problem(refusal.message, file=entry.folder / refusal.file)
                for refusal in self.approvals(entry).refused
                if not refusal.superseded
            ]
        return ordered(problems)

    def accepted(self, name: str, at: dt.datetime | None = None) -> Tenant:
        """Return the tenant that an approved request makes.

        `at`: the moment at which the approvers' keys must be valid: when it was accepted, where that is recorded.
        Raises UnavailableError (no such tenant), InvalidInputError (content), RefusedError (state, approvals).
        """
        entry = self.entry(name)
        self._sound()
        self.check_open(entry)
        problems = self.content_problems(entry)
        request = entry.request
        if problems or request is None or entry.digest is None:
            raise InvalidInputError(
                f"the request of tenant {name} is not valid",
                details=problems,
                resolution=f"correct it, raise metadata.revision, then: gcloud-pk request submit {name}.yaml",
            )
        revisions.check_no_way_back(entry)
        approvals = self.approvals(entry, at)
        if not approvals.sufficient:
            raise self._unapproved(entry, approvals)
        return self._tenant(request, entry.digest, approvals)

    def standing_request(self, name: str, digest: str, at: dt.datetime | None = None) -> Tenant:
        """Return the tenant that an accepted request makes, while another one is pending, rejected or invalid.

        `digest`: SHA-256 of the accepted request, hexadecimal, as the cluster knows it (`Tenant.spec.requestDigest`).
        It is verified from `history/<digest>/` with the signatures kept there, at `at` (when it was accepted; now, if
        none is given), and by the rules of today. Where the present request has this digest and is not kept yet, it
        is `accepted(name, at)`.
        Raises UnavailableError (no such tenant), InvalidInputError (governance, or it breaks a rule of today),
        RefusedError (suspended, offboarded, this request rejected, not kept, keys that no longer count).
        """
        entry = self.entry(name)
        self._sound()
        kept = entry.kept(digest)
        if kept is None and digest == entry.digest:
            return self.accepted(name, at)
        self.check_open(entry, digest)
        if kept is None:
            raise RefusedError(
                f"tenant {name}: the registry keeps no accepted request of SHA-256 {digest}",
                details=[problem("is missing or not intact", file=entry.folder / "history" / digest)],
                resolution="restore it from version control, or submit and approve a new revision",
            )
        request = kept.reading.model
        if (problems := self.request_problems(kept.reading)) or request is None:
            raise InvalidInputError(
                f"the accepted request of tenant {name} (revision {kept.revision}) is no longer valid",
                details=problems,
                resolution="submit and approve a new revision that keeps to the rules of today",
            )
        approvals = self.judged(kept.signed, request, at)
        if not approvals.sufficient:
            details = [problem(refusal.message, file=kept.folder / refusal.file) for refusal in approvals.refused]
            if approvals.unsigned:
                details.append(
                    problem(f"the requester's signature {approvals.unsigned}", file=kept.folder / "request.yaml.sig")
                )
            raise RefusedError(
                f"tenant {name}: the approvals of its accepted request (revision {kept.revision}) no longer hold: "
                f"{len(approvals.have)} of {approvals.need}" + (f"; {approvals.missing}" if approvals.awaits else ""),
                details=details,
                resolution="submit a new revision and have it approved",
            )
        return self._tenant(request, digest, approvals)

    def _tenant(self, request: TenantRequest, digest: str, approvals: Approvals) -> Tenant:
        organisation = self.organisations[request.spec.organisation]
        site = place(request, self.sites, self.demand(request).binding)
        grants = self.waivers.grants(request.metadata.name)
        return Tenant(request, digest, organisation, self.settings, site, UNREGISTERED, approvals.have, grants)

    def check_still_open(self, tenant: Tenant) -> None:
        """Read one tenant's folder anew; raise RefusedError where it closes the tenant by now, or dropped its request.

        What decides for all counts as it was read, and as its keepers signed it. Of the other tenants nothing is read.
        """
        name, fresh = tenant.name, replace(self, now=dt.datetime.now(dt.UTC))
        fresh.governance = self.governance
        entry = replace(self._entry(name), now=fresh.now)
        fresh.check_open(entry, tenant.digest)
        fresh.check_chain(entry)
        if tenant.digest != entry.digest and entry.kept(tenant.digest) is None:
            raise RefusedError(
                f"the request of tenant {name} is another by now (SHA-256 {entry.digest or 'unreadable'})",
                details=[problem("changed since the run began", file=entry.file, expected=f"SHA-256 {tenant.digest}")],
                resolution="run it again: it plans what the registry says now",
            )

    def check_open(self, entry: Entry, digest: str | None = None) -> None:
        """Raise RefusedError where the tenant's state closes it; `digest` as for `standing`."""
        stands = self.standing(entry, digest)
        if stands.state == "active":
            return
        if stands.state is None:
            raise RefusedError(
                f"tenant {entry.name}: state.yaml does not hold, so the tenant counts as closed",
                details=stands.problems,
                resolution="an approver signs anew that it is active: gcloud-pk tenant resume "
                f"{entry.name} --reason TEXT --key KEY; or close it: gcloud-pk tenant suspend {entry.name} "
                "--reason TEXT",
            )
        record = stands.record
        why = f" by {in_line(record.by)}: {in_line(record.reason)}" if record else ""
        what = "the request of tenant" if stands.state == "rejected" else "tenant"
        todo = {
            "rejected": "correct the request, raise metadata.revision, and submit it again",
            "suspended": f"an approver resumes it: gcloud-pk tenant resume {entry.name} --reason TEXT --key KEY",
            "offboarded": f"its name stays reserved; ask for a tenant of another name ({self.remainder(entry.name)})",
        }
        raise RefusedError(
            f"{what} {entry.name} is {stands.state}{why}", details=stands.problems, resolution=todo[stands.state]
        )

    def _unapproved(self, entry: Entry, approvals: Approvals) -> RefusedError:
        details = [problem(refusal.message, file=entry.folder / refusal.file) for refusal in approvals.refused]
        if approvals.unsigned:
            details.append(
                problem(
                    f"the requester's signature {approvals.unsigned}",
                    file=entry.folder / "request.yaml.sig",
                    expected="a signature in namespace gcloud-pk-request: data of this class needs one",
                )
            )
        got = f" ({', '.join(approvals.have)})" if approvals.have else ""
        missing = f"; {approvals.missing}" if approvals.awaits else ""
        return RefusedError(
            f"tenant {entry.name}: {len(approvals.have)} of {approvals.need} approvals{got}{missing}",
            details=details,
            resolution=f"an approver runs: gcloud-pk request approve {entry.name} --key KEY"
            if approvals.awaits
            else "the requester signs it: gcloud-pk request submit FILE --key KEY",
        )

    # --- waivers --------------------------------------------------------------------------------------------------

    @cached_property
    def circumstances(self) -> Circumstances:
        """What waivers are judged by. Raises InvalidInputError where anything that decides for all is not valid."""
        environments = {name: waivers.environments(entry) for name, entry in self.tenants.items()}

        def foreign(tenant: str, principal: str) -> str | None:
            entry = self.entry(tenant)
            request = entry.reading.repaired if entry.reading else None
            return self.demand(request).objection(principal) if request else None

        return Circumstances(
            self.approvers,
            self.now,
            environments,
            lambda name: self.entry(name).chain,
            foreign,
            self._verify,
            {name: frozenset(host.name for host in site.spec.hosts) for name, site in self.sites.items()},
        )

    @cached_property
    def waivers(self) -> Waivers:
        """All waivers, judged at this moment; one that cannot be believed does not count. Raises as `circumstances`."""
        try:
            filed, stray = waivers.read(self.path)
        except InvalidInputError as error:
            return waivers.unreadable(error)
        return waivers.judge(filed, stray, self.circumstances) if filed or stray else Waivers({})

    # --- the whole ------------------------------------------------------------------------------------------------

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong in the registry, by file and line. That approvals are outstanding is not wrong."""
        problems = [*self.governance.problems, *templates.problems(self.path)]
        problems += [found for found, serious in self.expired.values() if serious]
        for item in self._list("tenants"):
            if item.name == "README.md":
                continue
            if not item.is_dir() or self._misnamed(item.name):
                problems.append(
                    problem("is not a tenant's folder", file=self._label("tenants", item.name), expected="a DNS label")
                )
        if not self.governance.problems:
            self.verify_all(kept=True)
        for entry in self.tenants.values():
            # Where governance is not valid, it is not known who may sign.
            problems += (
                [*self.content_problems(entry), *entry.chain.problems]
                if self.governance.problems
                else self.entry_problems(entry)
            )
            problems += [*entry.broken, *suspension.problems(self, entry)]
        if not self.governance.problems:
            kept = [one for entry in self.tenants.values() for one in self._kept_signatures(entry)]
            problems += review.damaged(kept, self._verdicts)
            problems += waivers.registry_problems(self.waivers)
        return tuple(ordered(problems))

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What somebody should know of, and need not mend."""
        of_tenants = (note for entry in self.tenants.values() for note in (*entry.notes, *self._contradiction(entry)))
        expired = (found for found, serious in self.expired.values() if not serious)
        return (*of_tenants, *self._idle_clusters(), *expired, *self.place_notes)

    @cached_property
    def place_notes(self) -> tuple[Problem, ...]:
        """Names of cities that may be typing errors, and cities in two seismic zones."""
        readings = self.governance.site_files
        return tuple(
            placed for name, note in place_notes(self.governance.sites) for placed in readings[name].placed([note])
        )

    @cached_property
    def expired(self) -> dict[str, tuple[Problem, bool]]:
        """Sites whose accreditation has expired → that it has, and whether that is an error rather than a note.

        It is no reason to stop what repairs or closes: it makes the registry invalid for `registry check` alone.
        """
        found: dict[str, tuple[Problem, bool]] = {}
        for name, reading in sorted(self.governance.site_files.items()):
            expired = accreditation_problem(reading.repaired, self.now.date()) if reading.repaired else None
            if expired and (placed := reading.placed([expired[0]])):
                found[name] = placed[0], expired[1]
        return found

    def _idle_clusters(self) -> Iterator[Problem]:
        """Yield which clusters are kept for somebody who is not there, or who does not ask for one of his own."""
        for name, site in sorted(self.governance.sites.items()):
            for index, cluster in enumerate(site.spec.clusters):
                entry = self.tenants.get(cluster.dedicated_to or "")
                request = entry.reading.repaired if entry and entry.reading else None
                if cluster.dedicated_to is None or (request and request.spec.isolation == "dedicated-cluster"):
                    continue
                why = "asks for no cluster of its own" if entry else "is not in the registry"
                yield problem(
                    f"cluster {cluster.name} is kept for tenant {cluster.dedicated_to}, which {why}",
                    file=self._label("sites", f"{name}.yaml"),
                    field=f"spec.clusters[{index}].dedicatedTo",
                )

    def _contradiction(self, entry: Entry) -> Iterator[Problem]:
        """Yield that a request was accepted and rejected: neither alone allows the other, two clones at once do."""
        kept = entry.kept(entry.digest)
        if kept and self.standing(entry).state == "rejected":
            yield problem(
                "accepted and rejected at the same time: the rejection holds; "
                f"to go on, submit revision {kept.revision + 1}",
                file=entry.file,
            )

    def past(self, entry: Entry) -> review.Review:
        """Judge a tenant's past: its history, the requests that were accepted, and their signatures."""
        kept = review.kept_signatures(entry, self.approvers, self.now)
        verdicts = self._verify([one.claim for one in kept])
        return review.review(entry, kept, verdicts, self.approvers)

    # --- writing --------------------------------------------------------------------------------------------------

    def keep(self, name: str, at: dt.datetime | None = None) -> Accepted:
        """Keep an accepted request with its signatures under `history/<sha256>/`; does nothing where it is kept.

        `at` as for `accepted`. Raises as that does, and UnavailableError where it cannot be written.
        """
        tenant = self.accepted(name, at)
        entry = self.entry(name)
        if entry.signed is None or entry.reading is None or entry.request is None:
            raise ValueError("an accepted request can be read")
        folder = entry.folder / "history" / tenant.digest
        contents = {"request.yaml": entry.signed.data}
        if entry.signed.request is not None:
            contents["request.yaml.sig"] = entry.signed.request
        for principal in tenant.approvers:
            contents[f"approvals/{principal}.sig"] = entry.signed.approvals[principal]
        with files.locked(self.path):
            if not os.path.lexists(folder):
                files.write_folder(folder, contents, root=self.path)
            else:
                for part, data in contents.items():
                    if not self._same(folder / part, data):
                        files.write(folder / part, data, root=self.path)
        return Accepted(tenant.digest, entry.request, entry.signed, folder, entry.reading)

    def _same(self, path: Path, data: bytes) -> bool:
        return os.path.lexists(path) and files.read(path, root=self.path) == data

    def record(
        self,
        name: str,
        act: Act,
        actor: str,
        *,
        digest: str | None = None,
        revision: int | None = None,
        cluster: str | None = None,
        detail: Mapping[str, str | int] | None = None,
        once: bool = False,
    ) -> str:
        """Append an act to a tenant's history.jsonl; return the new head: SHA-256 of the line, hexadecimal.

        `digest`, `revision`: the present request's, if none is given; `cluster`: UID. `once`: where the last act of
        this kind was this very one, nothing is appended, and the head as it is is returned. The folder is read anew,
        and its lock is taken: the caller must not hold it.
        Raises RefusedError where the history does not hold together (what closes is appended nonetheless),
        UnavailableError where there is no such tenant or it cannot be written.
        """
        file = self.path / "tenants" / name / history.FILE
        said = dict(detail or {})
        with files.locked(self.path):
            if self._misnamed(name) or not file.parent.is_dir():
                Registry.open(self.path).entry(name)  # raises, naming the nearest
            before = self._lines(name) if os.path.lexists(file) else None
            now = dt.datetime.now(dt.UTC)
            chain = history.Chain(str(file)) if before is None else history.read(before, str(file), name, now)
            if act not in history.CLOSING:
                self._check_chain(name, chain)
            if digest is None or revision is None:
                entry = self._entry(name)
                digest = digest or entry.digest
                revision = revision or self._revision(entry, digest)
            if once and chain.head and chain.says(act, actor, digest, cluster, said):
                return chain.head
            line = history.line(
                chain,
                name,
                act,
                actor,
                time=now,
                digest=digest,
                revision=revision,
                cluster=cluster,
                detail=said,
            )
            # A line that was cut off must not swallow this one.
            whole = before if not before or before.endswith(b"\n") else before + b"\n"
            files.write(file, (whole or b"") + line, root=self.path)
        return sha256(line).hexdigest()

    @staticmethod
    def _revision(entry: Entry, digest: str | None) -> int | None:
        if digest == entry.digest and entry.reading and entry.reading.repaired:
            return entry.reading.repaired.metadata.revision
        kept = entry.kept(digest)
        return kept.revision if kept else None

    def check_chain(self, entry: Entry) -> None:
        """Raise RefusedError where a tenant's history was changed: nothing more is opened on what it says."""
        self._check_chain(entry.name, entry.chain)

    @staticmethod
    def _check_chain(name: str, chain: history.Chain) -> None:
        if chain.problems:
            raise RefusedError(
                f"the history of tenant {name} does not hold together: lines were changed, moved or lost",
                details=chain.problems,
                resolution=f"restore {chain.file} from version control",
            )

    def set_state(self, name: str, state: StateName, by: str, reason: str, key: Path | None = None) -> None:
        """Write state.yaml, signed where a key is given. Raises RefusedError for `active` without one.

        `by` is replaced by the key's principal. Raises InvalidInputError for texts that cannot be shown.
        """
        entry = self.entry(name)
        signers = self.approvers if key else None
        if signers and key:
            by = signatures.entitled(key, STATE, signers, self.now).principal
            if foreign := self.foreign(entry, by):
                raise RefusedError(f"tenant {name}: this signature would not count: {foreign}")
        elif state == "active":
            raise RefusedError(f"tenant {name}: only an approver's signature makes it active", resolution="give a key")
        digest, last = entry.digest, entry.last_accepted
        if last and (digest is None or (state == "active" and entry.kept(digest) is None)):
            # A signed `active` must outlive the request that waits now.
            digest = last.digest
        now = dt.datetime.now(dt.UTC)
        data = standing.write(state, by, reason, name, digest, entry.chain.moment(now))
        record, problems = standing.read(data, str(entry.folder / "state.yaml"))
        if record is None:
            # There is no file yet that a line could be named of.
            details = [replace(found, file=None, line=None) for found in problems]
            raise InvalidInputError(f"tenant {name}: the state cannot be written", details=details)
        signature = None
        if signers and key:
            signature = signatures.sign_as(data, key, STATE, signers, dt.datetime.now(dt.UTC))[0]
        target, beside = entry.folder / "state.yaml", entry.folder / "state.yaml.sig"
        with files.locked(self.path):
            # Whoever is killed in between leaves the tenant closed: what opens is nothing without its signature.
            if state == "active" and signature:
                files.write(beside, signature, root=self.path)
                files.write(target, data, root=self.path)
                return
            files.write(target, data, root=self.path)
            if signature:
                files.write(beside, signature, root=self.path)
            else:
                files.remove(beside, root=self.path)
