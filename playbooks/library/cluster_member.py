"""Ansible module: makes this node a member of its cluster by kubeadm, changes its settings, or takes it back."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import string
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node, cluster_store
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_node, cluster_store
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_member
short_description: kubeadm init, join, a change of settings, or reset, each only where it is due
description:
  - A node that a killed run left half made is reset first; one that is a member is not touched by C(init) and C(join).
  - A node that carries a cluster which these playbooks did not make is refused.
  - Tokens and keys lie in files of root in memory while kubeadm reads them, and in no command line.
options:
  act: {description: What to do., type: str, required: true, choices: [init, join, configure, leave]}
  cluster: {description: The cluster's name., type: str, required: true}
  address: {description: The node's address., type: str}
  port: {description: The port of the API server., type: int, default: 6443}
  control_plane: {description: Whether the node carries the control plane., type: bool, default: false}
  registration: {description: nodeRegistration of kubeadm's v1beta4., type: dict, default: {}}
  images:
    description: Images of the node's control plane, which are there before kubeadm begins.
    type: list
    elements: str
    default: []
  configuration: {description: "Documents of the cluster, its kubelets and kube-proxy.", type: str, default: ""}
  digests:
    description: Digests of the settings in force after the act, by what they are of (C(kubelet), C(control_plane)),
      and of what the cluster itself is told (C(shared)).
    type: dict
    default: {}
  discovery: {description: "The cluster as one that joins sees it: a kubeconfig with a token.", type: str}
  token: {description: The bootstrap token., type: str}
  certificate_key: {description: The key of the certificates that a control plane fetches., type: str}
  peers:
    description: Nodes of the run; while one of them is not well after its settings changed, no other gets them.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The node's name., type: str, required: true}
      address: {description: Its address., type: str, required: true}
  peers_control_planes: {description: Names of the control planes., type: list, elements: str, default: []}
  seconds: {description: The longest that kubeadm may take., type: int, default: 300}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says whether anything would be done.}
"""

EXAMPLES = r"""
- name: A worker joins
  cluster_member:
    act: join
    cluster: isb-1-a
    address: 10.207.0.21
    discovery: "{{ invitation.discovery }}"
    token: "{{ invitation.token }}"
"""

RETURN = r"""
steps:
  description: What was done.
  type: list
  elements: str
  returned: success
seconds:
  description: How long each step took.
  type: dict
  returned: success
"""

API = "kubeadm.k8s.io/v1beta4"
KUBELET_PORT = 10250
PATCHES = cluster_node.OURS / "patches"
_STOPPED = "the settings go no further; this node keeps its own."
_LETTERS = string.ascii_lowercase + string.digits
_HEALTH = ("curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null")


def throwaway_token() -> str:
    """Return a bootstrap token that nobody is told: init without one would leave a token of its own for a day."""
    word = "".join(secrets.choice(_LETTERS) for _ in range(22))
    return f"{word[:6]}.{word[6:]}"


def init_document(given: dict[str, Any], token: str) -> dict[str, Any]:
    """Return kubeadm's InitConfiguration."""
    return {
        "apiVersion": API,
        "kind": "InitConfiguration",
        "bootstrapTokens": [
            {"token": token, "ttl": "1m0s", "usages": ["authentication"], "description": cluster_node.NOBODYS}
        ],
        "localAPIEndpoint": {"advertiseAddress": given["address"], "bindPort": given["port"]},
        "nodeRegistration": given["registration"],
        "patches": {"directory": str(PATCHES)},
    }


def join_document(given: dict[str, Any], discovery: Path) -> dict[str, Any]:
    """Return kubeadm's JoinConfiguration; the discovery file carries the authority's certificate itself."""
    document: dict[str, Any] = {
        "apiVersion": API,
        "kind": "JoinConfiguration",
        "discovery": {"file": {"kubeConfigPath": str(discovery)}, "tlsBootstrapToken": given["token"]},
        "nodeRegistration": given["registration"],
    }
    if given["control_plane"]:
        document["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": given["address"], "bindPort": given["port"]},
            "certificateKey": given["certificate_key"],
        }
        document["patches"] = {"directory": str(PATCHES)}
    return document


def encryption(key: bytes) -> dict[str, Any]:
    """Return the encryption configuration: secretbox under a key of 32 bytes; no plain secret is ever read."""
    import base64

    keys = [{"name": "first", "secret": base64.b64encode(key).decode("ascii")}]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"secretbox": {"keys": keys}}]}],
    }


