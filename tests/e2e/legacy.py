"""A namespace as it stands before it is adopted: what would be refused in it, beside what would not."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

from tests.e2e.ministry import Ministry

RESTRICTED = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
HARMLESS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
FOREIGN = "docker.io/library/nginx:1.29"

REFUSED = {
    ("Deployment/foreign", "IMP-002", "gpk-images"),
    ("Deployment/root", "IMP-001", "pod-security"),
    ("Deployment/worst", "IMP-001", "pod-security"),
    ("Deployment/worst", "IMP-002", "gpk-images"),
    ("Deployment/huge", "IMP-003", "limit-range"),
    ("DaemonSet/everywhere", "IMP-002", "gpk-placement"),
    ("CronJob/nightly", "IMP-002", "gpk-images"),
    ("CronJob/busy", "IMP-002", "gpk-cron-jobs"),
    ("Deployment/cached", "IMP-002", "gpk-images"),
    ("PersistentVolumeClaim/files-files-0", "IMP-002", "gpk-claims"),
    ("Pod/tool", "IMP-001", "pod-security"),
    ("Service/open", "IMP-002", "gpk-services"),
    ("Ingress/site", "IMP-002", "gpk-ingresses"),
    ("PersistentVolumeClaim/cheap", "IMP-002", "gpk-claims"),
    ("NetworkPolicy/everybody", "IMP-002", "gpk-network-policies"),
    ("RoleBinding/outsider", "IMP-002", "gpk-role-bindings"),
    ("RoleBinding/viewers", "IMP-002", "gpk-role-bindings"),
}
"""Object, wall and who refuses."""
ADMITTED = {
    "Deployment/web",
    "Deployment/tenth",
    "StatefulSet/db",
    "StatefulSet/files",
    "PersistentVolumeClaim/files-db-0",
    "Pod/lone",
    "Service/front",
    "PersistentVolumeClaim/data",
    "RoleBinding/builders",
}


def pod(tenant: str, *, image: str = "", harmless: bool = True, **spec: Any) -> dict[str, Any]:
    image = image or f"registry.gcloud.gov.pk/{tenant}/web:1"
    container: dict[str, Any] = {"name": "main", "image": image, "imagePullPolicy": "Always"}
    if harmless:
        container["securityContext"] = copy.deepcopy(HARMLESS)
        spec = {"securityContext": copy.deepcopy(RESTRICTED), **spec}
    return {"containers": [container], **spec}


def template(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def of(kind: str, version: str, name: str, namespace: str, **body: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **body}


def controller(kind: str, name: str, namespace: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"selector": {"matchLabels": {"app": name}}, "template": template(name, spec), **more}
    return of(kind, "apps/v1", name, namespace, spec=body)


def claim_spec(storage_class: str) -> dict[str, Any]:
    return {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }


def stateful(name: str, namespace: str, tenant: str, storage_class: str) -> dict[str, Any]:
    spec = pod(tenant)
    spec["containers"][0]["volumeMounts"] = [{"name": "files", "mountPath": "/files"}]
    claims = [{"metadata": {"name": "files"}, "spec": claim_spec(storage_class)}]
    return controller("StatefulSet", name, namespace, spec, serviceName=name, volumeClaimTemplates=claims)


def binding(
    name: str, namespace: str, role: dict[str, str], subject: dict[str, str], group: str = "rbac.authorization.k8s.io"
) -> dict[str, Any]:
    return of("RoleBinding", f"{group}/v1", name, namespace, roleRef={"apiGroup": group, **role}, subjects=[subject])


def objects(tenant: str, namespace: str) -> list[dict[str, Any]]:
    """Return everything in the namespace, as its owners wrote it years ago."""
    huge = pod(tenant)
    huge["containers"][0]["resources"] = {"limits": {"cpu": "64"}}
    everywhere = pod(tenant, tolerations=[{"operator": "Exists"}])
    nightly = {"template": {"spec": {**pod(tenant, image=FOREIGN), "restartPolicy": "Never"}}}
    group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io"}
    rule = {"host": "portal.elsewhere.gov.pk"}
    schedule = {"schedule": "0 1 * * *", "jobTemplate": {"spec": nightly}}
    often = {"schedule": "*/2 * * * *", "suspend": True, "jobTemplate": {"spec": {"template": {
        "spec": {**pod(tenant), "restartPolicy": "Never"}}}}}  # fmt: skip
    cached = pod(tenant)
    cached["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    admins = group | {"name": f"oidc:{tenant}-admins"}
    return [
        of("ServiceAccount", "v1", "builder", namespace),
        controller("Deployment", "web", namespace, pod(tenant)),
        controller("Deployment", "tenth", namespace, pod(tenant, serviceAccountName="builder"), replicas=0),
        controller("Deployment", "foreign", namespace, pod(tenant, image=FOREIGN)),
        controller("Deployment", "root", namespace, pod(tenant, harmless=False)),
        controller("Deployment", "worst", namespace, pod(tenant, image=FOREIGN, harmless=False)),
        controller("Deployment", "huge", namespace, huge, replicas=0),
        controller("DaemonSet", "everywhere", namespace, everywhere),
        stateful("db", namespace, tenant, "encrypted"),
        stateful("files", namespace, tenant, "cheap"),
        of("CronJob", "batch/v1", "nightly", namespace, spec=schedule),
        of("CronJob", "batch/v1", "busy", namespace, spec=often),
        controller("Deployment", "cached", namespace, cached, replicas=0),
        of("Pod", "v1", "lone", namespace, spec=pod(tenant)),
        of("Pod", "v1", "tool", namespace, spec=pod(tenant, hostNetwork=True)),
        of("Service", "v1", "front", namespace, spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}),
        of("Service", "v1", "open", namespace, spec={"type": "NodePort", "ports": [{"port": 80}]}),
        of("Ingress", "networking.k8s.io/v1", "site", namespace, spec={
            "rules": [rule | {"http": {"paths": [{"path": "/", "pathType": "Prefix",
                      "backend": {"service": {"name": "front", "port": {"number": 80}}}}]}}]}),
        of("PersistentVolumeClaim", "v1", "data", namespace, spec=claim_spec("encrypted")),
        of("PersistentVolumeClaim", "v1", "cheap", namespace, spec=claim_spec("cheap")),
        of("NetworkPolicy", "networking.k8s.io/v1", "everybody", namespace,
           spec={"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}),
        of("Role", "rbac.authorization.k8s.io/v1", "builder", namespace,
           rules=[{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]),
        binding("outsider", namespace, {"kind": "ClusterRole", "name": "edit"},
                {"kind": "User", "name": "contractor", "apiGroup": "rbac.authorization.k8s.io"}),
        binding("viewers", namespace, {"kind": "ClusterRole", "name": "view"}, admins),
        binding("builders", namespace, {"kind": "Role", "name": "builder"},
                {"kind": "ServiceAccount", "name": "builder", "namespace": namespace}),
    ]  # fmt: skip


def settle(ministry: Ministry, tenant: str, namespace: str) -> None:
    """Make the namespace with all of that, and wait until its controllers have made their pods."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    made = {"apiVersion": "v1", "kind": "List", "items": [space, *objects(tenant, namespace)]}
    ministry.lab.kubectl("apply", "-f", "-", input=json.dumps(made))
    deadline = time.monotonic() + 60
    # Of four Deployments, of two StatefulSets, and two of nobody; the lab has no node for a DaemonSet.
    while len(ministry.live("pods", namespace)) < 8:
        assert time.monotonic() < deadline, ministry.live("pods", namespace)
        time.sleep(0.1)
