"""What isolation stands on: an API server of a version that can hold it, and the platform as this version installs it.

Its findings are the cluster's, not a tenant's: where they fail, what fails for the tenants has one cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gcloud_pk import __version__
from gcloud_pk.cluster.kinds import (
    NAMESPACE,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    Kind,
    ObjectKey,
    key_of,
)
from gcloud_pk.cluster.likeness import unlike_as_installed
from gcloud_pk.cluster.live import Objects, fetch
from gcloud_pk.cluster.plan import plan
from gcloud_pk.cluster.transport import Answer, Api, Identity
from gcloud_pk.cluster.waiting import ask_canary
from gcloud_pk.errors import GcloudPkError, UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.onboarding.platform import SHARED
from gcloud_pk.proof.contents import Item
from gcloud_pk.proof.refusal import missing_right
from gcloud_pk.proof.surroundings import without_owners
from gcloud_pk.render.platform import PLATFORM_VERSION, platform_message, platform_objects

SUBJECT = "cluster"

TITLES = {
    "ISO-630": "The admission policies and their bindings are those of this version, and every binding denies",
    "ISO-631": "The API server enforces the admission policies of this version",
    "ISO-632": "The definitions, roles and bindings that all tenants share are those of this version",
}
_CONTROLS = {"ISO-630": ("GPK-ADM-001",), "ISO-631": ("GPK-ADM-001",), "ISO-632": ("GPK-ACC-001",)}

_POLICIES = (VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING)
_SELECTOR = f"{labels.MANAGED}={labels.MANAGED_BY_PLATFORM},!{labels.TENANT}"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_IMPERSONATION_SINCE = (1, 36)


def items() -> list[Item]:
    """Return the checks of this module."""
    return [Item(name, title, _CONTROLS[name], "live objects", "the whole cluster") for name, title in TITLES.items()]


def check_version(api: Api) -> str:
    """Return the API server's version, `v1.36.3`. Raises UnavailableError where nothing of this could be shown on it.

    ValidatingAdmissionPolicy is v1 since Kubernetes 1.30, constrained impersonation (KEP-5284), by which a verifier
    acts as a tenant, works since 1.36; before that, a verifier needs the right to impersonate without constraint.
    """
    said = api.request("GET", "/version")
    version = str(said.body.get("gitVersion") or "of an unknown version") if said.ok else "of an unknown version"
    listed = api.request("GET", _ADMISSION)
    served = {str(each.get("name")) for each in listed.body.get("resources") or ()} if listed.ok else set()
    if (listed.ok or listed.status == 404) and VALIDATING_ADMISSION_POLICY.plural not in served:
        raise UnavailableError(
            f"the API server ({version}) does not serve ValidatingAdmissionPolicy of admissionregistration.k8s.io/v1: "
            "nothing refuses what tenants must not do",
            resolution="upgrade the cluster to Kubernetes 1.36 or newer (1.30 is the first that has this API)",
        )
    found = _VERSION.match(version)
    if found and (int(found[1]), int(found[2])) < _IMPERSONATION_SINCE and not _may_impersonate(api):
        raise UnavailableError(
            f"the API server is {version}: constrained impersonation, by which gcloud-pk:verifier acts as a tenant, "
            "needs Kubernetes 1.36",
            resolution="upgrade the cluster, or give a --verify-context that may impersonate users and groups",
        )
    return version


def _may_impersonate(api: Api) -> bool:
    attributes = {"verb": "impersonate", "resource": "users", "name": labels.PROBE_USER}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = api.request("POST", path, params={"dryRun": "All"}, body=body)
    return bool(answer.ok and (answer.body.get("status") or {}).get("allowed"))


def findings(api: Api, wanted: frozenset[str] | None = None) -> list[Finding]:
    """Return the findings on what all tenants share. `wanted`: ids; None: all. `api` is the verifier's own."""
    found: list[Finding] = []
    chosen = [name for name in TITLES if wanted is None or name in wanted]
    for name in chosen:
        try:
            found.append(_canary(api) if name == "ISO-631" else _compared(api, name))
        except GcloudPkError as error:
            found.append(_finding(name, Verdict.ERROR, "could not be read", reason=error.message))
    return found


