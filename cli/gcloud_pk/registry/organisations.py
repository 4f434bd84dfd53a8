"""Organisations of a registry: one more in the file, and what the tenants of each and of all below it hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gcloud_pk.errors import InvalidInputError, Problem, RefusedError
from gcloud_pk.model.organisation import Organisation, Organisations
from gcloud_pk.model.quantity import Quantity, total
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry import documents
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.readings import load
from gcloud_pk.registry.writing import list_entry

_RESOURCES = ("cpu", "memory", "storage")


def with_organisation(data: bytes, fields: Mapping[str, Any], file: str) -> bytes:
    """Return the bytes of organisations.yaml with one more at the end; those that are there stay as they are.

    `fields`: YAML names, plain values. Raises InvalidInputError where they are no organisation, RefusedError where the
    file is not a list of entries that begin with `-`.
    """
    if wrong := _problems(fields):
        raise InvalidInputError(f"{fields.get('code')!r} cannot be an organisation so", details=wrong)
    text = data.decode("utf-8")
    listed = documents.parse(data, file).value
    lines = text.splitlines()
    if listed:
        begins = re.match(r"( *)- ", lines[listed.lines[0] - 1])
        indent = begins[1] if begins else ""
    else:
        # An empty list stands as `[]`, with the comments that explain the file.
        text = re.sub(r"(?m)^\[\][ ]*(#.*)?$\n?", "", text)
        indent = ""
    head = text if not text or text.endswith("\n") else text + "\n"
    gap = "\n" if head.strip() and listed else ""
    made = f"{head}{gap}{list_entry(fields, indent)}".encode()
    if _reads(made, file) != [*listed, fields]:
        raise RefusedError(
            f"{file} is not written as a list of entries that begin with '- code:'",
            resolution="write it so, or add the organisation by hand",
        )
    return made


def _problems(fields: Mapping[str, Any]) -> list[Problem]:
    try:
        found = load(documents.parse(list_entry(fields).encode(), "the new entry"), Organisations).problems
    except InvalidInputError as error:
        found = error.details
    # There is no line yet that could be named.
    return [replace(one, file=None, line=None, field=(one.field or "").removeprefix("[0].") or None) for one in found]


def _reads(data: bytes, file: str) -> object:
    try:
        return documents.parse(data, file).value
    except InvalidInputError:
        return None


@dataclass(frozen=True)
class Holding:
    """What accepted tenants hold: their number, and the sums of their environments' quotas (cores and bytes)."""

    tenants: int
    cpu: Quantity
    memory: Quantity
    storage: Quantity

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `own` and `total` in `organisation list --format json`."""
        return {"tenants": self.tenants, **{name: str(getattr(self, name)) for name in _RESOURCES}}


def accepted_requests(registry: Registry) -> Iterator[TenantRequest]:
    """Yield what each tenant holds: its present request where that is approved, else the one accepted last."""
    registry.verify_all()
    for entry in registry.tenants.values():
        status, last = registry.status(entry), entry.last_accepted
        if status == "approved" and entry.request:
            yield entry.request
        elif status != "offboarded" and last:
            yield last.request


def holdings(
    organisations: Mapping[str, Organisation], requests: Iterable[TenantRequest]
) -> dict[str, tuple[Holding, Holding]]:
    """Return code → what its own tenants hold, and what those of all below it by `parent` hold as well.

    `requests`: the accepted request of each tenant, once. The parents must be a forest, as the rules of reading demand.
    """
    own: dict[str, list[TenantRequest]] = {code: [] for code in organisations}
    for request in requests:
        if request.spec.organisation in own:  # what was accepted once may be of an organisation that is gone
            own[request.spec.organisation].append(request)
    below: dict[str, list[TenantRequest]] = {code: [] for code in organisations}
    for code, listed in own.items():
        above: str | None = code
        while above is not None:
            below[above] += listed
            above = organisations[above].parent
    return {code: (_sum(own[code]), _sum(below[code])) for code in organisations}


def _sum(requests: list[TenantRequest]) -> Holding:
    quotas = [environment.quota for request in requests for environment in request.spec.environments]
    return Holding(len(requests), *(total([getattr(quota, name) for quota in quotas]) for name in _RESOURCES))