class Work:
    """One act on this node, under its lock."""

    def __init__(self, given: dict[str, Any], lock: int) -> None:
        self.given, self.lock = given, lock
        self.steps: list[str] = []
        self.seconds: dict[str, float] = {}

    def kubeadm(self, *words: str) -> None:
        """Run kubeadm. Raises `Failed`."""
        began = time.monotonic()
        cluster_node.run(["kubeadm", *words], seconds=self.given["seconds"], lock=self.lock)
        self.done(f"kubeadm {words[0]}", began)

    def done(self, step: str, began: float) -> None:
        """Note a step and how long it took."""
        self.steps.append(step)
        self.seconds[step] = round(time.monotonic() - began, 2)

    def cleared(self) -> None:
        """Take back what a killed run left here."""
        if cluster_node.standing().state == cluster_node.HALF:
            began = time.monotonic()
            cluster_node.reset(self.lock, seconds=self.given["seconds"])
            self.done("what a run that was killed left is taken back", began)

    def images(self) -> None:
        """Have the images of this node's control plane: kubeadm would wait for those too that others run."""
        began = time.monotonic()
        if self.given["images"]:
            cluster_store.have(self.given["images"], seconds=self.given["seconds"])
            self.done("images", began)

    def noted(self) -> None:
        """Write down that this node is whole, with the settings it has now."""
        # kubeadm and the kubelet leave them open for all to read, and hardening (role kubernetes_node) would find that.
        private = {
            cluster_node.KUBELET_SETTINGS: 0o600,
            cluster_node.KUBELET_FLAGS: 0o600,
            cluster_node.KUBELET_KEYS: 0o700,
        }
        for path, mode in private.items():
            with contextlib.suppress(FileNotFoundError):
                path.chmod(mode)
        cluster_node.record(
            cluster_node.MEMBER,
            cluster=self.given["cluster"],
            control_plane=self.given["control_plane"],
            digests=self.given["digests"],
            files={one: cluster_node.seen(one) for one in concerns(self.given["control_plane"])},
        )

    def begin(self) -> None:
        """Note that kubeadm is at work: where this run is killed, the next one sees it."""
        cluster_node.record(cluster_node.BEGUN, cluster=self.given["cluster"], act=self.given["act"])

    def init(self) -> None:
        """Make the cluster on this node."""
        self.images()
        self.cleared()
        self.begin()
        if not cluster_node.ENCRYPTION.exists():
            cluster_node.write(cluster_node.ENCRYPTION, json.dumps(encryption(secrets.token_bytes(32))))
        file = cluster_node.SECRETS / "init.yaml"
        try:
            document = init_document(self.given, throwaway_token())
            cluster_node.write(file, f"{json.dumps(document)}\n---\n{self.given['configuration']}")
            self.kubeadm("init", f"--config={file}", "--skip-token-print", "--skip-certificate-key-print")
            cluster_node.note_settings(self.given["digests"].get("shared", ""))
        finally:
            file.unlink(missing_ok=True)
        self.noted()

    def join(self) -> None:
        """Bring this node into the cluster."""
        self.images()
        self.cleared()
        self.begin()
        file, discovery = cluster_node.SECRETS / "join.yaml", cluster_node.SECRETS / "discovery.conf"
        try:
            cluster_node.write(discovery, self.given["discovery"])
            cluster_node.write(file, json.dumps(join_document(self.given, discovery)))
            self.kubeadm("join", f"--config={file}")
        finally:
            for path in (file, discovery):
                path.unlink(missing_ok=True)
        self.noted()

    def configure(self) -> None:
        """Put changed settings into force: the kubelet's, and those of the control plane's programs."""
        self.peers_are_well()
        now = cluster_node.standing().known.get("digests", {})
        wanted = self.given["digests"]
        began = time.monotonic()
        if now.get("kubelet") != wanted.get("kubelet"):
            cluster_node.run(
                ["kubeadm", "upgrade", "node", "phase", "kubelet-config"],
                seconds=self.given["seconds"],
                lock=self.lock,
            )
            cluster_node.run(["systemctl", "restart", "kubelet.service"], seconds=90)
            self.until("http://127.0.0.1:10248/healthz", "the kubelet")
            self.done("kubelet's settings", began)
        if self.given["control_plane"] and now.get("control_plane") != wanted.get("control_plane"):
            began = time.monotonic()
            self.programs()
            self.done("control plane's settings", began)
        self.noted()

    def peers_are_well(self) -> None:
        """Raise `Failed` while another node of the run is not: settings that break one must not break the next."""
        for peer in self.given["peers"]:
            if not answers(peer["address"], KUBELET_PORT):
                raise Failed(f"{peer['name']}'s kubelet does not answer: {_STOPPED}")
            if peer["name"] in self.given["peers_control_planes"] and not self.well(
                f"https://{_host(peer['address'])}:{self.given['port']}/readyz"
            ):
                raise Failed(f"{peer['name']}'s API server is not ready: {_STOPPED}")

    def programs(self) -> None:
        """Write the manifests of this node's control plane anew; the kubelet starts its programs again."""
        file = cluster_node.SECRETS / "configure.yaml"
        before = cluster_node.digest(cluster_node.KUBERNETES / "manifests/kube-apiserver.yaml")
        try:
            document = init_document(self.given, throwaway_token())
            cluster_node.write(file, f"{json.dumps(document)}\n---\n{self.given['configuration']}")
            words = ["kubeadm", "init", "phase", "control-plane", "all", f"--config={file}"]
            cluster_node.run(words, seconds=self.given["seconds"], lock=self.lock)
        finally:
            file.unlink(missing_ok=True)
        if cluster_node.digest(cluster_node.KUBERNETES / "manifests/kube-apiserver.yaml") != before:
            time.sleep(5)  # the kubelet has to see the file and stop the old server before the new one can answer
        self.until(f"https://{_host(self.given['address'])}:{self.given['port']}/readyz", "the API server")

    def well(self, url: str) -> bool:
        """Whether something answers well; its certificate has to be of the cluster's authority."""
        words = [*_HEALTH, "--cacert", str(cluster_node.KUBERNETES / "pki/ca.crt"), url]
        return cluster_node.run(words, seconds=10, check=False).returncode == 0

    def until(self, url: str, what: str) -> None:
        """Wait until something answers well. Raises `Failed`."""
        end = time.monotonic() + self.given["seconds"]
        while not self.well(url):
            if time.monotonic() > end:
                raise Failed(f"{what} of this node does not answer well after its settings changed ({url})")
            time.sleep(0.5)

    def leave(self) -> None:
        """Take this node back to what it was."""
        began = time.monotonic()
        if cluster_node.reset(self.lock, seconds=self.given["seconds"]):
            self.done("kubeadm reset", began)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def answers(address: str, port: int) -> bool:
    """Whether somebody takes connections at a port."""
    try:
        with socket.create_connection((address, port), timeout=3):
            return True
    except OSError:
        return False


