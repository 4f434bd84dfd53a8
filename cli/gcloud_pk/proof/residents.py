"""Residents: what lives in a namespace already, judged as it would be if it came today. Pure.

Admission asks who comes in; what came in while a policy was down stays, and no probe meets it. The rules are written
down a second time on purpose, from the request's side (`TargetEnvironment`): a policy that is wrong cannot vouch here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.kinds import INGRESS, POD, SERVICE, Kind
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.placement import pod_spec
from gcloud_pk.proof.surroundings import Object
from gcloud_pk.proof.target import Target, TargetEnvironment

KINDS = (POD, SERVICE, INGRESS)
ROUTES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "httproutes": ("HTTPRoute", ("v1", "v1beta1")),
    "grpcroutes": ("GRPCRoute", ("v1", "v1alpha2")),
    "tlsroutes": ("TLSRoute", ("v1", "v1alpha3", "v1alpha2")),
}
"""Routes with hosts, by plural: kind, and the versions that a cluster may serve, the newest first."""
ROUTE_GROUP = "gateway.networking.k8s.io"

_SHOWN = 10
_IMAGE = re.compile(
    r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?"
)
# What controllers put after the name of what they make pods of (rand.SafeEncodeString; CronJob: minutes).
_OF_A_DEPLOYMENT = re.compile(r"(.+)-[bcdfghjklmnpqrstvwxz2456789]{1,10}")
_OF_A_CRON_JOB = re.compile(r"(.+)-[0-9]{1,11}")

Problems = Iterator[str]


@dataclass(frozen=True)
class Residents:
    """The live objects of one namespace by plural name. `unread`: why a kind could not be read, the missing right."""

    namespace: str
    objects: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    audit_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One check of what lives in a namespace: `problems` says of one object what is wrong, field and value.

    `reads`: plural names of the kinds. `retired`: it is made of a retired environment too.
    """

    id: str
    title: str
    controls: tuple[str, ...]
    expected: str
    reads: tuple[str, ...]
    problems: Callable[[Object, Target, TargetEnvironment], Problems]
    retired: bool = False


def _hosts(made: Object, _target: Target, environment: TargetEnvironment) -> Problems:
    for where, host in _said_hosts(made):
        domains = environment.domains
        own = "*" not in host and any(host == domain or host.endswith(f".{domain}") for domain in domains)
        if not own:
            yield f"{where}: {host or 'no host, so every one'}"


def _said_hosts(made: Object) -> Iterator[tuple[str, str]]:
    """Yield every host with its field; an empty one where absence means all of them."""
    spec = made.get("spec") or {}
    if made["kind"] != INGRESS.kind:
        names = spec.get("hostnames") or [""]
        yield from ((f"spec.hostnames[{number}]", str(host)) for number, host in enumerate(names))
        return
    if spec.get("defaultBackend") is not None:
        yield "spec.defaultBackend", ""
    for number, rule in enumerate(spec.get("rules") or ()):
        yield f"spec.rules[{number}].host", str(rule.get("host") or "")
    for number, entry in enumerate(spec.get("tls") or ()):
        for index, host in enumerate(entry.get("hosts") or [""]):
            yield f"spec.tls[{number}].hosts[{index}]", str(host)


def _services(made: Object, _target: Target, _environment: TargetEnvironment) -> Problems:
    spec = made.get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        yield f"spec.type: {spec['type']}"
    for number, address in enumerate(spec.get("externalIPs") or ()):
        yield f"spec.externalIPs[{number}]: {address}"
    for name in ("loadBalancerIP", "externalName"):
        if spec.get(name):
            yield f"spec.{name}: {spec[name]}"


def _images(made: Object, target: Target, environment: TargetEnvironment) -> Problems:
    waived = _waived(made, target, environment)
    for where, image in _said_images(pod_spec(made)):
        # A registry without its slash would be the beginning of longer names.
        registries = tuple(each for each in environment.registries if each.endswith("/"))
        if not (image.startswith(registries) and _IMAGE.fullmatch(image)) and image not in waived:
            yield f"{where}: {image or 'no image'}"


