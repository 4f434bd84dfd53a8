"""The image that all nodes stand on: Debian 12 by mmdebstrap, with apt's lists and an archive of packages.

Packages come from Debian's archive (or a mirror of it) and are verified with Debian's own keys, here and, offline,
by apt inside the nodes. An image lies in the cache under a key of what decides about its content; it is built aside and
renamed, so that there is a whole one or none.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.nodes.children import DIES_WITH_US
from gcloud_pk.lab.nodes.layout import ADMIN_USER
from gcloud_pk.programs import files
from gcloud_pk.programs.heartbeat import duration, heartbeat
from gcloud_pk.text import stamp

SUITE = "bookworm"
MIRROR = "http://deb.debian.org"
"""Plain HTTP, as Debian has it: what counts are the signatures, and caches can help."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_BUILDER = 1
"""Raised with every change of what is done to an image below."""

INSTALLED = (
    "ca-certificates", "cron", "dbus", "iproute2", "kmod", "libpam-systemd", "linux-base", "logrotate", "nftables",
    "openssh-server", "procps", "python3", "python3-apt", "sudo", "systemd-sysv",
)  # fmt: skip
"""What a data centre's machine image has beyond Debian's own `important`."""

RUNTIME = ("containerd", "containernetworking-plugins", "conntrack", "runc", "socat")
"""What a Kubernetes node runs on."""

REFEREES = ("lynis", "openscap-scanner")
"""What judges a node from outside this project."""

APT = ("env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--quiet", "--yes")

_CONCERNS = "packages_by_concern"
"""What the variables of the role packages begin with that name what is installed: role → packages."""

_SPARED = 3600.0
"""Seconds since its last use that an image is spared: a stopped lab of another state folder may stand on it."""

_ON = "+"
"""Between the key of an image and of what lies on it."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

_SUDO = f"{ADMIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"


def architecture() -> str:
    """Return Debian's name of this machine's architecture. Raises UnavailableError for one that is not known."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise UnavailableError(
            f"there are no lab nodes for {machine}", resolution=f"use a machine of {', '.join(_ARCHITECTURES)}"
        )
    return _ARCHITECTURES[machine]


def archived() -> tuple[str, ...]:
    """Return the packages that apt has at hand inside a node: those of the role packages, runtime and referees."""
    import yaml

    defaults = paths.data("playbooks", "roles", "packages", "defaults", "main.yml")
    lists: list[object] = []
    if defaults.is_file():
        document = yaml.safe_load(defaults.read_text(encoding="utf-8"))
        if isinstance(document, dict):
            lists = [value for name, value in document.items() if str(name).startswith(_CONCERNS)]
    return tuple(sorted({*_names(lists), *RUNTIME, *REFEREES}))


def _names(value: object) -> Iterator[str]:
    """Yield the texts in lists and mappings, however deep they lie."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _names(inner)


@dataclass(frozen=True)
class Recipe:
    """What decides about an image's content."""

    architecture: str
    archived: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name under which the image is cached."""
        content = json.dumps([_BUILDER, SUITE, self.architecture, INSTALLED, self.archived])
        return f"{SUITE}-{self.architecture}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def recipe() -> Recipe:
    """Return how today's image is made. Raises UnavailableError on a machine of another kind."""
    return Recipe(architecture(), archived())


def _home() -> Path:
    return paths.cache("nodes")


def root(key: str) -> Path:
    """Return an image's root file system, whether it is there or not."""
    return _home() / key / "root"


def cached(key: str) -> bool:
    """Whether an image is there; one that is there is whole."""
    return root(key).is_dir()


