"""Impact: which of the objects of a namespace would be refused if they restarted or were made anew. Dry runs only.

Three walls are told apart, because they answer one after the other (kube-apiserver, `AllOrderedPlugins`: LimitRanger,
PodSecurity, admission policies, ResourceQuota): what one refuses is put right in a copy, and the next is asked.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from string import Template
from typing import Any

from gcloud_pk.cluster.kinds import NAMESPACE, POD, ROLE_BINDING, SERVICE, Kind
from gcloud_pk.cluster.transport import Answer, Api
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.proof import refusal as walls
from gcloud_pk.proof.inventory import Candidate, Inventory, candidates
from gcloud_pk.proof.placement import placed, pod_spec
from gcloud_pk.proof.probe import standard
from gcloud_pk.proof.refusal import Refusal, missing_right, refusal

CONTROL, POD_SECURITY, POLICIES, CAPACITY = "IMP-000", "IMP-001", "IMP-002", "IMP-003"

THREADS = 8
SETTLE = 5.0
"""Seconds for which a compliant pod may still be refused: what was just written takes a moment."""

_TITLES = {
    POD_SECURITY: "Pod Security",
    POLICIES: "The admission policies",
    CAPACITY: "Quota and limits",
}
_NAMES = {POD_SECURITY: "Pod Security", CAPACITY: "the limits"}
_CONTROLS = {POD_SECURITY: ("GPK-POD-001",), POLICIES: ("GPK-ADM-001",), CAPACITY: ("GPK-QUO-001",)}
_RULE = re.compile(r"\[(GPK-[A-Z]{3}-[0-9]{2})\]")
_EXTERNAL_ADDRESSES = "Use of external IPs is denied by admission control"
# kube-apiserver, resourcequota `CheckRequest`; each part is a list of name=quantity, of what is exceeded only.
_EXCEEDED = re.compile(
    r"exceeded quota: [^,]+, requested: (?P<requested>.*), used: (?P<used>.*), limited: (?P<hard>.*)$"
)


@dataclass(frozen=True)
class Judge:
    """The API server that is asked, and where and as whom. `policy`: the spec of the TenantPolicy there.

    `api` acts as the tenant; `binder` makes RoleBindings (the tenant itself, or where nothing is at stake somebody whom
    RBAC does not stop before the policies speak). `words` says which server it is; `counts`, whether it has quotas.
    """

    api: Api
    namespace: str
    policy: Mapping[str, Any]
    words: str
    binder: Api | None = None
    counts: bool = True

    def sender(self, kind: Kind) -> Api:
        """Return who creates objects of a kind."""
        return self.binder if self.binder is not None and kind == ROLE_BINDING else self.api


@dataclass
class _Heard:
    """What the walls said of one candidate; `unknown` is a refusal that is none of theirs.

    `waived`: what a policy refuses to anybody but the workload's own controller, for which a waiver stands. `anew`:
    what a policy refuses of the workload itself, whose pods it admits.
    """

    refused: dict[str, Refusal] = field(default_factory=dict)
    waived: Refusal | None = None
    anew: Refusal | None = None
    unknown: Refusal | None = None
    full: str | None = None
    seconds: float = 0.0
    audit_ids: list[str] = field(default_factory=list)


def assess(judge: Judge, inventory: Inventory, *, settle: float = SETTLE) -> list[Finding]:
    """Return the findings on everything in a namespace, the control first. Nothing that stays is written.

    Raises UnavailableError when a server stops answering.
    """
    control = _control(judge, settle)
    unread = [_unread(judge, kind, words) for kind, words in inventory.unread.items()]
    wanted = candidates(inventory)
    if control.verdict is not Verdict.PASS:
        reason = f"its control {CONTROL} did not pass in this run"
        return [control, *unread, *(_unasked(judge, one, reason) for one in wanted)]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="impact") as pool:
        found = list(pool.map(lambda one: _findings(judge, one), wanted))
    return [control, *unread, *(finding for each in found for finding in each)]


# --- the control ------------------------------------------------------------------------------------------------------


def _control(judge: Judge, settle: float) -> Finding:
    """Show that the judge judges: a compliant pod is admitted, a foreign image and a privileged pod are not."""
    wrong: str | None = None
    registries = list(judge.policy.get("registries") or ())
    if not registries:
        wrong = "no registry is allowed here, so no pod can be compliant"
    else:
        pod = _compliant(judge, min(registries))
        foreign = _broken(pod, image="registry.invalid/gpk/impact:1")
        privileged = _broken(pod, securityContext={"privileged": True})
        wrong = (
            _not_admitted(_patient(judge, pod, settle))
            or _not_refused(_create(judge, POD, foreign), "gpk-images", "spec.containers[0].image")
            or _not_refused(_create(judge, POD, privileged), walls.POD_SECURITY, "privileged")
        )
    return Finding(
        id=CONTROL,
        title="A compliant Pod is admitted, one of a foreign image and a privileged one are refused",
        subject=f"namespace/{judge.namespace}",
        expected="admitted; refused by gpk-images; refused by pod-security",
        observed=f"{wrong or 'as expected'}; judged by {judge.words}",
        verdict=Verdict.ERROR if wrong else Verdict.PASS,
        controls=("GPK-ADM-001", "GPK-POD-001"),
        reason=wrong,
        evidence={"judge": judge.words},
    )


def _compliant(judge: Judge, registry: str) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(standard().objects["pod"])
    container = made["spec"]["containers"][0]
    container["image"] = Template(container["image"]).substitute(registry=registry)
    return placed(made, str(judge.policy.get("tenant")), str(judge.policy.get("isolation")))


def _broken(pod: dict[str, Any], **container: Any) -> dict[str, Any]:
    made = copy.deepcopy(pod)
    made["spec"]["containers"][0] |= container
    return made


def _patient(judge: Judge, pod: dict[str, Any], settle: float) -> Answer:
    until = time.monotonic() + settle
    pause = 0.05
    while True:
        answer = _create(judge, POD, pod)
        said = refusal(answer)
        if said is None or said.by not in {walls.RBAC, walls.UNSETTLED} or time.monotonic() + pause > until:
            return answer
        time.sleep(pause)
        pause *= 2


def _not_admitted(answer: Answer) -> str | None:
    said = refusal(answer)
    # A full quota answers last, when all that is asked about has admitted.
    if said is None or said.by == walls.QUOTA:
        return None
    if said.by == walls.IMPERSONATION:
        return f"the verifier lacks a right: {missing_right(said.message)}"
    return f"a compliant pod was refused by {said.by}: {said.message}"


def _not_refused(answer: Answer, by: str, words: str) -> str | None:
    said = refusal(answer)
    if said is not None and said.by == by and words in said.said:
        return None
    heard = "admitted" if said is None else f"refused by {said.by}: {said.message}"
    return f"what {by} must refuse was {heard}"


# --- one candidate ----------------------------------------------------------------------------------------------------


def _create(judge: Judge, kind: Kind, body: dict[str, Any]) -> Answer:
    return judge.sender(kind).request("POST", kind.path(judge.namespace), params={"dryRun": "All"}, body=body)


def _ask(judge: Judge, one: Candidate, kind: Kind, body: dict[str, Any], heard: _Heard) -> None:
    """Send one object; what a wall refuses is put right, and the walls behind it are asked with that."""
    mends = {
        CAPACITY: lambda pod: _edited(pod, _without_resources),
        POD_SECURITY: _harmless,
    }
    while True:
        answer = _create(judge, kind, body)
        heard.seconds += answer.seconds
        if answer.audit_id:
            heard.audit_ids.append(answer.audit_id)
        said = refusal(answer)
        if said is None:
            return
        if said.by == walls.QUOTA:
            if _never_fits(said.message):
                heard.refused.setdefault(CAPACITY, said)
            else:
                heard.full = said.message
            return
        if said.by == walls.ESCALATION and kind == ROLE_BINDING and body["roleRef"]["kind"] == "Role":
            # What a Role holds is RBAC's question to whoever binds it; the policies ask whom it is given to.
            body = body | {"roleRef": body["roleRef"] | {"kind": "ClusterRole", "name": "gcloud-pk:tenant-auditor"}}
            continue
        wall = _wall(said, kind)
        if wall is None:
            heard.unknown = heard.unknown or said
            return
        if wall == POLICIES and one.restarts and (spared := waived(body, judge.policy, one.kind, one.name)) != body:
            heard.waived, body = heard.waived or said, spared
            continue
        if wall == POLICIES and one.restarts and kind != POD:
            heard.anew = said
            return
        new = wall not in heard.refused
        heard.refused.setdefault(wall, said)
        if wall not in mends or kind != POD or not new:
            return
        body = mends[wall](body)


def _wall(said: Refusal, kind: Kind) -> str | None:
    if said.by == walls.POD_SECURITY:
        return POD_SECURITY
    if said.by == walls.LIMIT_RANGE:
        return CAPACITY
    if said.by.startswith("gpk-") or said.by == walls.ESCALATION:
        return POLICIES
    return POLICIES if kind == SERVICE and _EXTERNAL_ADDRESSES in said.message else None


def _never_fits(message: str) -> bool:
    """Whether a quota refuses even when what runs now has gone: it is too small, or used beyond its limit already.

    A quota that is merely full is not in the way of a restart: what stops gives its share back.
    """
    parts = _EXCEEDED.search(message)
    if parts is None:
        return True
    try:
        requested, used, hard = (_amounts(parts[key]) for key in ("requested", "used", "hard"))
        return any(requested[name] > hard[name] or used[name] > hard[name] for name in hard)
    except (KeyError, ValueError):
        return True


def _amounts(text: str) -> dict[str, Quantity]:
    pairs = (item.partition("=") for item in text.split(","))
    return {name: Quantity.parse(amount) for name, _, amount in pairs}


def waived(pod: dict[str, Any], policy: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """Return a pod, or what makes it, without what waivers of its workload allow: those images, those tolerations.

    The policies know a workload by its controller, as whom nobody can ask; so what is left is asked about.
    """
    allowed: dict[str, set[str]] = {}
    for waiver in policy.get("waivers") or ():
        if (waiver["kind"], waiver["name"]) == (kind, name):
            allowed.setdefault(waiver["rule"], set()).update(waiver["allows"])
    images, tolerations = allowed.get("GPK-IMG-01", set()), allowed.get("GPK-PLC-02", set())
    registries = policy.get("registries") or ()
    if not ((images and registries) or tolerations):
        return pod
    own = f"{min(registries, default='')}gpk-impact:1"
    made = _edited(pod, lambda c: c | {"image": own} if c.get("image") in images else c)
    spec = pod_spec(made)
    if "tolerations" in spec:
        spec["tolerations"] = [t for t in spec["tolerations"] if _in_words(t) not in tolerations]
    for volume in spec.get("volumes") or ():
        if (volume.get("image") or {}).get("reference") in images:
            volume["image"]["reference"] = own
    return made


def _in_words(toleration: Mapping[str, Any]) -> str:
    """Return a toleration as gpk-placement writes it."""
    given = (toleration.get("key", "every key"), toleration.get("operator", "Equal"), toleration.get("value"))
    return " ".join(str(part) for part in (*given, toleration.get("effect", "every effect")) if part is not None)


def _edited(pod: dict[str, Any], edit: Any) -> dict[str, Any]:
    made = copy.deepcopy(pod)
    spec = pod_spec(made)
    for part in ("containers", "initContainers"):
        if part in spec:
            spec[part] = [edit(container) for container in spec[part]]
    return made


def _without_resources(container: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key != "resources"}


def _harmless_container(container: dict[str, Any]) -> dict[str, Any]:
    kept = {key: container[key] for key in ("name", "image", "imagePullPolicy", "resources") if key in container}
    return kept | {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


def _harmless(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the pod with nothing left that Pod Security looks at, and everything that the policies look at."""
    made = _edited(pod, _harmless_container)
    kept = (
        "nodeName", "nodeSelector", "tolerations", "priorityClassName", "runtimeClassName", "affinity",
        "serviceAccountName",
    )  # fmt: skip
    made["spec"] = {
        **{key: made["spec"][key] for key in (*kept, "containers", "initContainers") if key in made["spec"]},
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [volume for volume in made["spec"].get("volumes") or () if "image" in volume],
    }
    made["metadata"].pop("annotations", None)
    return made


