"""`tenants/<tenant>/state.yaml`: where a tenant stands in its life. Absent: active."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gcloud_pk.model.base import Digest, DnsLabel, Line, Model, Prose

StateName = Literal["active", "suspended", "offboarded", "rejected"]


def _moment(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z", value):
        return value
    raise ValueError("expected a UTC time as YYYY-MM-DDThh:mm:ssZ")


Moment = Annotated[dt.datetime, BeforeValidator(_moment)]
"""A time of day in UTC, RFC 3339."""


class State(Model):
    """Who set the state, why and when (UTC). `digest` names the request it speaks of, where it speaks of one.

    `tenant` keeps a signed state from being moved to another tenant's folder.
    """

    state: StateName = Field(description="active, suspended, offboarded or rejected")
    by: Line = Field(description="who set it")
    reason: Prose = Field(description="why")
    time: Moment = Field(description="when, YYYY-MM-DDThh:mm:ssZ")
    tenant: DnsLabel | None = Field(None, description="the tenant it speaks of; needed where it is signed")
    digest: Digest | None = Field(None, description="SHA-256 of the request it speaks of")
