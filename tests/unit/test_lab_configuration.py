"""What the programs are told: the flags that must be there, and no secret among them."""

import json
from pathlib import Path

import pytest
import yaml

from gcloud_pk.lab import configuration, kubeconfig, pki, ports
from gcloud_pk.lab.configuration import STARTED, Layout

LAB = Layout(Path("/lab"))
PORTS = {name: 20001 + index for index, name in enumerate(ports.NAMES)}
FLAGS = {program: configuration.arguments(program, LAB, PORTS) for program in STARTED}

REQUIRED = {
    "etcd": [
        "--client-cert-auth",
        "--peer-client-cert-auth",
        "--tls-min-version=TLS1.3",
        "--listen-client-urls=https://127.0.0.1:20001",
        "--listen-peer-urls=https://127.0.0.1:20002",
        "--auto-compaction-mode=periodic",
    ],
    "kube-apiserver": [
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--profiling=false",
        "--enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs,AlwaysPullImages",
        "--tls-min-version=VersionTLS13",
        "--bind-address=127.0.0.1",
        "--encryption-provider-config=/lab/config/encryption.yaml",
        "--audit-log-path=/lab/log/audit.log",
        "--audit-log-maxsize=100",
        "--requestheader-client-ca-file=/lab/pki/front-proxy-ca.crt",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=none",
        "--client-ca-file=/lab/pki/cluster-ca.crt",
        "--etcd-cafile=/lab/pki/etcd-ca.crt",
    ],
    "kube-controller-manager": [
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--tls-min-version=VersionTLS13",
        "--profiling=false",
    ],
    "kube-scheduler": [
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--tls-min-version=VersionTLS13",
        "--profiling=false",
    ],
}


@pytest.mark.parametrize(("program", "flag"), [(p, flag) for p, flags in REQUIRED.items() for flag in flags])
def test_a_flag_that_security_rests_on_is_there(program: str, flag: str) -> None:
    assert flag in FLAGS[program]


@pytest.mark.parametrize("program", STARTED)
def test_every_listener_is_on_loopback_and_no_path_is_relative(program: str) -> None:
    for flag in FLAGS[program]:
        name, _, value = flag.partition("=")
        if name.endswith(("-url", "-urls", "address")) and program in {"etcd", "kube-apiserver"}:
            assert "127.0.0.1" in value
        if name.endswith(("file", "dir", "kubeconfig", "path")):
            assert value.startswith("/lab/")


@pytest.mark.parametrize("program", STARTED)
def test_no_flag_stands_twice(program: str) -> None:
    names = [flag.partition("=")[0] for flag in FLAGS[program]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "controller",
    [
        "namespace",
        "resourcequota",
        "serviceaccount",
        "serviceaccount-token",
        "root-ca-certificate-publisher",
        "garbage-collector",
        "clusterrole-aggregation",
        "validatingadmissionpolicy-status",
        "job",
        "persistentvolumeclaim-protection",
        "pod-garbage-collector",
    ],
)
def test_the_working_set_of_controllers_runs(controller: str) -> None:
    assert f"{controller}-controller" in configuration.CONTROLLERS


def test_the_audit_policy_logs_every_request_and_no_body() -> None:
    policy = yaml.safe_load(configuration.audit())
    assert policy["rules"] == [{"level": "Metadata"}]


def test_pod_security_is_restricted_by_default() -> None:
    settings = yaml.safe_load(configuration.admission())["plugins"][0]["configuration"]
    assert {settings["defaults"][mode] for mode in ("enforce", "audit", "warn")} == {"restricted"}
    assert settings["exemptions"]["namespaces"] == ["kube-system"]


def test_secrets_are_encrypted_and_a_plain_one_is_never_read() -> None:
    (resource,) = json.loads(configuration.encryption("a2V5"))["resources"]
    assert resource["resources"] == ["secrets"]
    assert [list(provider) for provider in resource["providers"]] == [["secretbox"]]


def test_the_kubeconfig_has_its_contexts_and_the_first_is_current() -> None:
    users = {name: kubeconfig.Credential(b"cert", b"key") for name in pki.CONTEXTS}
    document = yaml.safe_load(kubeconfig.portable("lab", "https://127.0.0.1:1", b"ca", users))
    assert [context["name"] for context in document["contexts"]] == ["onboarder", "verifier", "auditor", "admin"]
    assert document["current-context"] == "onboarder"
    assert {c["context"]["user"] for c in document["contexts"]} == {user["name"] for user in document["users"]}


def test_two_labs_can_be_merged_into_one_kubeconfig() -> None:
    users = {"admin": kubeconfig.Credential(b"cert", b"key")}
    one, two = (yaml.safe_load(kubeconfig.portable(name, "https://127.0.0.1:1", b"ca", users)) for name in ("a", "b"))
    assert one["users"][0]["name"] != two["users"][0]["name"]
    assert one["clusters"][0]["name"] != two["clusters"][0]["name"]
