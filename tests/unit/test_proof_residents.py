"""What lives already: an object that would not be admitted today is found by name, field and value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, Request, live_objects, only, other_namespaces, refused, target

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.waiver import Grant
from gcloud_pk.proof.residents import IDS, Residents, run
from gcloud_pk.proof.verify import omitted, verify

AIM = target("eoffice")
HERE = AIM.environments[0]
REGISTRY = HERE.registries[0]
GATEWAYS = "/apis/gateway.networking.k8s.io/"
OF_THE_GROUP = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
GRANT = Grant("GPK-IMG-01", "Deployment", "web", ("docker.io/library/legacy:1",), dt.date(2099, 1, 1), "w", "eoffice",
              "r", "a", ("b",))  # fmt: skip


def made(kind: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "it", **metadata}, "spec": spec}


def ingress(**spec: Any) -> dict[str, Any]:
    return made("Ingress", spec)


def pod(image: str = f"{REGISTRY}web:1", owner: tuple[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return made("Pod", {"containers": [{"image": image}], **spec}, ownerReferences=owners)


def judged(plural: str, each: dict[str, Any], **aim: Any) -> dict[str, Finding]:
    environment = replace(HERE, waivers=aim.pop("waivers", ()))
    found = run(Residents(HERE.namespace, {plural: [each]}), replace(AIM, **aim), environment, "tenant/moitt/eoffice")
    return {f.id: f for f in found}


OWN = {"gcloud.gov.pk/tenant": "moitt"}
OWN_TAINT = {"key": "gcloud.gov.pk/tenant", "value": "moitt", "effect": "NoSchedule"}
WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a host of others": ("ingresses", ingress(rules=[{"host": "tax.fbr.gov.pk"}]), "ISO-134",
                         "Ingress moitt-eoffice/it: spec.rules[0].host: tax.fbr.gov.pk"),
    "no host": ("ingresses", ingress(rules=[{}]), "ISO-134", "spec.rules[0].host: no host, so every one"),
    "a wildcard": ("ingresses", ingress(rules=[{"host": "*.eoffice.moitt.gov.pk"}]), "ISO-134", "*.eoffice"),
    "a longer name": ("ingresses", ingress(rules=[{"host": "xeoffice.moitt.gov.pk"}]), "ISO-134", "xeoffice"),
    "tls": ("ingresses", ingress(tls=[{"hosts": ["eoffice.moitt.gov.pk", "a.b"]}]), "ISO-134",
            "spec.tls[0].hosts[1]: a.b"),
    "tls of every host": ("ingresses", ingress(tls=[{}]), "ISO-134", "spec.tls[0].hosts[0]: no host"),
    "a default backend": ("ingresses", ingress(defaultBackend={"service": {}}), "ISO-134", "spec.defaultBackend"),
    "a route": ("httproutes", made("HTTPRoute", {"hostnames": ["a.b"]}), "ISO-134",
                "HTTPRoute moitt-eoffice/it: spec.hostnames[0]: a.b"),
    "a route of every host": ("tlsroutes", made("TLSRoute", {}), "ISO-134", "spec.hostnames[0]: no host"),
    "a load balancer": ("services", made("Service", {"type": "LoadBalancer"}), "ISO-135", "spec.type: LoadBalancer"),
    "an external address": ("services", made("Service", {"externalIPs": ["8.8.8.8"]}), "ISO-135",
                            "spec.externalIPs[0]: 8.8.8.8"),
    "an external name": ("services", made("Service", {"type": "ExternalName", "externalName": "a.b"}), "ISO-135",
                         "spec.externalName: a.b"),
    "an image": ("pods", pod("docker.io/x:1"), "ISO-136",
                 "Pod moitt-eoffice/it: spec.containers[0].image: docker.io/x:1"),
    "an image that climbs out": ("pods", pod(f"{REGISTRY}../x:1"), "ISO-136", "../x:1"),
    "an init image": ("pods", pod(initContainers=[{"image": "a/b"}]), "ISO-136", "spec.initContainers[0].image: a/b"),
    "an ephemeral image": ("pods", pod(ephemeralContainers=[{"image": "a/b"}]), "ISO-136", "ephemeralContainers[0]"),
    "an image volume": ("pods", pod(volumes=[{"image": {"reference": "a/b"}}]), "ISO-136",
                        "spec.volumes[0].image.reference: a/b"),
    "the host's network": ("pods", pod(hostNetwork=True), "ISO-137", "spec.hostNetwork: true"),
    "a privileged container": ("pods", pod(initContainers=[{"securityContext": {"privileged": True}}]), "ISO-137",
                               "spec.initContainers[0].securityContext.privileged: true"),
    "a path of the host": ("pods", pod(volumes=[{"hostPath": {"path": "/etc"}}]), "ISO-137",
                           "spec.volumes[0].hostPath: /etc"),
    "a port of the host": ("pods", pod(ephemeralContainers=[{"ports": [{"hostPort": 80}]}]), "ISO-137", "hostPort: 80"),
    "every taint": ("pods", pod(tolerations=[{"operator": "Exists"}]), "ISO-137",
                    "spec.tolerations[0]: every key Exists every effect"),
    "another tenant's taint": ("pods", pod(tolerations=[{**OWN_TAINT, "value": "fbr"}]), "ISO-137",
                               "gcloud.gov.pk/tenant Equal fbr NoSchedule"),
    "another tenant's nodes": ("pods", pod(nodeSelector={"gcloud.gov.pk/tenant": "fbr"}), "ISO-137",
                               "spec.nodeSelector[gcloud.gov.pk/tenant]: fbr"),
    "its own nodes without having any": ("pods", pod(nodeSelector=OWN), "ISO-137", "gcloud.gov.pk/tenant]: moitt"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_would_be_refused_today_is_named_with_its_field_and_value(case: str) -> None:
    plural, each, check, said = WRONG[case]
    found = judged(plural, each)[check]
    assert found.verdict is Verdict.FAIL
    assert said in found.observed


@pytest.mark.parametrize(
    ("plural", "each", "aim"),
    [
        (
            "ingresses",
            ingress(rules=[{"host": "eoffice.moitt.gov.pk"}], tls=[{"hosts": ["a.eoffice.moitt.gov.pk"]}]),
            {},
        ),
        ("grpcroutes", made("GRPCRoute", {"hostnames": ["eoffice.moitt.gov.pk"]}), {}),
        ("services", made("Service", {"type": "ClusterIP", "clusterIP": "None"}), {}),
        ("pods", pod(f"{REGISTRY}web:1@sha256:{OF_THE_GROUP}"), {}),
        ("pods", pod("docker.io/library/legacy:1", ("ReplicaSet", "web-7d4b9")), {"waivers": (GRANT,)}),
        ("pods", pod(tolerations=[OWN_TAINT], nodeSelector=OWN), {"isolation": "dedicated-nodes"}),
        ("pods", pod(tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]), {}),
    ],
)
def test_what_would_be_admitted_passes(plural: str, each: dict[str, Any], aim: dict[str, Any]) -> None:
    assert {f.verdict for f in judged(plural, each, **aim).values()} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("owner", "grant"),
    [
        (("ReplicaSet", "webs-7d4b9"), GRANT),
        (("StatefulSet", "web"), GRANT),
        (None, GRANT),
        (("ReplicaSet", "web-7d4b9"), replace(GRANT, expires=dt.date(2020, 1, 1))),
        (("ReplicaSet", "web-7d4b9"), replace(GRANT, rule="GPK-PLC-02")),
    ],
    ids=["another workload", "another kind", "nobody's pod", "an expired waiver", "a waiver of another rule"],
)
def test_a_waiver_covers_its_own_workload_while_it_lasts(owner: tuple[str, str] | None, grant: Grant) -> None:
    found = judged("pods", pod("docker.io/library/legacy:1", owner), waivers=(grant,))
    assert found["ISO-136"].verdict is Verdict.FAIL


def test_a_pod_outside_the_nodes_of_its_tenant_is_found() -> None:
    assert "absent" in judged("pods", pod(), isolation="dedicated-nodes")["ISO-137"].observed


def test_a_long_list_is_shortened() -> None:
    found = judged("services", made("Service", {"externalIPs": [f"8.8.8.{n}" for n in range(30)]}))["ISO-135"]
    assert "8.8.8.9" in found.observed
    assert "8.8.8.10" not in found.observed
    assert found.observed.endswith("; and 20 more")


def test_an_object_of_an_unknown_shape_is_no_pass() -> None:
    assert judged("services", made("Service", {"externalIPs": 7}))["ISO-135"].verdict is Verdict.ERROR


def audited(script: Any, *extra: dict[str, Any], quick: bool = False) -> dict[str, Finding]:
    objects = [*live_objects(), *other_namespaces(), *extra]
    found = verify(FakeServer(script, objects).api(), AIM, known=only("ISO-020"), quick=quick, settle=0)
    return {f.id: f for f in found}


def test_a_read_that_is_refused_is_an_error_that_names_the_right() -> None:
    said = 'services is forbidden: User "v" cannot list resource "services" in API group ""'
    found = audited(lambda r: refused(said) if r.path.endswith("/services") and r.method == "GET" else None)["ISO-135"]
    assert found.verdict is Verdict.ERROR
    assert "the verifier lacks a right: it cannot list services in namespace moitt-eoffice" in (found.reason or "")


def test_routes_are_read_in_the_version_that_the_cluster_serves() -> None:
    route = {"metadata": {"name": "old"}, "spec": {"hostnames": ["tax.fbr.gov.pk"]}}

    def script(request: Request) -> Answer | None:
        if request.path == f"{GATEWAYS}v1alpha2":
            return Answer(200, {"resources": [{"name": "grpcroutes"}]})
        return (
            Answer(200, {"items": [route]})
            if request.path.endswith("v1alpha2/namespaces/moitt-eoffice/grpcroutes")
            else None
        )

    assert "GRPCRoute moitt-eoffice/old: spec.hostnames[0]: tax.fbr.gov.pk" in audited(script)["ISO-134"].observed


def test_pages_are_read_to_the_end() -> None:
    def script(request: Request) -> Answer | None:
        if request.method != "GET" or not request.path.endswith("/services"):
            return None
        if "continue" in request.params:
            return Answer(200, {"items": [{"metadata": {"name": "last"}, "spec": {"type": "NodePort"}}]})
        return Answer(200, {"items": [], "metadata": {"continue": "more"}})

    assert "Service moitt-eoffice/last: spec.type: NodePort" in audited(script)["ISO-135"].observed


def test_onboarding_leaves_them_out_and_says_so() -> None:
    assert not audited(lambda _r: None, quick=True).keys() & IDS
    assert set(omitted(quick=True)) >= IDS
    assert audited(lambda _r: None).keys() >= IDS
