"""What this node is to its Kubernetes cluster, and how its programs are run. Runs on the node; Python 3.9.

A node that kubeadm is busy with carries `begun.json`; one that kubeadm has finished with carries `member.json` as well.
A run that was killed between the two leaves a half-made node, which the next run takes back and makes anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

KUBERNETES = Path("/etc/kubernetes")
OURS = KUBERNETES / "gcloud-pk"
"""Our own folder below Kubernetes': configuration, policies, and what is known of this node."""
ENCRYPTION = OURS / "api-server/encryption.yaml"
"""What the API servers encrypt secrets with; the same on each control plane."""
BEGUN, MEMBER = OURS / "begun.json", OURS / "member.json"
SECRETS = Path("/run/gcloud-pk")
"""A folder in memory for what holds a token or a key while kubeadm reads it."""
ADMIN = KUBERNETES / "admin.conf"
ETCD_DATA = Path("/var/lib/etcd/data")
KUBELET_SETTINGS = Path("/var/lib/kubelet/config.yaml")
KUBELET_FLAGS = Path("/var/lib/kubelet/kubeadm-flags.env")
KUBELET_KEYS = Path("/var/lib/kubelet/pki")
LOCK = Path("/run/gcloud-pk-cluster.lock")

_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
WRITTEN = {
    "kubelet": (KUBELET_SETTINGS,),
    "control_plane": tuple(KUBERNETES / "manifests" / f"{name}.yaml" for name in _PROGRAMS),
}
"""What kubeadm writes settings to, by what they are of. Not etcd's manifest: that is written when a member joins."""

ROUTES = "207"
"""The number by which the kernel knows routes to other nodes' pods (rtnetlink(7), rtm_protocol)."""

TRACES = (KUBERNETES / "kubelet.conf", ADMIN, KUBERNETES / "manifests/etcd.yaml", KUBELET_SETTINGS)
"""What any kubeadm leaves behind."""

ABSENT, HALF, JOINED, FOREIGN = "absent", "half", "member", "foreign"

NOBODYS = "of nobody"
"""What is written on the token that init makes because it must."""

SHARED = ("configmap", "kubeadm-config", "--namespace=kube-system")
SETTINGS = "gcloud.gov.pk/settings"
"""The annotation of kubeadm's ConfigMap that tells settings apart."""

_TAIL = 2_500
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(Exception):  # noqa: N818 - it is not this program's error
    """A program did not do what it was asked; the text is for people."""


class Standing(NamedTuple):
    """What a node is: `state` is one of ABSENT, HALF, JOINED, FOREIGN; `known` is what its last full run noted."""

    state: str
    known: dict[str, Any]