def _compared(api: Api, name: str) -> Finding:
    of_policies = name == "ISO-630"
    kinds = tuple(kind for kind in SHARED if (kind in _POLICIES) is of_policies)
    audit_ids: dict[Kind, list[str]] = {}
    live = fetch(api, kinds, selector=_SELECTOR, audit_ids=audit_ids)
    evidence: dict[str, Any] = {
        "requests": [
            {"request": f"GET {kind.path()}?labelSelector={_SELECTOR}", "status": 200, "auditId": each}
            for kind in kinds
            for each in audit_ids.get(kind, ())
        ]
    }
    desired = {key_of(made): made for made in platform_objects() if key_of(made).kind in kinds}
    problems = [*_versions(live), *_differences(desired, live)]
    problems += _toothless(live) if of_policies else ()
    if not problems:
        return _finding(name, Verdict.PASS, f"all {len(desired)} are there, and as installed", evidence=evidence)
    said = "; ".join(problems)
    evidence["objects"] = [without_owners(live[key]) for key in sorted(live) if key.name in said]
    return _finding(name, Verdict.FAIL, said, reason="see: gcloud-pk cluster init", evidence=evidence)


def _differences(desired: Objects, live: Objects) -> Iterator[str]:
    """Yield what is missing, changed in any way (a condition that was added narrows a wall), or not of this version."""
    for key, made in desired.items():
        if key not in live:
            yield f"{key}: missing"
        elif key.kind == NAMESPACE:
            changes = plan([made], {key: live[key]}).writes  # its spec is the server's own
            yield from (f"{key}: {field}" for change in changes for field in change.fields)
        elif wrong := unlike_as_installed(made, live[key]):
            yield f"{key}: {', '.join(wrong)}"
        elif "deletionTimestamp" in live[key]["metadata"]:
            yield f"{key}: is being deleted"
    yield from (f"{key}: not of this version" for key in sorted(live.keys() - desired.keys()))


def _versions(live: Objects) -> Iterator[str]:
    """Yield that the platform is of another version: one cause of all the differences that follow."""
    versions = {(o["metadata"].get("annotations") or {}).get(PLATFORM_VERSION) for o in live.values()}
    others = sorted(version for version in versions if version not in {None, __version__})
    if others:
        yield f"installed by gcloud-pk {', '.join(others)}, this is {__version__}"


def _toothless(live: Mapping[ObjectKey, Mapping[str, object]]) -> Iterator[str]:
    """Yield the bindings by which nothing is refused, in words that say what that means."""
    for key, found in sorted(live.items(), key=lambda pair: pair[0].name):
        spec = found.get("spec")
        actions: Sequence[str] = (spec.get("validationActions") if isinstance(spec, dict) else None) or ()
        if key.kind == VALIDATING_ADMISSION_POLICY_BINDING and "Deny" not in actions:
            yield f"{key.name} refuses nothing: its actions are {', '.join(actions) or 'none'}, without Deny"


def _canary(api: Api) -> Finding:
    """Ask the canary as somebody of the platform would: his dry run is refused in words that name the revision.

    The API servers take policies up within a second: what is stored is not what is in force.
    """
    expected = platform_message()
    answer = ask_canary(api.impersonating(Identity(labels.PROBE_USER, (labels.ONBOARDER_GROUP,))))
    if expected in answer.message:
        return _finding("ISO-631", Verdict.PASS, f"in force: {expected}", answer=answer)
    if answer.ok:
        return _finding("ISO-631", Verdict.FAIL, "the canary was admitted", "no policy is in force", answer)
    if "cannot impersonate" in answer.message:
        reason = f"the verifier lacks a right: {missing_right(answer.message)}"
        return _finding("ISO-631", Verdict.ERROR, "not asked", reason, answer)
    if re.search(r"denied request: platform \S+ \S+", answer.message):
        return _finding("ISO-631", Verdict.FAIL, answer.message, "another revision is in force", answer)
    if answer.status == 404:
        reason = f"there is no namespace {labels.SYSTEM_NAMESPACE}"
        return _finding("ISO-631", Verdict.FAIL, answer.message, reason, answer)
    return _finding("ISO-631", Verdict.ERROR, answer.message, "the canary has not spoken", answer)


def _finding(
    name: str,
    verdict: Verdict,
    observed: str,
    reason: str | None = None,
    answer: Answer | None = None,
    evidence: dict[str, Any] | None = None,
) -> Finding:
    if evidence is None:
        evidence = {"auditId": answer.audit_id} if answer is not None and answer.audit_id else {}
    expected = f"the canary's refusal says: {platform_message()}" if name == "ISO-631" else f"as of {__version__}"
    return Finding(
        id=name,
        title=TITLES[name],
        subject=SUBJECT,
        expected=expected,
        observed=observed,
        verdict=verdict,
        controls=_CONTROLS[name],
        reason=reason,
        seconds=answer.seconds if answer is not None else 0.0,
        evidence=evidence,
    )