def _said_images(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for where, container in _containers(spec):
        yield f"{where}.image", str(container.get("image") or "")
    for number, volume in enumerate(spec.get("volumes") or ()):
        if volume.get("image") is not None:
            yield f"spec.volumes[{number}].image.reference", str(volume["image"].get("reference") or "")


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in ("containers", "initContainers", "ephemeralContainers"):
        yield from ((f"spec.{part}[{number}]", each) for number, each in enumerate(spec.get(part) or ()))


def _waived(made: Object, target: Target, environment: TargetEnvironment) -> set[str]:
    """Return the images that unexpired waivers of the registry allow a pod, by the workload that it is of."""
    workloads = set(_workloads(made))
    return {
        value
        for grant in environment.waivers
        if grant.rule == "GPK-IMG-01" and grant.expires >= target.today and (grant.kind, grant.workload) in workloads
        for value in grant.allows
    }


def _workloads(made: Object) -> Iterator[tuple[str, str]]:
    owners = [o for o in made["metadata"].get("ownerReferences") or () if o.get("controller")]
    if not owners:
        yield POD.kind, str(made["metadata"]["name"])
    for owner in owners:
        kind, name = str(owner["kind"]), str(owner["name"])
        yield kind, name
        pattern = {"ReplicaSet": _OF_A_DEPLOYMENT, "Job": _OF_A_CRON_JOB}.get(kind)
        if pattern is not None and (found := pattern.fullmatch(name)):
            yield ("Deployment" if kind == "ReplicaSet" else "CronJob"), found[1]


def _confined(made: Object, target: Target, _environment: TargetEnvironment) -> Problems:
    spec = pod_spec(made)
    yield from (f"spec.{name}: true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    for where, container in _containers(spec):
        if (container.get("securityContext") or {}).get("privileged"):
            yield f"{where}.securityContext.privileged: true"
        for number, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                yield f"{where}.ports[{number}].hostPort: {port['hostPort']}"
    for number, volume in enumerate(spec.get("volumes") or ()):
        if volume.get("hostPath") is not None:
            yield f"spec.volumes[{number}].hostPath: {volume['hostPath'].get('path')}"
    yield from _placed(spec, target)


def _placed(spec: Mapping[str, Any], target: Target) -> Problems:
    """Yield what leads to nodes of others: their taint tolerated, or their label selected, or one's own not."""
    own = target.isolation in {"dedicated-nodes", "dedicated-cluster"}
    for number, each in enumerate(spec.get("tolerations") or ()):
        key, operator = each.get("key") or "", each.get("operator") or "Equal"
        mine = own and operator == "Equal" and each.get("value") == target.tenant
        words = (key or "every key", operator, each.get("value"), each.get("effect") or "every effect")
        said = " ".join(str(word) for word in words if word)
        if key in {"", labels.TENANT} and not mine:
            yield f"spec.tolerations[{number}]: {said}"
    selected = (spec.get("nodeSelector") or {}).get(labels.TENANT)
    kept = selected == target.tenant if own else selected is None
    if not kept and not (selected is None and target.isolation != "dedicated-nodes"):
        yield f"spec.nodeSelector[{labels.TENANT}]: {selected or 'absent'}"


CHECKS = (
    Check("ISO-134", "Every host of live Ingresses and routes is under the environment's domains, and no wildcard",
          ("GPK-ING-001",), "hosts under the domains of the request", (INGRESS.plural, *ROUTES), _hosts),
    Check("ISO-135", "Every live Service is reached inside the cluster only", ("GPK-SVC-001",),
          "ClusterIP, without externalIPs, loadBalancerIP and externalName", (SERVICE.plural,), _services,
          retired=True),
    Check("ISO-136", "Every image of live Pods is from the environment's registries, or waived", ("GPK-IMG-001",),
          "images from the registries of the request, or of a waiver that the registry holds", (POD.plural,), _images),
    Check("ISO-137", "Live Pods take nothing of the host, and none of others' nodes",
          ("GPK-POD-001", "GPK-POD-002"),
          "no host namespaces, paths and ports, nothing privileged, no way to the nodes of other tenants",
          (POD.plural,), _confined, retired=True),
)  # fmt: skip
"""Of a retired environment the request says nothing any more, so hosts and images have nothing to be compared with."""
IDS = frozenset(check.id for check in CHECKS)


def kind_of_route(plural: str, version: str) -> Kind:
    """Return the kind of a route as a cluster serves it."""
    return Kind(ROUTE_GROUP, version, ROUTES[plural][0], plural, namespaced=True)


def run(residents: Residents, target: Target, environment: TargetEnvironment, subject: str) -> list[Finding]:
    """Judge what lives in one namespace. What could not be read is an error that names the missing right."""
    chosen = (check for check in CHECKS if check.retired or not environment.retired)
    return [_finding(check, residents, target, environment, subject) for check in chosen]


def _finding(
    check: Check, residents: Residents, target: Target, environment: TargetEnvironment, subject: str
) -> Finding:
    judged = [made for plural in check.reads for made in residents.objects.get(plural, ())]
    found: list[str] = []
    unread = [f"{plural}: {residents.unread[plural]}" for plural in check.reads if plural in residents.unread]
    for made in judged:
        named = f"{made['kind']} {residents.namespace}/{made['metadata']['name']}"
        try:
            found += [f"{named}: {wrong}" for wrong in check.problems(made, target, environment)]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            unread.append(f"{named} is not of the known shape: {error!r}")
    verdict, reason = Verdict.PASS, None
    if found:
        verdict, reason = Verdict.FAIL, "what lives here would not be admitted today"
    elif unread:
        verdict, reason = Verdict.ERROR, _short(unread)
    return Finding(
        id=check.id,
        title=check.title,
        subject=subject,
        expected=check.expected,
        observed=_short([*found, *unread]) or f"as expected: {len(judged)} objects",
        verdict=verdict,
        controls=check.controls,
        reason=reason,
        # Not the objects themselves: the environment of a container may hold a password.
        evidence={"auditIds": list(residents.audit_ids)} if residents.audit_ids else {},
    )


def _short(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