# --- findings ---------------------------------------------------------------------------------------------------------


def _findings(judge: Judge, one: Candidate) -> list[Finding]:
    heard = _Heard()
    for kind, body in one.sent:
        # Where the policies refuse its pods, they would refuse the workload for the same.
        if kind == POD or not one.restarts or not (heard.unknown or POLICIES in heard.refused):
            _ask(judge, one, kind, body, heard)
    asked = (POD_SECURITY, POLICIES, CAPACITY) if one.restarts else (POLICIES,)
    # Of other objects, only claims and services are counted; that is told where it goes wrong.
    return [
        replace(
            _finding(wall, judge, one, heard),
            seconds=heard.seconds / len(asked),
            evidence={"auditIds": heard.audit_ids} if heard.audit_ids else {},
        )
        for wall in dict.fromkeys((*asked, *heard.refused))
    ]


def _finding(wall: str, judge: Judge, one: Candidate, heard: _Heard) -> Finding:
    passed = _passed(wall, judge, one, heard)
    refused = heard.refused.get(wall)
    if refused is not None:
        rule = _RULE.search(refused.said)
        by = (refused.by, *([rule[1]] if rule else []))
        return replace(
            passed,
            observed=f"refused by {refused.by}: {refused.said}",
            verdict=Verdict.FAIL,
            controls=(*passed.controls, *by),
            reason=f"{one.kind} {one.name} would be refused",
        )
    if wall == POLICIES and heard.anew is not None:
        said = heard.anew
        rule = _RULE.search(said.said)
        return replace(
            passed,
            expected="admitted at its next restart, and when it is made anew",
            observed=f"refused by {said.by}: {said.said}",
            verdict=Verdict.FAIL,
            controls=(*passed.controls, said.by, *([rule[1]] if rule else [])),
            reason=f"{one.kind} {one.name} would be refused when it is made anew, or changed there",
        )
    if heard.unknown is not None:
        said = heard.unknown
        return replace(
            passed,
            observed=f"refused by {said.by}: {said.message}",
            verdict=Verdict.ERROR if wall == POLICIES else Verdict.NOT_CHECKED,
            reason=f"the verifier lacks a right: {missing_right(said.message)}"
            if said.by == walls.IMPERSONATION
            else "refused by no wall that is known",
        )
    if wall == POLICIES and heard.waived is not None:
        said = heard.waived
        rule = _RULE.search(said.said)
        return replace(
            passed,
            observed=f"refused by {said.by} to others than its controller: {said.said}",
            verdict=Verdict.WAIVED,
            controls=(*passed.controls, said.by, *([rule[1]] if rule else [])),
            reason=f"a waiver for {one.kind} {one.name} stands in the TenantPolicy, and covers all of it",
        )
    if wall == CAPACITY and POLICIES in heard.refused:
        return replace(
            passed,
            observed="a policy refused it before the quota was asked",
            verdict=Verdict.NOT_APPLICABLE,
            reason="the quota answers last; put right what the policy refuses, and run this again",
        )
    return passed


