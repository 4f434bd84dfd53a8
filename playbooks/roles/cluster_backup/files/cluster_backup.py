"""A snapshot of a control plane, made on one of its nodes: etcd and keys, sealed, signed, kept by a rule.

    cluster_backup.py CONFIG           makes one, as the timer does
    (order on standard input)          the same and more, as `gcloud-pk datacenter backup` sends it over SSH

One snapshot is one folder, FOLDER/TIME-rREVISION:

    manifest.json            what it is: whose, when, which revision, how many objects of each resource; no secret
    etcd-000.cms …           `etcdctl snapshot save`, in pieces, each sealed to the recipients (CMS, RFC 5652, RFC 5083)
    keys.cms                 authorities, service accounts' keys, what secrets in etcd are encrypted with: a tar, sealed
    SHA256SUMS, .sig         digests of all of it, signed with the node's SSH host key, namespace gcloud-pk-backup

Nothing of this program is needed to open one: ssh-keygen, sha256sum, openssl and tar do (docs/backup.md). Python's own
library only: it runs on nodes.
"""  # noqa: INP001 - a program, in no package

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

FORMAT = "gcloud-pk-backup/1"
NAMESPACE = "gcloud-pk-backup"
"""Of signatures (ssh-keygen -Y)."""

PIECE = 256 * 1024 * 1024
"""Bytes of etcd's snapshot in one file: openssl holds a whole file, three times over, when it opens one."""

SPARE = 64 * 1024 * 1024
"""Bytes that stay free beyond what is needed."""

NAME = re.compile(r"(\d{8}T\d{6}Z)-r(\d{12,19})")
_MAKING = ".making-"
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STAMP = "%Y%m%dT%H%M%SZ"
_BLOCK = 1024 * 1024
_SKEW = dt.timedelta(minutes=5)
_SECRETS = 5000
"""Secrets that are looked at: by what key each is encrypted."""

_ENCRYPTED = re.compile(rb"k8s:enc:([a-z]+:v\d+:[^:]{1,80}):")
"""What an encrypted value begins with (apiserver: encryptionconfig)."""

_UID_KEY = "/registry/namespaces/kube-system"

_KEYS = (
    "pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "pki/front-proxy-ca.crt", "pki/front-proxy-ca.key",
    "pki/etcd/ca.crt", "pki/etcd/ca.key", "gcloud-pk/api-server/encryption.yaml", "gcloud-pk/kubeadm.yaml",
)  # fmt: skip
"""Below /etc/kubernetes: what cannot be made anew; the rest follows from it."""


class Failed(Exception):  # noqa: N818 - it is not gcloud-pk's error
    """It cannot be done; the text is for people. `kind` is for programs."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Kept(NamedTuple):
    """A snapshot in a folder, as its manifest tells; `uid` is the cluster's."""

    name: str
    time: dt.datetime
    revision: int
    uid: str


class Rule(NamedTuple):
    """What is kept: all of the last `hours`, the newest of each of `days` days, and the `least` newest in any case."""

    hours: int = 24
    days: int = 8
    least: int = 24


def retained(found: Iterable[Kept], now: dt.datetime, rule: Rule, uid: str) -> set[str]:
    """Return the names that stay. Pure.

    A clock that jumped must cost nothing: days count where they have a snapshot, the newest are told by etcd's
    revision, and what seems to come from the future stays. Snapshots of other clusters are nobody's to remove.
    """
    every = list(found)
    ours = [one for one in every if one.uid == uid]
    stay = {one.name for one in every if one.uid != uid}
    stay |= {one.name for one in ours if one.time > now - dt.timedelta(hours=rule.hours)}
    stay |= {one.name for one in sorted(ours, key=lambda one: one.revision, reverse=True)[: rule.least]}
    days: dict[dt.date, Kept] = {}
    for one in sorted(ours, key=lambda one: (one.time, one.revision)):
        if one.time <= now + _SKEW:
            days[one.time.date()] = one
    return stay | {days[day].name for day in sorted(days, reverse=True)[: rule.days]}


def resource_of(key: bytes) -> str:
    """Return the resource of a key: `pods`, `gcloud.gov.pk/tenants`; of a key that is none of Kubernetes', `other`.

    API groups of custom resources have a dot, and stand before the resource (apiserver: generic registry, KeyRootFunc).
    """
    parts = key.decode("utf-8", "replace").split("/")
    if len(parts) < 4 or parts[0] or parts[1] != "registry":
        return "other"
    return "/".join(parts[2:4]) if "." in parts[2] and len(parts) > 4 else parts[2]


