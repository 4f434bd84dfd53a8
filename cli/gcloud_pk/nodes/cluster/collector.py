"""The collector of a cluster: runs on its nodes as the auditor, behind the collector of nodes, and like it.

It reads no key and no secret: of certificates their public part, of the encryption of secrets the names of its
providers, and etcd compares the secrets it keeps by itself, so that none of them leaves it.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gcloud_pk.nodes.collector import Missing, Node, Refused, collect, grepped, machine, paths, read, units

_PKI = "/etc/kubernetes/pki/"
_CERTIFICATES = tuple(
    _PKI + name + ".crt"
    for name in (
        "ca",
        "apiserver",
        "apiserver-kubelet-client",
        "apiserver-etcd-client",
        "front-proxy-ca",
        "front-proxy-client",
        "etcd/ca",
        "etcd/server",
        "etcd/peer",
        "etcd/healthcheck-client",
    )
)
_KUBECONFIGS = tuple(
    f"/etc/kubernetes/{name}.conf" for name in ("admin", "super-admin", "controller-manager", "scheduler", "kubelet")
)
_OURS = "/etc/kubernetes/gcloud-pk/"
_KUBELET = "/var/lib/kubelet/config.yaml"
_SERVER = _OURS + "api-server/"
_TEXTS = (
    *(f"/etc/kubernetes/manifests/{name}.yaml" for name in ("kube-apiserver", "kube-controller-manager")),
    *(f"/etc/kubernetes/manifests/{name}.yaml" for name in ("kube-scheduler", "etcd")),
    _OURS + "kubeadm.yaml",
    *(_SERVER + name + ".yaml" for name in ("admission", "audit", "authentication", "events")),
    _KUBELET,
)
"""Settings without a secret in them; encryption.yaml, which holds the key, is none of them."""

_PROVIDERS = ("aescbc", "aesgcm", "secretbox", "kms", "identity")
_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "kube-proxy")
_KERNEL_NAME = 15
"""Characters of a program's name that the kernel keeps, and ps(1) compares."""

_BACKUP = "/var/lib/gcloud-pk-backup/latest.json"
_LONGEST = 64 * 1024
_MOST = 200
_TRIES = 3

_TRUST = (
    *("--cacert", _PKI + "etcd/ca.crt"),
    *("--cert", _PKI + "etcd/healthcheck-client.crt"),
    *("--key", _PKI + "etcd/healthcheck-client.key"),
)


def _etcdctl(*words: str) -> tuple[str, ...]:
    where = ("--endpoints=https://127.0.0.1:2379", *_TRUST, "--dial-timeout=3s", "--command-timeout=5s")
    return ("/usr/local/bin/etcdctl", *where, *words)


_COUNTED = ("--prefix", "--count-only", "--write-out=fields")


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _among(least: str, most: str) -> str:
    """Return the question whether all secrets that etcd keeps lie between two texts; it changes nothing.

    etcd holds a comparison of a range to be true where it is true of each value in it (etcd, API reference: Compare).
    """
    every = {"key": _coded("/registry/secrets/"), "range_end": _coded("/registry/secrets0"), "target": "VALUE"}
    asked = [
        {**every, "result": "GREATER", "value": _coded(least)},
        {**every, "result": "LESS", "value": _coded(most)},
    ]
    return json.dumps({"compare": asked}, separators=(",", ":"))


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "walk": (
        *("/usr/bin/timeout", "20", "/usr/bin/find", "/etc/passwd", "/etc/kubernetes", "/etc/cni", "/etc/containerd"),
        *("/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d", "/var/lib/etcd"),
        *("/usr/lib/systemd/system/kubelet.service", "/usr/lib/systemd/system/kubelet.service.d", "/var/lib/kubelet"),
        *("-path", "/var/lib/kubelet/pods", "-prune", "-o", "-printf", "%m/%U/%G/%y/%s%p//"),
    ),
    "programs": (
        *("/usr/bin/ps", "-ww", "-C", ",".join(dict.fromkeys(name[:_KERNEL_NAME] for name in _PROGRAMS))),
        *("-o", "uid", "-o", "ppid", "-o", "args"),
    ),
    "texts": ("/usr/bin/grep", "-nHsI", ".", *_TEXTS),
    "certificates": ("/usr/bin/grep", "-nHsI", ".", *_CERTIFICATES),
    "kubeconfigs": ("/usr/bin/grep", "-nHsI", "-e", "server:", "-e", "client-certificate", *_KUBECONFIGS),
    "kubelet_file": ("/usr/bin/stat", "--format=%.6Y %.6W", _KUBELET),
    "kubelet_client": ("/usr/bin/openssl", "x509", "-in", "/var/lib/kubelet/pki/kubelet-client-current.pem"),
    "kubelet_server": ("/usr/bin/openssl", "x509", "-in", "/var/lib/kubelet/pki/kubelet-server-current.pem"),
}
"""What the auditor runs as root on every node of a cluster: exact, read-only, without wildcards."""

