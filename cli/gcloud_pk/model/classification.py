"""What a data class allows: the federal floor that settings may tighten and never loosen.

Source: Pakistan Cloud First Policy 2022 (five classes; a public cloud holds Open and Public only; government data from
Restricted on stays in the government's cloud in Pakistan). Isolation and approvals of Secret are this project's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Classification = Literal["open", "public", "restricted", "confidential", "secret"]
Isolation = Literal["namespace", "dedicated-nodes", "dedicated-cluster"]
Exposure = Literal["internal", "government", "internet"]
SiteKind = Literal["government", "public-cloud"]

CLASSES: tuple[Classification, ...] = get_args(Classification)
ISOLATION_LEVELS: tuple[Isolation, ...] = get_args(Isolation)
EXPOSURES: tuple[Exposure, ...] = get_args(Exposure)


@dataclass(frozen=True, slots=True)
class ClassRule:
    """Least isolation, widest exposure, kinds of site, and approvals by distinct keys."""

    isolation: Isolation
    exposure: Exposure
    site_kinds: tuple[SiteKind, ...]
    approvals: int


FLOOR: dict[Classification, ClassRule] = {
    "open": ClassRule("namespace", "internet", ("government", "public-cloud"), 1),
    "public": ClassRule("namespace", "internet", ("government", "public-cloud"), 1),
    "restricted": ClassRule("namespace", "government", ("government",), 1),
    "confidential": ClassRule("namespace", "government", ("government",), 1),
    "secret": ClassRule("dedicated-nodes", "government", ("government",), 2),
}