def _passed(wall: str, judge: Judge, one: Candidate, heard: _Heard) -> Finding:
    day = "at its next restart" if one.restarts else "when it is made anew"
    observed = "admitted"
    if wall != CAPACITY and (before := [other for other in (CAPACITY, POD_SECURITY) if other in heard.refused]):
        observed = f"admitted, once that is put right which is refused by {' and by '.join(_NAMES[o] for o in before)}"
    if wall == CAPACITY and heard.full:
        observed = f"admitted, once what runs now has stopped: {heard.full}"
    elif wall == CAPACITY and not judge.counts:
        observed = "admitted by the limits (no quota stands where it was tried)"
    return Finding(
        id=wall,
        title=f"{_TITLES[wall]} admit{'s' if wall == POD_SECURITY else ''} it {day}",
        subject=f"namespace/{judge.namespace}/{one.kind}/{one.name}",
        expected=f"admitted {day}",
        observed=observed,
        verdict=Verdict.PASS,
        controls=_CONTROLS[wall],
    )


def _unread(judge: Judge, kind: Kind, words: str) -> Finding:
    return Finding(
        id=POLICIES,
        title=f"{kind.kind} objects can be read, to be judged",
        subject=f"namespace/{judge.namespace}/{kind.kind}",
        expected="readable",
        observed=words,
        verdict=Verdict.ERROR,
        controls=_CONTROLS[POLICIES],
        reason=f"the verifier lacks a right: {words}",
    )


