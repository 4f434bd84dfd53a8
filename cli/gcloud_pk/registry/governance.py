"""What decides for all tenants: settings, organisations, approvers and sites, read once each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.model import federation, rules
from gcloud_pk.model.organisation import Organisation, Organisations
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Site
from gcloud_pk.registry import approvers, documents, files, sites
from gcloud_pk.registry.approvers import APPROVAL, Signers
from gcloud_pk.registry.readings import M, Reading, load, ordered

ORGANISATIONS = "organisations.yaml"
APPROVERS = "approvers"
SETTINGS = "settings.yaml"


@dataclass(frozen=True)
class Governance:
    """What decides for all tenants. `files`: path → the bytes that were read; trust covers exactly these.

    `site_files`: the sites as they were read, to say where in them something stands.
    """

    settings: Settings
    organisations: Mapping[str, Organisation]
    approvers: Signers
    sites: Mapping[str, Site]
    files: Mapping[str, bytes]
    problems: tuple[Problem, ...]
    site_files: Mapping[str, Reading[Site]]


_SITE = re.compile(r"sites/[^/]+\.yaml")
_CONFLICT = re.compile(rb"^<<<<<<< ", re.MULTILINE)


def conflict(data: bytes, file: str) -> list[Problem]:
    """Return that a file, which cannot be read, holds both sides of a conflict in git; nothing where it does not."""
    found = _CONFLICT.search(data)
    if found is None:
        return []
    line = data.count(b"\n", 0, found.start()) + 1
    expected = "both sides brought together, then gcloud-pk registry sign"
    return [problem("holds a git conflict", file=file, line=line, expected=expected)]


class _Reader:
    """Reads the files of one registry, and gathers their bytes and their problems."""

    def __init__(self, root: Path, instead: Mapping[str, bytes]) -> None:
        self.root = root
        self.instead = instead
        self.data: dict[str, bytes] = {}
        self.problems: list[Problem] = []

    def label(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))

    def content(self, *parts: str, limit: int = files.LIMIT) -> bytes | None:
        try:
            return self.read(*parts, limit=limit)
        except InvalidInputError as error:
            self.problems.extend(error.details)
            return None

    def read(self, *parts: str, limit: int) -> bytes:
        name = "/".join(parts)
        there = self.instead.get(name)
        path = self.root.joinpath(*parts)
        self.data[name] = read = files.read(path, root=self.root, limit=limit) if there is None else there
        return read

    def document(self, model: type[M], *parts: str) -> Reading[M] | None:
        data = self.content(*parts)
        if data is None:
            return None
        try:
            return load(documents.parse(data, self.label(*parts)), model)
        except InvalidInputError as error:
            self.problems.extend(conflict(data, self.label(*parts)) or error.details)
            return None

    def settings(self) -> Reading[Settings] | None:
        if not os.path.lexists(self.root / SETTINGS) or not (found := self.document(Settings, SETTINGS)):
            return None
        self.problems.extend(found.ruled(rules.settings_problems))
        return found

    def references(self, found: Reading[Settings], signers: Signers) -> None:
        """Compare what settings name with approvers and sites; a file that cannot be read is no reason to complain."""
        sites = {name.removeprefix("sites/").removesuffix(".yaml") for name in self.data if _SITE.fullmatch(name)}
        principals: dict[str, bool] | None = None
        if not signers.problems:
            principals = dict.fromkeys((one.signer.principal for one in signers.revoked), True)
            principals |= {signer.principal: APPROVAL in signer.namespaces for signer in signers.listed}
        self.problems.extend(found.ruled(lambda settings: federation.reference_problems(settings, sites, principals)))

    def organisations(self) -> dict[str, Organisation]:
        listed = self.document(Organisations, ORGANISATIONS)
        if listed is None:
            return {}
        self.problems.extend(listed.ruled(lambda found: rules.organisation_problems(found.root)))
        return {o.code: o for o in (listed.repaired.root if listed.repaired else ())}

    def approvers(self) -> Signers:
        data = self.content(APPROVERS) or b""
        signers = approvers.parse(data, self.label(APPROVERS))
        self.problems.extend((signers.problems and conflict(data, signers.file)) or signers.problems)
        return signers

    def site(self, name: str) -> Reading[Site] | None:
        file = f"{name}.yaml"
        data = self.content("sites", file, limit=sites.LIMIT)
        if data is None:
            return None
        try:
            return sites.read(data, self.label("sites", file), self._table)
        except InvalidInputError as error:
            self.problems.extend(conflict(data, self.label("sites", file)) or error.details)
            return None

    def _table(self, name: str) -> tuple[bytes, str] | None:
        if not os.path.lexists(self.root / "sites" / name):
            return None
        data = self.read("sites", name, limit=sites.LIMIT)
        if found := conflict(data, self.label("sites", name)):
            raise InvalidInputError(f"{name} holds a git conflict", details=found)
        return data, self.label("sites", name)

    def sites(self) -> dict[str, Reading[Site]]:
        names = [entry.name for entry in files.entries(self.root / "sites", root=self.root)]
        found = {name.removesuffix(".yaml"): self.site(name.removesuffix(".yaml")) for name in names if _yaml(name)}
        for name in names:
            # A table of a site that cannot be read may well be one.
            unread = found.get(name.partition(".")[0], False) is None
            if not _yaml(name) and f"sites/{name}" not in self.data and not (name.endswith(".csv") and unread):
                expected = "NAME.yaml, or a table that spec.tables of one names"
                self.problems.append(problem("is not a site", file=self.label("sites", name), expected=expected))
        readings = {name: reading for name, reading in found.items() if reading}
        of_rules = rules.site_problems({name: one.repaired for name, one in readings.items() if one.repaired})
        for name, reading in readings.items():
            self.problems.extend(reading.problems)
            self.problems.extend(reading.placed(wrong for site, wrong in of_rules if site == name))
        return readings


def _yaml(name: str) -> bool:
    return name.endswith(".yaml")


def read(root: Path, instead: Mapping[str, bytes] | None = None) -> Governance:
    """Read what decides for all tenants of the registry at `root`. What is wrong stands in `problems`.

    `instead`: path → bytes that count in place of those of the file: what would be if they were written.
    """
    reader = _Reader(root, instead or {})
    found, organisations = reader.settings(), reader.organisations()
    signers, readings = reader.approvers(), reader.sites()
    if found:
        reader.references(found, signers)
    settings = (found.model if found else None) or Settings()
    known = {name: one.repaired for name, one in readings.items() if one.repaired}
    problems = tuple(ordered(reader.problems))
    return Governance(settings, organisations, signers, known, reader.data, problems, readings)
