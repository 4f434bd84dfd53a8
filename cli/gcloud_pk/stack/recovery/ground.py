"""Where things lie on a control plane that kubeadm and our playbooks made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def _etcd() -> dict[str, str]:
    folder = "/etc/kubernetes/pki/etcd"
    return {
        "endpoint": "https://127.0.0.1:2379",
        "cacert": f"{folder}/ca.crt",
        "cert": f"{folder}/healthcheck-client.crt",
        "key": f"{folder}/healthcheck-client.key",
    }


@dataclass(frozen=True)
class Ground:
    """Paths and ports. `firewall`: whether the node is a machine of its own, which nftables can close.

    `data`: etcd's; `backups`: of the role cluster_backup; `signers`: keys that sign snapshots, the first that is there.
    """

    kubernetes: str = "/etc/kubernetes"
    data: str = "/var/lib/etcd/data"
    etcd: Mapping[str, str] = field(default_factory=_etcd)
    ports: Mapping[str, int] = field(default_factory=lambda: {"etcd": 2379, "peer": 2380, "api": 6443})
    firewall: bool = True
    backups: str = "/var/lib/gcloud-pk-backup"
    signers: tuple[str, ...] = tuple(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "ecdsa", "rsa"))
