"""Where snapshots are kept: on control planes, and in a folder of this machine. Made, listed, brought."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError, problem
from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.stack.recovery.doors import Door, NodeError, backup_program
from gcloud_pk.stack.recovery.snapshot import NAME, BrokenError, check_whole, read

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,80}")


def check_recipients(site: Site, cluster: Cluster) -> None:
    """Raise InvalidInputError where nobody could open a snapshot."""
    if not cluster.backup.recipients:
        where = f"spec.clusters[{site.spec.clusters.index(cluster)}].backup.recipients"
        raise InvalidInputError(
            f"cluster {cluster.name} of site {site.metadata.name} names no recipients: nobody could open a snapshot; "
            "none was made",
            details=[
                problem(
                    "missing",
                    file=f"sites/{site.metadata.name}.yaml",
                    field=where,
                    expected="certificates in PEM of those who keep the private keys, outside of the cluster",
                )
            ],
            resolution="name them, then: gcloud-pk registry sign (docs/backup.md says how they are made)",
        )


def order(door: Door, site: Site, cluster: Cluster) -> dict[str, Any]:
    """Return what the program is told to make a snapshot: what the role cluster_backup writes on the node."""
    ground = door.ground
    return {
        "act": "make",
        "site": site.metadata.name,
        "cluster": cluster.name,
        "uid": cluster.uid or "",
        "node": door.name,
        "kubernetes": cluster.version or "",
        "folder": _folder(door),
        "work": f"{ground.backups}/work",
        "latest": _latest(door),
        "base": ground.kubernetes,
        "recipients": cluster.backup.recipients,
        "signers": list(ground.signers),
        "etcd": dict(ground.etcd),
        "keep": {"hours": cluster.backup.keep_hours, "days": cluster.backup.keep_days},
    }


def _folder(door: Door) -> str:
    return f"{door.ground.backups}/snapshots"


def _latest(door: Door) -> str:
    return f"{door.ground.backups}/latest.json"


def make(ways: Sequence[Door], site: Site, cluster: Cluster) -> tuple[dict[str, Any], Door]:
    """Make a snapshot on the first control plane that can; return its answer and which it is.

    Raises UnavailableError where none can, RefusedError where another cluster answers.
    """
    errors = []
    for door in ways:
        try:
            return door.ask(backup_program(), order(door, site, cluster), seconds=3600), door
        except NodeError as error:
            if error.kind == "foreign":
                raise RefusedError(str(error), resolution="mend uid in the site file, or see what runs there") from None
            errors.append(error)
    raise UnavailableError(
        "no control plane could make a snapshot; what is kept was left alone",
        details=[str(one) for one in errors],
        resolution="mend what they say, then run it again",
    )


def listed(ways: Sequence[Door]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what each control plane keeps, untrusted, and why others do not say."""
    found, silent = {}, {}
    for door in ways:
        try:
            said = door.ask(backup_program(), {"act": "list", "folder": _folder(door)}, seconds=60)
            found[door.name] = _checked(said, door.name)
        except NodeError as error:
            silent[door.name] = str(error)
    return found, silent


def _checked(said: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Return a list of snapshots in its shape; what a node says may be anything. Raises NodeError."""
    try:
        snapshots = [
            {
                "name": str(one["name"]),
                "taken": str(one["taken"]),
                "revision": int(one["revision"]),
                "uid": str(one["uid"]),
                "bytes": int(one["bytes"]),
            }
            for one in said["snapshots"]
            if NAME.fullmatch(str(one["name"]))
        ]
        strange = [[str(name), str(why)] for name, why in said["strange"]]
        return {"folder": str(said["folder"]), "snapshots": snapshots, "strange": strange}
    except (KeyError, TypeError, ValueError):
        raise NodeError(f"{whose}: it answers with something else") from None


def _here(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Run the backups' program on this machine. Raises UnavailableError."""
    door = Door("this machine", "", (), root="")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", backup_program().decode()],
            input=json.dumps(wanted).encode() + b"\n",
            capture_output=True,
            check=False,
        )
        return door.read(done.returncode, done.stdout, done.stderr)
    except NodeError as error:
        raise UnavailableError(str(error), resolution="name another folder, or mend it") from None


def listed_here(folder: Path) -> dict[str, Any]:
    """Return what a folder of this machine keeps. Raises UnavailableError."""
    if not folder.is_dir():
        raise UnavailableError(f"there is no folder {folder}", resolution="name the one that snapshots were brought to")
    return _checked(_here({"act": "list", "folder": str(folder.resolve())}), str(folder))