def counted(lines: Iterable[bytes]) -> dict[str, int]:
    """Return how many keys there are of each resource, of what `etcdctl get --keys-only` prints."""
    totals: dict[str, int] = {}
    for line in lines:
        if key := line.rstrip(b"\n"):
            resource = resource_of(key)
            totals[resource] = totals.get(resource, 0) + 1
    return dict(sorted(totals.items()))


def run(words: Sequence[str], *, seconds: float = 120, given: bytes = b"", kind: str = "failed") -> bytes:
    """Run a program, without a shell; return its standard output. Raises Failed."""
    env = {"PATH": os.environ.get("GCLOUD_PK_PATH", _PATH), "LC_ALL": "C.UTF-8", "HOME": "/root"}
    try:
        done = subprocess.run(list(words), input=given, capture_output=True, timeout=seconds, check=False, env=env)
    except FileNotFoundError:
        raise Failed("missing", f"{words[0]} is not on {socket.gethostname()}") from None
    except subprocess.TimeoutExpired:
        raise Failed(kind, f"{words[0]} {words[1]} did not end within {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-1500:]
        raise Failed(kind, f"{words[0]} failed ({done.returncode}): {said}")
    return done.stdout


class Etcd:
    """etcd, asked by etcdctl. `config`: endpoint, cacert, cert, key."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._words = ["etcdctl", f"--endpoints={config['endpoint']}", "--dial-timeout=5s", "--command-timeout=600s"]
        for name in ("cacert", "cert", "key"):
            if config.get(name):
                self._words.append(f"--{name}={config[name]}")

    def ask(self, *words: str) -> bytes:
        """Return the answer. Raises Failed."""
        return run([*self._words, *words], seconds=660, kind="etcd")

    def document(self, *words: str) -> Any:
        """Return the answer as JSON. Raises Failed."""
        return json.loads(self.ask(*words, "--write-out=json"))

    def counts(self, revision: int) -> dict[str, int]:
        """Return how many objects of each resource there were at a revision. Raises Failed."""
        return counted(self.ask("get", "", "--from-key", "--keys-only", f"--rev={revision}").splitlines())

    def uid(self, revision: int) -> str:
        """Return the UID of kube-system; metadata.uid is the first UUID in the object. Raises Failed."""
        found = _UUID.search(self.ask("get", _UID_KEY, "--print-value-only", f"--rev={revision}"))
        if found is None:
            raise Failed("etcd", "etcd holds no namespace kube-system: it is no Kubernetes cluster's")
        return found.group().decode("ascii")


def scan(folder: Path) -> tuple[list[Kept], list[tuple[str, str]]]:
    """Return the snapshots in a folder, and what is there and is none: its name, and why. Raises Failed."""
    found, strange = [], []
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise Failed("unreadable", f"{folder} cannot be read: {error.strerror}") from None
    for name in names:
        if name.startswith("."):
            continue
        try:
            found.append(described(folder / name))
        except (OSError, ValueError, KeyError, TypeError) as error:
            strange.append((name, f"its manifest cannot be read: {error}"))
    return found, strange


def described(folder: Path) -> Kept:
    """Return what a snapshot says of itself. Raises OSError, ValueError, KeyError, TypeError."""
    named = NAME.fullmatch(folder.name)
    if named is None:
        raise ValueError("its name is none of a snapshot")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    if manifest["format"] != FORMAT or int(named[2]) != manifest["revision"]:
        raise ValueError("it is of another format, or of another name")
    return Kept(folder.name, parsed(manifest["taken"]), int(manifest["revision"]), str(manifest["uid"]))


def parsed(text: str) -> dt.datetime:
    """Return a moment in UTC. Raises ValueError."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(dt.UTC)


def prune(folder: Path, now: dt.datetime, rule: Rule, uid: str) -> list[str]:
    """Remove what the rule does not keep; return the names. What cannot be read as a snapshot stays."""
    found, _ = scan(folder)
    stay = retained(found, now, rule, uid)
    gone = [one.name for one in found if one.name not in stay]
    for name in gone:
        aside = folder / f"{_MAKING}{name}"  # a removal that is killed is ended by the next run
        (folder / name).rename(aside)
        shutil.rmtree(aside)
    return gone


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder, and clear what a killed run left there. Raises Failed where another run is at work."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failed("unwritable", f"{folder} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("busy", f"another backup is being written to {folder}") from None
        for left in folder.glob(f"{_MAKING}*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(handle)


def certificates(pem: str) -> list[str]:
    """Return the recipients, each as PEM. Raises Failed where there is none."""
    found = re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?", pem)
    if not found:
        raise Failed("recipients", "no recipient is named: nobody could open the backup; nothing was written")
    return [text if text.endswith("\n") else text + "\n" for text in found]


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of a certificate, as `openssl x509 -noout -fingerprint -sha256` does, in small letters."""
    return hashlib.sha256(b64decode("".join(pem.split("-----")[2].split()))).hexdigest()


class Sealer:
    """Seals streams to the recipients. `work`: a private folder for their certificates."""

    def __init__(self, recipients: Sequence[str], work: Path) -> None:
        self._files = []
        for number, pem in enumerate(recipients):
            file = work / f"recipient-{number}.pem"
            file.write_text(pem, encoding="ascii")
            self._files.append(str(file))

    def seal(self, source: IO[bytes], target: Path, limit: int | None = None) -> dict[str, Any]:
        """Seal up to `limit` bytes of a stream; return `{sha256, bytes}` of what was sealed. Raises Failed."""
        words = ["openssl", "cms", "-encrypt", "-aes-256-gcm", "-binary", "-stream", "-outform", "DER"]
        env = {"PATH": os.environ.get("GCLOUD_PK_PATH", _PATH), "LC_ALL": "C.UTF-8"}
        plain, length = hashlib.sha256(), 0
        with subprocess.Popen(
            [*words, "-out", str(target), *self._files],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=env,
        ) as process:
            assert process.stdin is not None  # noqa: S101 - asked for above
            assert process.stderr is not None  # noqa: S101
            with contextlib.suppress(BrokenPipeError):
                while limit is None or length < limit:
                    data = source.read(_BLOCK if limit is None else min(_BLOCK, limit - length))
                    if not data:
                        break
                    plain.update(data)
                    length += len(data)
                    process.stdin.write(data)
                process.stdin.close()
            said = process.stderr.read().decode("utf-8", "replace").strip()[-800:]
        # What is sealed is longer than what it was: a shorter file was cut, whatever openssl's exit code says.
        if process.returncode or not target.exists() or target.stat().st_size <= length:
            raise Failed("seal", f"{target.name} could not be sealed: {said or 'the disk took only a part of it'}")
        return {"sha256": plain.hexdigest(), "bytes": length}


def keys_tar(base: Path, names: Sequence[str]) -> bytes:
    """Return the keys below a folder as a tar, in memory only. Raises Failed where one is missing."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            try:
                data = (base / name).read_bytes()
            except OSError as error:
                raise Failed("keys", f"{base / name} cannot be read: {error.strerror}") from None
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have what was written to a file or folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def room(folder: Path, needed: int) -> None:
    """Raise Failed where a folder's disk has no room for `needed` bytes."""
    there = shutil.disk_usage(folder).free
    if there < needed + SPARE:
        raise Failed(
            "full",
            f"{folder} has {there // 2**20} MiB free, and {(needed + SPARE) // 2**20} MiB are needed; nothing was "
            "written, and nothing that is kept was removed",
        )


def shown(moment: dt.datetime) -> str:
    """Return a moment in UTC, RFC 3339."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def note(config: Mapping[str, Any], **said: Any) -> None:
    """Change some of what `latest.json` says; everybody on the node may read it."""
    if not (where := config.get("latest")):
        return
    path = Path(where)
    if not path.parent.is_dir():  # no snapshot was ever made here
        return
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError):
        before = {}
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps({"restored": None, **before, **said}, sort_keys=True) + "\n", encoding="utf-8")
    aside.chmod(0o644)
    path.parent.chmod(0o755)  # snapshots lie in a folder of their own below it, which stays root's alone
    aside.replace(path)


class Making:
    """One snapshot on its way."""

    def __init__(self, config: Mapping[str, Any], now: dt.datetime) -> None:
        self.config, self.now = config, now
        self.folder = Path(config["folder"])
        self.etcd = Etcd(config["etcd"])
        self.rule = Rule(**config.get("keep", {}))
        self.recipients = certificates(config["recipients"])

    def make(self) -> dict[str, Any]:
        """Make it; return `{name, folder, manifest, removed, warnings}`. Raises Failed."""
        with alone(self.folder), tempfile.TemporaryDirectory(dir=self._work(), prefix=".snapshot-") as private:
            work = Path(private)
            size = max(int(one["Status"]["dbSize"]) for one in self.etcd.document("endpoint", "status"))
            same = self._work().stat().st_dev == self.folder.stat().st_dev
            room(self.folder, (2 if same else 1) * (size + size // 20))
            room(work, size)
            target = Path(tempfile.mkdtemp(dir=self.folder, prefix=_MAKING))
            try:
                return self._filled(work, target)
            except OSError as error:
                kind = "full" if error.errno in {28, 122} else "unwritable"  # ENOSPC, EDQUOT
                raise Failed(
                    kind, f"{error.filename or self.folder}: {error.strerror}; nothing was kept of it"
                ) from None
            finally:
                shutil.rmtree(target, ignore_errors=True)

    def _work(self) -> Path:
        work = Path(self.config["work"])
        try:
            work.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Failed("unwritable", f"{work} cannot be written: {error.strerror}") from None
        return work

    def _filled(self, work: Path, target: Path) -> dict[str, Any]:
        file = work / "snapshot.db"
        self.etcd.ask("snapshot", "save", str(file))
        status = json.loads(run(["etcdutl", "snapshot", "status", str(file), "--write-out=json"], seconds=600))
        revision = int(status["revision"])
        uid = self.etcd.uid(revision)
        if self.config.get("uid") and uid != self.config["uid"]:
            raise Failed("foreign", f"this is cluster {uid}, and the site says {self.config['uid']}; nothing was kept")
        objects = self.etcd.counts(revision)
        sealer = Sealer(self.recipients, work)
        plain = hashlib.sha256()
        files: dict[str, dict[str, Any]] = {}
        with file.open("rb") as stream:
            while not files or stream.tell() < file.stat().st_size:
                name = f"etcd-{len(files):03d}.cms"
                files[name] = {"plain": sealer.seal(stream, target / name, PIECE)}
            stream.seek(0)
            while data := stream.read(_BLOCK):
                plain.update(data)
        keys = keys_tar(Path(self.config["base"]), self.config.get("keys") or _KEYS)
        files["keys.cms"] = {"plain": sealer.seal(io.BytesIO(keys), target / "keys.cms")}
        del keys
        for name, about in files.items():
            about |= {"sha256": digest(target / name), "bytes": (target / name).stat().st_size}
        manifest = {
            "format": FORMAT,
            "site": self.config["site"],
            "cluster": self.config["cluster"],
            "uid": uid,
            "node": self.config["node"],
            "taken": shown(self.now),
            "revision": revision,
            "objects": objects,
            "snapshot": {"sha256": plain.hexdigest(), "bytes": file.stat().st_size, "hash": status["hash"]},
            "members": sorted(
                ({"name": one.get("name", ""), "peers": one.get("peerURLs", [])} for one in self._members()),
                key=lambda one: str(one["name"]),
            ),
            "versions": {"etcd": status.get("version") or "", "kubernetes": self.config.get("kubernetes", "")},
            "recipients": [fingerprint(pem) for pem in self.recipients],
            "files": files,
        }
        name = f"{self.now.strftime(_STAMP)}-r{revision:012d}"
        self._closed(target, manifest, name)
        warnings = self._warnings(name, revision, uid)
        removed = prune(self.folder, self.now, self.rule, uid)
        self._tell(uid)
        return {
            "name": name,
            "folder": str(self.folder / name),
            "manifest": manifest,
            "removed": removed,
            "warnings": warnings,
        }

    def _tell(self, uid: str) -> None:
        """Leave word of the newest for whoever audits this node; nothing of it is secret."""
        ours = [one for one in scan(self.folder)[0] if one.uid == uid]
        newest, oldest = max(ours, key=lambda one: one.revision), min(ours, key=lambda one: one.time)
        note(
            self.config,
            name=newest.name,
            taken=shown(newest.time),
            cluster=uid,
            revision=newest.revision,
            kept=len(ours),
            oldest=shown(oldest.time),
            place=str(self.folder),
        )

    def _members(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.etcd.document("member", "list").get("members") or []
        return found

    def _closed(self, target: Path, manifest: Mapping[str, Any], name: str) -> None:
        """Write manifest, digests and signature, and put the folder in its place at once."""
        (target / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        sums = "".join(f"{digest(path)}  {path.name}\n" for path in sorted(target.iterdir()))
        (target / "SHA256SUMS").write_text(sums, encoding="ascii")
        key = next((path for path in self.config["signers"] if Path(path).exists()), None)
        if key is None:
            raise Failed("sign", f"none of {', '.join(self.config['signers'])} is there to sign with")
        run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, str(target / "SHA256SUMS")], kind="sign")
        for path in target.iterdir():
            path.chmod(0o600)
            sync(path)
        target.chmod(0o700)
        sync(target)
        if (self.folder / name).exists():
            raise Failed("busy", f"{name} is there already: nothing has changed since")
        target.rename(self.folder / name)
        sync(self.folder)

    def _warnings(self, name: str, revision: int, uid: str) -> list[str]:
        others = [one for one in scan(self.folder)[0] if one.uid == uid and one.name != name]
        ahead = [one.name for one in others if one.time > self.now + _SKEW]
        older = [one.name for one in others if one.revision > revision]
        found = [f"{one} is dated in the future: a clock jumped; it is kept" for one in ahead]
        return found + [f"{one} is of a later revision of etcd than this one: was it restored?" for one in older]


def fetched(folder: Path, name: str, into: IO[bytes]) -> None:
    """Write a snapshot to a stream, as a tar. Raises Failed."""
    if NAME.fullmatch(name) is None or not (folder / name).is_dir():
        raise Failed("missing", f"there is no snapshot {name} in {folder}")
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted((folder / name).iterdir()):
            tar.add(path, path.name, recursive=False)


def listed(folder: Path) -> dict[str, Any]:
    """Return what a folder keeps, the newest last, and what is there and is no snapshot. Raises Failed."""
    found, strange = scan(folder)
    snapshots = []
    for one in sorted(found, key=lambda one: (one.time, one.revision)):
        size = sum(path.stat().st_size for path in (folder / one.name).iterdir())
        snapshots.append(
            {"name": one.name, "taken": shown(one.time), "revision": one.revision, "uid": one.uid, "bytes": size}
        )
    return {"folder": str(folder), "snapshots": snapshots, "strange": [list(one) for one in strange]}


def surveyed(etcd: Etcd, revision: int | None) -> dict[str, Any]:
    """Return what an etcd holds: revision, UID, objects by resource, and by what its secrets are encrypted."""
    if revision is None:
        revision = int(etcd.document("endpoint", "status")[0]["Status"]["header"]["revision"])
    listed = etcd.document("get", "/registry/secrets/", "--prefix", f"--limit={_SECRETS}", f"--rev={revision}")
    prefixes: dict[str, int] = {}
    for one in listed.get("kvs") or []:
        found = _ENCRYPTED.match(b64decode(one["value"][:200]))
        prefix = found.group(1).decode("ascii", "replace") if found else "plain"
        prefixes[prefix] = prefixes.get(prefix, 0) + 1
    return {"revision": revision, "uid": etcd.uid(revision), "objects": etcd.counts(revision), "secrets": prefixes}


def act(order: Mapping[str, Any]) -> dict[str, Any] | None:
    """Do what an order asks; return the answer, None where it went to standard output already. Raises Failed."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if order["act"] == "survey":
        return surveyed(Etcd(order["etcd"]), order.get("revision"))
    folder = Path(order["folder"])
    if order["act"] == "make":
        return Making(order, now).make()
    if order["act"] == "list":
        return listed(folder)
    if order["act"] == "prune":
        with alone(folder):
            return {"removed": prune(folder, now, Rule(**order.get("keep", {})), order["uid"])}
    if order["act"] == "note":
        note(order, restored={"name": order["name"], "at": shown(now)})
        return {}
    fetched(folder, order["name"], sys.stdout.buffer)
    return None


def main(words: Sequence[str]) -> int:
    """Read the order, do it, print one line of JSON; return the exit code, 3 where it could not be done."""
    order = json.loads(Path(words[0]).read_bytes() if words else sys.stdin.buffer.readline())
    os.umask(0o077)
    try:
        answer = act(order)
    except Failed as error:
        print(json.dumps({"error": str(error), "kind": error.kind}), file=sys.stderr)  # noqa: T201 - its output
        return 3
    if answer is not None:
        # A journal has no use for the manifest, which lies beside the snapshot.
        shown_of = {name: value for name, value in answer.items() if not words or name != "manifest"}
        print(json.dumps(shown_of))  # noqa: T201 - its output
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