def _unasked(judge: Judge, one: Candidate, reason: str) -> Finding:
    day = "at its next restart" if one.restarts else "when it is made anew"
    return Finding(
        id=POLICIES,
        title=f"{_TITLES[POLICIES]} admit it {day}",
        subject=f"namespace/{judge.namespace}/{one.kind}/{one.name}",
        expected=f"admitted {day}",
        observed="not asked",
        verdict=Verdict.NOT_CHECKED,
        controls=_CONTROLS[POLICIES],
        reason=reason,
    )


def left_out(namespace: str, verdict: Verdict, reason: str) -> Finding:
    """Return the finding on a namespace in which nothing was judged."""
    return Finding(
        id=CONTROL,
        title="What runs in the namespace is judged",
        subject=f"namespace/{namespace}",
        expected="judged",
        observed="not judged",
        verdict=verdict,
        controls=("GPK-ADM-001", "GPK-POD-001"),
        reason=reason,
    )


def refused(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that name what would be refused."""
    return [f for f in findings if f.verdict is Verdict.FAIL]


# --- the live server's own word on Pod Security -----------------------------------------------------------------------


def rehearse_label(api: Api, namespace: str, pod_security: Mapping[str, str]) -> Finding:
    """Put the Pod Security labels on a namespace in a dry run, to which the server answers with the pods that break it.

    Where the identity may not, the finding is not-applicable: the judge's word on each object stands alone.
    """
    answer = api.request(
        "PATCH",
        NAMESPACE.path(name=namespace),
        params={"dryRun": "All"},
        body={"metadata": {"labels": dict(pod_security)}},
        content_type="application/merge-patch+json",
    )
    finding = Finding(
        id=POD_SECURITY,
        title="The pods that run now keep to the Pod Security of a tenant",
        subject=f"namespace/{namespace}",
        expected="no warning when the namespace is labelled (a dry run)",
        observed="no warning",
        verdict=Verdict.PASS,
        controls=_CONTROLS[POD_SECURITY],
        seconds=answer.seconds,
        evidence={"auditId": answer.audit_id} if answer.audit_id else {},
    )
    if not answer.ok:
        return replace(
            finding,
            observed=f"not answered ({answer.status})",
            verdict=Verdict.NOT_APPLICABLE,
            reason="who reads may not rehearse a label here, so the judge's word on each object stands alone",
        )
    if answer.warnings:
        words = "; ".join(answer.warnings)
        return replace(finding, observed=words, verdict=Verdict.FAIL, reason="pods that run now would be refused")
    return finding


def version(api: Api) -> str:
    """Return the API server's version, `v1.36.3`; `unknown version` where it does not tell."""
    answer = api.request("GET", "/version")
    return str(answer.body.get("gitVersion") or "unknown version") if answer.ok else "unknown version"