CONTROL_PLANE_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "providers": (
        *(
            "/usr/bin/grep",
            "-hosF",
            *(word for name in _PROVIDERS for end in (":", '":') for word in ("-e", name + end)),
        ),
        _SERVER + "encryption.yaml",
    ),
    "etcd_members": _etcdctl("member", "list", "--write-out=json"),
    "etcd_status": _etcdctl("endpoint", "status", "--cluster", "--write-out=json"),
    "etcd_alarms": _etcdctl("alarm", "list", "--write-out=json"),
    "etcd_secrets": _etcdctl("get", "/registry/secrets/", *_COUNTED),
    "etcd_tokens": _etcdctl("get", "/registry/secrets/kube-system/bootstrap-token-", *_COUNTED),
    "etcd_encrypted": (
        *("/usr/bin/curl", "--silent", "--show-error", "--fail", "--max-time", "5", *_TRUST),
        *("--data", _among("k8s:enc:", "k8s:enc;"), "https://127.0.0.1:2379/v3/kv/txn"),
    ),
}
"""What he runs on control planes beside."""


def flags(words: Sequence[str]) -> dict[str, str]:
    """Return the flags of a program's arguments by name without dashes: the last counts, a bare one is `true`."""
    return {name: "true" if value is None else value[:_LONGEST] for name, value in _pairs(words)}


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each flag and its value: `--name=value`, `--name value` or a bare `--name`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if equals:
            yield name, value
        else:
            yield name, rest.pop(0) if rest and not rest[0].startswith("-") else None


