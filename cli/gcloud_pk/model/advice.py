"""What is allowed in a request and seldom meant. Pure; a warning never makes a request invalid."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings


def request_warnings(request: TenantRequest, settings: Settings, today: dt.date) -> list[Problem]:
    """Return warnings by field. `settings`: the registry's, for the prefix of groups; `today`: UTC."""
    return [*_review(request, today), *_prefixed(request, settings), *_internal(request)]


def _review(request: TenantRequest, today: dt.date) -> Iterator[Problem]:
    day = request.spec.review_after
    if day is not None and day < today:
        yield problem(f"{day} is past already", field="spec.reviewAfter", expected="a day to come")


def _prefixed(request: TenantRequest, settings: Settings) -> Iterator[Problem]:
    prefix, access = settings.groups_prefix, request.spec.access
    for role, groups in (("admins", access.admins), ("developers", access.developers), ("auditors", access.auditors)):
        for i, group in enumerate(groups):
            if prefix and group.startswith(prefix):
                yield problem(
                    f"group {group!r} begins with {prefix!r}, which is put before it: {settings.bound_group(group)!r}",
                    field=f"spec.access.{role}[{i}]",
                    expected=repr(group.removeprefix(prefix)),
                )


def _internal(request: TenantRequest) -> Iterator[Problem]:
    for i, environment in enumerate(request.spec.environments):
        if environment.exposure == "internal" and environment.allow_from:
            yield problem(
                f"exposure is 'internal', and {', '.join(environment.allow_from)} may reach it all the same",
                field=f"spec.environments[{i}].allowFrom",
                expected="no network, or exposure government",
            )


def is_overdue(day: str | None, today: dt.date) -> bool:
    """Whether a day (YYYY-MM-DD) after which a tenant is reviewed is past; what is no day never is."""
    try:
        return day is not None and dt.date.fromisoformat(day) < today
    except ValueError:
        return False
