"""What each program of the control plane is told: its flags and its configuration files. Pure; the caller writes.

The flags and the reasons for those that surprise are measured facts; see docs/lab.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.lab import kubeconfig, pki
from gcloud_pk.programs.pins import API_SERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER

SERVICE_RANGE = "10.209.0.0/16"
SERVICE_IP = "10.209.0.1"

STARTED = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER)
"""The programs that run, in the order in which they start."""

CONTROLLERS = (
    # What tenants need at once: namespaces that end, quotas that count, service accounts, aggregated roles, and
    # admission policies whose types are checked.
    "namespace-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
    # What workloads need.
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "cronjob-controller",
    "disruption-controller",
    "endpointslice-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
)

_TLS = ("--tls-min-version=VersionTLS13", "--profiling=false")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of one lab lie under its folder."""

    folder: Path

    @property
    def state(self) -> Path:
        """What is known of the lab: ports, processes, programs."""
        return self.folder / "lab.json"

    @property
    def keys(self) -> Path:
        """Keys and certificates."""
        return self.folder / "pki"

    @property
    def config(self) -> Path:
        """Configuration files of the programs."""
        return self.folder / "config"

    @property
    def logs(self) -> Path:
        """One log for each program, and `audit.log`."""
        return self.folder / "log"

    @property
    def etcd(self) -> Path:
        """The data."""
        return self.folder / "etcd"

    @property
    def encryption(self) -> Path:
        """The key that secrets are encrypted with; the only thing that cannot be made anew."""
        return self.config / "encryption.yaml"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig for people, with a context for each identity."""
        return self.folder / "kubeconfig"

    @property
    def users(self) -> Path:
        """Kubeconfigs of tenants' groups."""
        return self.folder / "users"

    def log(self, program: str) -> Path:
        """Return the log of a program."""
        return self.logs / f"{program}.log"

    def pair(self, name: str) -> pki.Pair:
        """Return certificate and key of a leaf."""
        return pki.pair(self.keys, name)

    def authority(self, name: str) -> Path:
        """Return the certificate of an authority."""
        return self.pair(name).certificate


def server(ports: Mapping[str, int]) -> str:
    """Return the API server's URL."""
    return f"https://127.0.0.1:{ports[API_SERVER]}"


def arguments(program: str, lab: Layout, ports: Mapping[str, int]) -> list[str]:
    """Return the flags of one of STARTED."""
    return {
        ETCD: _etcd,
        API_SERVER: _api_server,
        CONTROLLER_MANAGER: _controller_manager,
        SCHEDULER: _scheduler,
    }[program](lab, ports)


def _etcd(lab: Layout, ports: Mapping[str, int]) -> list[str]:
    client, peer = f"https://127.0.0.1:{ports['etcd']}", f"https://127.0.0.1:{ports['etcd-peer']}"
    serving, peers, authority = lab.pair("etcd"), lab.pair("etcd-peer"), lab.authority(pki.ETCD_CA)
    return [
        "--name=lab",
        f"--data-dir={lab.etcd}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=lab={peer}",
        f"--cert-file={serving.certificate}",
        f"--key-file={serving.key}",
        f"--trusted-ca-file={authority}",
        "--client-cert-auth",
        f"--peer-cert-file={peers.certificate}",
        f"--peer-key-file={peers.key}",
        f"--peer-trusted-ca-file={authority}",
        "--peer-client-cert-auth",
        "--tls-min-version=TLS1.3",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--quota-backend-bytes=4294967296",
        "--logger=zap",
        "--log-level=warn",
    ]