def concerns(control_plane: bool) -> tuple[str, ...]:
    """Return what of a node settings are of."""
    return ("kubelet", "control_plane") if control_plane else ("kubelet",)


def due(act: str, found: cluster_node.Standing, digests: dict[str, Any], *, control_plane: bool) -> bool:
    """Whether an act has something to do. Raises `Failed` where it must not be done."""
    if found.state == cluster_node.FOREIGN:
        raise Failed(
            "This node carries a Kubernetes that these playbooks did not make; nothing was touched. "
            "Is it the right node? If so: kubeadm reset, then again."
        )
    if act == "leave":
        return found.state != cluster_node.ABSENT
    if act == "configure":
        known = found.known.get("digests", {})
        return found.state == cluster_node.JOINED and any(
            known.get(one) != digests.get(one) for one in concerns(control_plane)
        )
    return found.state != cluster_node.JOINED


def main() -> None:
    module = AnsibleModule(argument_spec=_spec(), supports_check_mode=True)
    given: dict[str, Any] = module.params
    try:
        with cluster_node.turn(given["seconds"]) as lock:
            found = cluster_node.standing()
            needed = due(given["act"], found, given["digests"], control_plane=given["control_plane"])
            work = Work(given, lock)
            if needed and not module.check_mode:
                getattr(work, given["act"])()
    except (Failed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=needed, steps=work.steps, seconds=work.seconds)


def _spec() -> dict[str, Any]:
    return {
        "act": {"type": "str", "required": True, "choices": ["init", "join", "configure", "leave"]},
        "cluster": {"type": "str", "required": True},
        "address": {"type": "str"},
        "port": {"type": "int", "default": 6443},
        "control_plane": {"type": "bool", "default": False},
        "registration": {"type": "dict", "default": {}},
        "images": {"type": "list", "elements": "str", "default": []},
        "configuration": {"type": "str", "default": ""},
        "digests": {"type": "dict", "default": {}},
        "discovery": {"type": "str", "no_log": True},
        "token": {"type": "str", "no_log": True},
        "certificate_key": {"type": "str", "no_log": True},
        "peers": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "address": {"type": "str", "required": True},
            },
        },
        "peers_control_planes": {"type": "list", "elements": "str", "default": []},
        "seconds": {"type": "int", "default": 300},
    }


if __name__ == "__main__":
    main()