def newest(cluster: Cluster, found: Mapping[str, Any], where: str) -> str:
    """Return the name of the cluster's newest snapshot: by etcd's revision, which no clock moves."""
    ours = [one for one in found["snapshots"] if cluster.uid in {None, one["uid"]}]
    if not ours:
        raise UnavailableError(
            f"{where} keeps no snapshot of cluster {cluster.name}",
            details=[f"{name}: {why}" for name, why in found["strange"][:10]],
            resolution="make one: gcloud-pk datacenter backup SITE now",
        )
    return str(max(ours, key=lambda one: int(one["revision"]))["name"])


def newest_brought(ways: Sequence[Door], cluster: Cluster, name: str | None, folder: Path) -> Path:
    """Bring a snapshot, the newest of all control planes where none is named, to a folder; return it."""
    found, silent = listed(ways)
    have = {place: [str(one["name"]) for one in said["snapshots"]] for place, said in found.items()}
    every = {"snapshots": [one for said in found.values() for one in said["snapshots"]], "strange": []}
    if name is None:
        name = newest(cluster, every, "no control plane" if not every["snapshots"] else "none of them")
    door = next((way for way in ways if name in have.get(way.name, [])), None)
    if door is None:
        raise UnavailableError(
            f"no control plane that answers keeps {name}",
            details=list(silent.values()),
            resolution="gcloud-pk datacenter backup SITE list",
        )
    fetch(door, name, folder)
    return folder / name


def bring(door: Door, cluster: Cluster, name: str, folder: Path, keep: Mapping[str, int]) -> dict[str, Any]:
    """Bring a snapshot to a folder that keeps several, by the rule; return `{folder, removed}`.

    Raises UnavailableError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be made: {error.strerror}", resolution="name another folder") from None
    if not (folder / name).is_dir():
        fetch(door, name, folder)
    uid = read(folder / name).uid
    removed = _here({"act": "prune", "folder": str(folder.resolve()), "uid": uid, "keep": dict(keep)})["removed"]
    return {"folder": str(folder / name), "cluster": cluster.name, "removed": removed}


def fetch(door: Door, name: str, folder: Path) -> None:
    """Bring one snapshot from a node to a folder: whole, or not at all. Raises UnavailableError."""
    try:
        aside = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}", resolution="name another") from None
    try:
        _unpacked(door, name, aside)
        try:
            check_whole(read(aside))
        except BrokenError as error:
            raise UnavailableError(f"{name} did not come whole: {error}", resolution="run it again") from None
        aside.replace(folder / name)
    except OSError as error:
        raise UnavailableError(
            f"{folder} cannot take {name}: {error.strerror}; nothing was kept of it", resolution="make room there"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unpacked(door: Door, name: str, folder: Path) -> None:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    wrong: list[BaseException] = []

    def unpack(stream: IO[bytes]) -> None:
        with stream:
            try:
                with tarfile.open(fileobj=stream, mode="r|") as tar:
                    for entry in tar:
                        _put(tar.extractfile(entry), entry.name, folder)
            except (OSError, tarfile.TarError) as error:
                wrong.append(error)

    thread = threading.Thread(target=unpack, args=(os.fdopen(reading, "rb"),), daemon=True)
    thread.start()
    said: NodeError | None = None
    with os.fdopen(writing, "wb") as into:
        try:
            asked = {"act": "fetch", "folder": _folder(door), "name": name}
            door.ask(backup_program(), asked, into=into, seconds=3600)
        except NodeError as error:
            said = error
    thread.join()
    if wrong and isinstance(wrong[0], OSError):
        raise wrong[0]
    if said is not None or wrong:
        raise UnavailableError(
            f"{name} cannot be brought: {said or wrong[0]}", resolution="gcloud-pk datacenter backup SITE list"
        )


def _put(source: IO[bytes] | None, name: str, folder: Path) -> None:
    """Write one file of a snapshot. Raises OSError, TarError for anything else."""
    if source is None or not _FILE.fullmatch(name):
        raise tarfile.TarError(f"{name!r} is no file of a snapshot")
    with (folder / name).open("xb") as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
        (folder / name).chmod(0o600)
        target.flush()
        os.fsync(target.fileno())


def note_restored(ways: Sequence[Door], name: str, say: Callable[[str], None]) -> None:
    """Leave word on the control planes that a snapshot was restored into a scratch etcd, for audits; not needed."""
    for door in ways:
        wanted = {"act": "note", "folder": _folder(door), "latest": _latest(door), "name": name}
        try:
            door.ask(backup_program(), wanted, seconds=30)
        except NodeError as error:
            with suppress(OSError):
                say(str(error))