def _api_server(lab: Layout, ports: Mapping[str, int]) -> list[str]:
    serving, to_etcd, proxy = lab.pair("apiserver"), lab.pair("apiserver-etcd"), lab.pair("front-proxy")
    return [
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports[API_SERVER]}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        *_TLS,
        f"--etcd-servers=https://127.0.0.1:{ports['etcd']}",
        f"--etcd-cafile={lab.authority(pki.ETCD_CA)}",
        f"--etcd-certfile={to_etcd.certificate}",
        f"--etcd-keyfile={to_etcd.key}",
        f"--client-ca-file={lab.authority(pki.CLUSTER_CA)}",
        # Without it the controller manager floods its log with «missing content for CA bundle».
        f"--requestheader-client-ca-file={lab.authority(pki.FRONT_PROXY_CA)}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={proxy.certificate}",
        f"--proxy-client-key-file={proxy.key}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs,AlwaysPullImages",
        f"--admission-control-config-file={lab.config / 'admission.yaml'}",
        f"--encryption-provider-config={lab.encryption}",
        f"--audit-policy-file={lab.config / 'audit.yaml'}",
        f"--audit-log-path={lab.logs / 'audit.log'}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=5",
        "--audit-log-maxage=30",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={lab.keys / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={lab.keys / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # One server on loopback: an endpoint of it would serve no pod.
        "--endpoint-reconciler-type=none",
        # `false` would answer before Pod Security does, and hide whether that works.
        "--allow-privileged=true",
        "--event-ttl=1h",
    ]


def _delegated(lab: Layout, program: str) -> list[str]:
    """Return the flags by which a program knows the API server, and lets it judge who asks."""
    own = lab.config / f"{program}.kubeconfig"
    return [f"--kubeconfig={own}", f"--authentication-kubeconfig={own}", f"--authorization-kubeconfig={own}"]


def _controller_manager(lab: Layout, ports: Mapping[str, int]) -> list[str]:
    serving = lab.pair("controller-manager")
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={ports[CONTROLLER_MANAGER]}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        *_TLS,
        *_delegated(lab, CONTROLLER_MANAGER),
        f"--controllers={','.join(CONTROLLERS)}",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={lab.keys / 'service-accounts.key'}",
        f"--root-ca-file={lab.authority(pki.CLUSTER_CA)}",
        # 20 requests a second, the default, makes hundreds of ending namespaces wait for the client, not the server.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _scheduler(lab: Layout, ports: Mapping[str, int]) -> list[str]:
    serving = lab.pair("scheduler")
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={ports[SCHEDULER]}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        *_TLS,
        *_delegated(lab, SCHEDULER),
        "--leader-elect=false",
    ]


def _yaml(document: Mapping[str, Any]) -> str:
    """Return JSON, which every YAML reader takes; nobody edits these files."""
    return json.dumps(document, indent=2) + "\n"


def admission() -> str:
    """Return the admission configuration: Pod Security is `restricted` wherever a namespace does not say otherwise."""
    levels = {
        f"{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", "latest"))
    }
    return _yaml(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AdmissionConfiguration",
            "plugins": [
                {
                    "name": "PodSecurity",
                    "configuration": {
                        "apiVersion": "pod-security.admission.config.k8s.io/v1",
                        "kind": "PodSecurityConfiguration",
                        "defaults": levels,
                        "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
                    },
                }
            ],
        }
    )


def audit() -> str:
    """Return the audit policy: who did what to which object, for every request; never a body, so never a secret."""
    return _yaml(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        }
    )


def encryption(key: str) -> str:
    """Return the encryption configuration: secretbox under `key` (32 bytes, base64); no plain secret is ever read."""
    return _yaml(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [
                {
                    "resources": ["secrets"],
                    "providers": [{"secretbox": {"keys": [{"name": "lab", "secret": key}]}}],
                }
            ],
        }
    )


def program_files(lab: Layout, ports: Mapping[str, int]) -> dict[Path, str]:
    """Return the configuration files that follow from layout and ports (all but the encryption key)."""
    clients = {CONTROLLER_MANAGER: "controller-manager", SCHEDULER: "scheduler"}
    return {
        lab.config / "admission.yaml": admission(),
        lab.config / "audit.yaml": audit(),
        **{
            lab.config / f"{program}.kubeconfig": kubeconfig.by_reference(
                server(ports), lab.authority(pki.CLUSTER_CA), lab.pair(client)
            )
            for program, client in clients.items()
        },
    }