def built(key: str) -> dt.datetime | None:
    """Return when an image was built (UTC); None where it is not there."""
    try:
        document = json.loads((_home() / key / "image.json").read_text(encoding="utf-8"))
        return dt.datetime.fromisoformat(document["built"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def in_use(key: str) -> Iterator[int]:
    """Keep an image from being removed while the body runs, against every process of this machine.

    Yields a file descriptor: who inherits it keeps the image too, as long as he runs.
    """
    handle = os.open(_lock(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.utime(handle)
        yield handle
    finally:
        os.close(handle)


def _lock(key: str) -> Path:
    return files.make_folder(_home()) / f".{key}.lock"


def ensure(wanted: Recipe, mirror: str | None, console: Console) -> str:
    """Return the key of today's image; it is built where it is not cached. Raises UnavailableError."""
    words = f"Debian {SUITE}, about a minute, 600 MB"
    return obtain(wanted.key, words, lambda work: _build(wanted, mirror or MIRROR, work, console), console)


def obtain(key: str, words: str, build: Callable[[Path], dict[str, Any]], console: Console) -> str:
    """Return `key` when it is in the cache; where it is not, `build` fills a folder that then gets its name.

    `build` leaves the file system in the folder's `root`, writes to its `log`, and returns what is to be remembered.
    Raises UnavailableError.
    """
    if cached(key):
        return key
    home = files.make_folder(_home())
    with files.locked(home / ".lock", lambda: console.note("waiting: another command builds the image")):
        _sweep(home)
        if not cached(key):
            console.note(f"building the image of the nodes ({words}); it is kept in {home}")
            begun = time.monotonic()
            work = home / f".building-{key}"
            files.make_folder(work / "root").chmod(0o755)
            try:
                document = {"built": stamp(dt.datetime.now(dt.UTC)), **build(work)}
                files.write(work / "image.json", json.dumps(document, indent=2) + "\n")
                os.sync()
                work.rename(home / key)
            except UnavailableError:
                with suppress(UnavailableError):
                    _remove(work)
                raise
            console.note(f"built the image {key} ({duration(time.monotonic() - begun)})")
    return key


def _sweep(home: Path) -> None:
    """Remove what killed builders left; the caller holds the lock, so none is at work."""
    for entry in home.glob(".building-*"):
        _remove(entry)


def _remove(folder: Path) -> None:
    """Remove a tree; never through something that is mounted in it."""
    if any(mount.is_relative_to(folder) for mount in _mounts()):
        raise UnavailableError(
            f"something is mounted below {folder}", resolution=f"see what: findmnt --submounts {folder}; umount it"
        )
    shutil.rmtree(folder)


def _mounts() -> list[Path]:
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    # Spaces and the like stand there by their octal numbers (proc(5)).
    fields = (line.split(" ")[4] for line in text.splitlines())
    return [Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)) for field in fields]


def layer_key(base: str, about: str) -> str:
    """Return the key of what lies on an image; `about`: what decides about it."""
    return f"{base}{_ON}{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _newest_layers(home: Path, bases: set[str]) -> set[str]:
    """Return the layer that was made last on each of these images: the next lab stands on it."""
    found: dict[str, tuple[dt.datetime, str]] = {}
    for entry in home.iterdir():
        base, mark, _ = entry.name.partition(_ON)
        made = built(entry.name)
        if mark and base in bases and made:
            found[base] = max(found.get(base, (made, entry.name)), (made, entry.name))
    return {key for _, key in found.values()}


def remove_old(kept: set[str]) -> list[str]:
    """Remove images that are not to be kept, and that nobody used for a while; return their keys."""
    removed = []
    home = _home()
    kept = kept | _newest_layers(home, kept) if home.is_dir() else kept
    for entry in sorted(home.iterdir()) if home.is_dir() else ():
        key = entry.name
        if key.startswith(".") or key in kept or not (entry / "image.json").is_file():
            continue
        handle = os.open(_lock(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(handle).st_mtime < _SPARED:
                continue
            _remove(entry)
            _lock(key).unlink(missing_ok=True)
            removed.append(key)
        except (BlockingIOError, UnavailableError):
            continue  # a lab of another user or folder runs on it
        finally:
            os.close(handle)
    return removed


def _sources(mirror: str) -> list[str]:
    archive = mirror.rstrip("/")
    return [
        f"deb {archive}/debian {SUITE} main",
        f"deb {archive}/debian {SUITE}-updates main",
        f"deb {archive}/debian-security {SUITE}-security main",
    ]


def _build(wanted: Recipe, mirror: str, work: Path, console: Console) -> dict[str, Any]:
    tree, log = work / "root", work / "log"
    bootstrap = [
        "mmdebstrap", "--mode=root", "--variant=important", f"--include={','.join(INSTALLED)}",
        f"--architectures={wanted.architecture}", f"--keyring={KEYRING}", '--aptopt=Apt::Install-Recommends "false"',
        "--skip=cleanup/apt/lists", SUITE, str(tree), *_sources(mirror),
    ]  # fmt: skip
    step("Debian", bootstrap, log, console)
    _furnish(tree, log, console)
    archive = 'set -e; cp /etc/resolv.conf "$1/etc/resolv.conf"; shift; exec chroot "$@"'
    get = [*APT, "--download-only", *wanted.archived]
    step("packages for later", ["sh", "-c", archive, "sh", str(tree), str(tree), *get], log, console)
    files.write(tree / "etc/resolv.conf", "", 0o644)
    return {"mirror": mirror, "archived": wanted.archived}


def _furnish(tree: Path, log: Path, console: Console) -> None:
    """Give the tree the one login of the image; root has no password, and each node its own keys."""
    inside = f"""\
set -e
useradd --create-home --shell /bin/bash {ADMIN_USER}
usermod --password '!*' root
rm -f /etc/ssh/ssh_host_*
"""
    step("the login of the image", ["chroot", str(tree), "sh", "-c", inside], log, console)
    files.write(tree / f"etc/sudoers.d/{ADMIN_USER}", _SUDO, 0o440)
    files.write(tree / "etc/machine-id", "", 0o444)


def step(title: str, command: Sequence[str], log: Path, console: Console) -> None:
    """Run one step of the build in a process tree that dies with this process. Raises UnavailableError."""
    whole = [*DIES_WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with heartbeat(console, "image") as alive, log.open("ab") as output:
        process = subprocess.Popen([*whole, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while (status := _status(process)) is None:
                alive.beat(title)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        raise UnavailableError(
            f"the image of the nodes cannot be built: {title}",
            details=[f"{command[0]} ended with {status}", *said],
            resolution="see that the archive answers, or name a mirror of it: --mirror URL",
        )


def _status(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None