def note(path: Path) -> dict[str, Any] | None:
    """Return one of our notes; None where it is missing or torn."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def standing() -> Standing:
    """Return what this node is, by what lies on it.

    Of `digests` those are left out whose files are not as they were noted (`drifted`): settings that somebody changed
    here are not in force as the cluster knows them, and the next run over this node puts them right.
    """
    member = note(MEMBER)
    if member is not None and (KUBERNETES / "kubelet.conf").exists():
        drifted = sorted(concern for concern, files in member.get("files", {}).items() if files != seen(concern))
        digests = {name: digest for name, digest in member.get("digests", {}).items() if name not in drifted}
        return Standing(JOINED, {**member, "digests": digests, "drifted": drifted})
    if BEGUN.exists() or member is not None:
        return Standing(HALF, note(BEGUN) or {})
    return Standing(FOREIGN if any(trace.exists() for trace in TRACES) else ABSENT, {})


def seen(concern: str) -> dict[str, str]:
    """Return the SHA-256 of each file that settings are put into force by; empty for one that is not there."""
    return {str(path): digest(path) for path in WRITTEN.get(concern, ())}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Put a file in its place at once; its folder is root's alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(handle, mode)
        stream.write(text)
        stream.flush()
        os.fsync(handle)
    aside.replace(path)


def record(path: Path, **values: Any) -> None:
    """Write one of our notes."""
    write(path, json.dumps(values, sort_keys=True) + "\n")


@contextlib.contextmanager
def turn(seconds: float) -> Iterator[int]:
    """Wait until no other run works at this node's membership; yields the lock, which started programs inherit.

    A run whose controller was killed goes on until its kubeadm ends: two at once would spoil the node. Raises `Failed`.
    """
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Failed(f"another run has been at work here for more than {seconds:.0f} s") from None
                time.sleep(0.2)
        yield handle
    finally:
        os.close(handle)


def tail(text: str) -> str:
    """Return the end of what a program said."""
    return text[-_TAIL:].strip()


def run(
    words: Sequence[str], *, seconds: float, given: str | None = None, lock: int | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a program, without a shell. Raises `Failed` where it is missing, takes too long or, with `check`, fails."""
    env = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}
    try:
        done = subprocess.run(
            list(words),
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=env,
            pass_fds=() if lock is None else (lock,),
        )
    except FileNotFoundError:
        raise Failed(f"{words[0]} is not on this node") from None
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise Failed(f"{words[0]} {words[1]} did not end within {seconds:.0f} s: {tail(text)}") from None
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(words[:3])} failed ({done.returncode}): {tail(done.stderr or done.stdout)}")
    return done


def kubectl(
    *words: str, seconds: float = 90, given: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run kubectl as the cluster's administrator, on a control plane. Raises `Failed`."""
    patience = f"--request-timeout={max(1, int(seconds) - 1)}s"
    return run(["kubectl", f"--kubeconfig={ADMIN}", patience, *words], seconds=seconds, given=given, check=check)


def note_settings(digest: str) -> None:
    """Note at the cluster which settings it was told last. Raises `Failed`."""
    kubectl("annotate", *SHARED, f"{SETTINGS}={digest}", "--overwrite")


def objects(*words: str, seconds: float = 90) -> list[dict[str, Any]]:
    """Return the items of `kubectl get WORDS`. Raises `Failed`."""
    said = kubectl("get", *words, "--output=json", seconds=seconds).stdout
    found: list[dict[str, Any]] = json.loads(said)["items"]
    return found


def remove(*paths: Path) -> bool:
    """Remove files and folders; whether anything was there."""
    there = [path for path in paths if path.is_symlink() or path.exists()]
    for path in there:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return bool(there)


def disconnect() -> None:
    """Take the pods' network away: bridge, routes, and the tables of kube-proxy and ours; what is not there is fine."""
    for words in (
        ["ip", "route", "flush", "proto", ROUTES],
        ["ip", "link", "delete", "cni0"],
        ["nft", "delete", "table", "ip", "kube-proxy"],
        ["nft", "delete", "table", "ip6", "kube-proxy"],
        ["nft", "delete", "table", "ip", "gcloud_pk_pods"],
    ):
        run(words, seconds=10, check=False)
    remove(Path("/var/lib/cni/networks"), Path("/var/lib/cni/results"))


def reset(lock: int, *, seconds: float = 180) -> bool:
    """Take this node's membership away from it: kubeadm's files, etcd's data, the pods' network. Raises `Failed`.

    The cluster's side (the Node, the member of etcd) is another module's: this node may be the one that cannot ask.
    """
    had = standing().state != ABSENT or ETCD_DATA.exists()
    if had and shutil.which("kubeadm", path=_PATH):
        # Its own removal from etcd would only warn where that fails, and go on.
        run(["kubeadm", "reset", "--force", "--skip-phases=remove-etcd-member"], seconds=seconds, lock=lock)
        disconnect()
    left = remove(ETCD_DATA, *(path for path in TRACES if path.exists()), KUBERNETES / "pki", SECRETS)
    # Last: a run that is killed before is seen by the next.
    return remove(MEMBER, BEGUN) or left or had