def listed(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the items of each flag, of all its occurrences, between commas."""
    found: dict[str, list[str]] = {}
    for name, value in _pairs(words):
        found.setdefault(name, []).extend(one for one in (value or "").split(",") if one)
    return found


def running(output: str) -> dict[str, list[list[str]]]:
    """Return the arguments of the cluster's programs that root runs, as ps(1) lists `uid ppid args`, by name.

    A kubelet is started by the first process; whatever else is called so is none. Pods of tenants do not run as root.
    """
    found: dict[str, list[list[str]]] = {}
    for line in output.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "0":
            continue
        name = words[2].rpartition("/")[2]
        if name in _PROGRAMS and (name != "kubelet" or words[1] == "1"):
            found.setdefault(name, []).append(words[3:])
    return found


def programs(node: Node) -> dict[str, Any]:
    """Return with what flags the cluster's programs run."""
    found: dict[str, Any] = {}
    for name, each in running(node.programs.as_root("programs", codes=(0, 1))).items():
        if len(each) == 1:
            found[name] = {"flags": flags(each[0]), "lists": listed(each[0])}
        else:
            node.refused[f"programs[{name}]"] = f"{len(each)} programs of root's are called {name}: which is meant?"
    return found


def kubelet_file(node: Node) -> dict[str, Any]:
    """Return when the kubelet began, and when its file was last written or put there, in seconds since 1970.

    A file that was put in another's place keeps its time of writing, and not that of its birth (0 where unknown).
    """
    show = ("/usr/bin/systemctl", "show", "--timestamp=us+utc", "--property=ActiveState,ExecMainStartTimestamp")
    lines = node.programs.output(*show, "--", "kubelet.service").splitlines()
    said = {key: value for key, _, value in (line.partition("=") for line in lines)}
    if said.get("ActiveState") != "active":
        return {"file": _KUBELET, "changed": None, "began": None}
    began = dt.datetime.strptime(said["ExecMainStartTimestamp"] + "+0000", "%a %Y-%m-%d %H:%M:%S.%f UTC%z")
    written, born = node.programs.as_root("kubelet_file").split()
    return {"file": _KUBELET, "changed": max(float(written), float(born)), "began": began.timestamp()}


def whole(rows: Iterable[tuple[str, int, str]]) -> dict[str, str]:
    """Return the text of each file of `grep -n .`, which leaves out empty lines."""
    lines: dict[str, list[str]] = {}
    for file, number, text in rows:
        mine = lines.setdefault(file, [])
        mine += [""] * min(number - 1 - len(mine), _MOST) + [text]
    return {file: "\n".join(each)[:_LONGEST] + "\n" for file, each in lines.items()}


def texts(node: Node) -> dict[str, str]:
    """Return the settings of the cluster's programs, by file."""
    return whole(grepped(node.programs.as_root("texts", codes=(0, 1, 2))))


_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates(node: Node) -> dict[str, str]:
    """Return the certificates of the cluster on this node in PEM, by file; nothing else of what these files hold."""
    said = whole(grepped(node.programs.as_root("certificates", codes=(0, 1, 2))))
    for command in ("kubelet_client", "kubelet_server"):
        file = COMMANDS[command][-1]
        try:
            said[file] = node.programs.as_root(command)
        except (Missing, Refused) as error:
            if "No such file" not in str(error) and "Could not open" not in str(error):
                node.refused[f"certificates[{file}]"] = str(error)
    return {file: "\n".join(_BLOCK.findall(text)) + "\n" for file, text in said.items() if _BLOCK.search(text)}


def kubeconfigs(node: Node) -> dict[str, Any]:
    """Return server and certificate (PEM, or the file that holds it) of each kubeconfig of this node."""
    found: dict[str, Any] = {}
    for file, _, line in grepped(node.programs.as_root("kubeconfigs", codes=(0, 1, 2))):
        key, _, value = line.strip().lstrip("- ").partition(":")
        mine = found.setdefault(file, {"server": None, "certificate": None, "file": None})
        if key == "server":
            mine["server"] = value.strip()
        elif key == "client-certificate":
            mine["file"] = value.strip()
        elif key == "client-certificate-data":
            try:
                mine["certificate"] = base64.b64decode(value.strip()).decode("ascii", "replace")
            except ValueError:
                mine["certificate"] = ""
    return found


def encryption(node: Node) -> dict[str, Any]:
    """Return by what secrets are encrypted, in the order of trial, and whether all that etcd keeps are."""
    said = node.tried("encryption.providers", node.programs.as_root, "providers", (0, 1, 2))
    count = node.tried("encryption.secrets", _counted, node, "etcd_secrets")
    answer = node.tried("encryption.encrypted", node.programs.as_root, "etcd_encrypted")
    return {
        "providers": None if said is None else [line.rstrip('":') for line in said.splitlines()],
        "secrets": count,
        # The gateway leaves out what is false (protocol buffers in JSON).
        "encrypted": None if answer is None else json.loads(answer).get("succeeded", False) is True,
    }


def _counted(node: Node, command: str) -> int | None:
    found = re.search(r'^"Count" *: *([0-9]+)$', node.programs.as_root(command), re.MULTILINE)
    return int(found[1]) if found else None


def etcd(node: Node) -> dict[str, Any]:
    """Return the members of etcd, and how each stands, as the member of this node sees them."""
    return {
        "members": node.tried("etcd.members", _members, node),
        "status": node.tried("etcd.status", _status, node),
        "alarms": node.tried("etcd.alarms", _alarms, node),
        "tokens": node.tried("etcd.tokens", _counted, node, "etcd_tokens"),
    }


def _members(node: Node) -> list[dict[str, Any]]:
    said = json.loads(node.programs.as_root("etcd_members")).get("members", ())
    return [
        {
            "id": f"{one['ID']:x}",
            "name": one.get("name", ""),
            "peers": one.get("peerURLs", []),
            "clients": one.get("clientURLs", []),
            "learner": bool(one.get("isLearner")),
        }
        for one in said
    ][:_MOST]


def _status(node: Node) -> list[dict[str, Any]]:
    """Return how each member stands. It ends with an error where one does not answer, and tells of the others."""
    said = node.programs.as_root("etcd_status", codes=(0, 1))
    found = []
    for one in json.loads(said or "[]"):
        status = one["Status"]
        found.append(
            {
                "endpoint": one["Endpoint"],
                "member": f"{status['header']['member_id']:x}",
                "cluster": f"{status['header']['cluster_id']:x}",
                "revision": status["header"].get("revision", 0),
                "leader": f"{status.get('leader', 0):x}",
                "term": status.get("raftTerm", 0),
                "index": status.get("raftIndex", 0),
                "applied": status.get("raftAppliedIndex", 0),
                "bytes": status.get("dbSize", 0),
                "bytes_in_use": status.get("dbSizeInUse", 0),
                "version": status.get("version", ""),
                "errors": status.get("errors") or [],
            }
        )
    return found[:_MOST]


def _alarms(node: Node) -> list[str]:
    said = json.loads(node.programs.as_root("etcd_alarms")).get("alarms") or ()
    return [f"{one.get('memberID', 0):x}: {one.get('alarm')}" for one in said][:_MOST]


def files(node: Node) -> dict[str, Any]:
    """Return modes and owners of the files that checks name. Raises Refused where not all of them were looked at."""
    found = paths(node)
    if not node.complete:
        raise Refused("the walk over the cluster's files was cut short")
    return found


def services(node: Node) -> dict[str, Any]:
    """Return whether the API answers at its address as a Service, by this node's own rules: open, closed or silent.

    Of several API servers one may just have gone: then another is tried, as a client would.
    """
    address = node.request.get("service")
    if not address:
        raise Refused("the site file does not say the range of services")
    said = "silent"
    for _ in range(_TRIES):
        try:
            socket.create_connection((str(address), 443), timeout=2).close()
        except (TimeoutError, socket.timeout):  # noqa: UP041 - two classes in Python 3.9
            continue
        except OSError:
            said = "closed"
        else:
            return {"api": "open"}
    return {"api": said}


def backup(node: Node) -> dict[str, Any]:  # noqa: ARG001 - every section is asked alike
    """Return what the last verified backup noted here. Raises Missing where there was none."""
    found = json.loads(read(_BACKUP))
    return found if isinstance(found, dict) else {}


def of_cluster(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return all facts of a node of a cluster. `request`: as `collect` takes it, with `control_plane` beside."""
    sections = {
        "node": machine,
        "units": units,
        "programs": programs,
        "texts": texts,
        "kubelet_file": kubelet_file,
        "certificates": certificates,
        "kubeconfigs": kubeconfigs,
        "paths": files,
        "services": services,
    }
    commands = dict(COMMANDS)
    if request.get("control_plane"):
        sections.update({"encryption": encryption, "etcd": etcd, "backup": backup})
        commands.update(CONTROL_PLANE_COMMANDS)
    return collect(request, sections, commands, ())
