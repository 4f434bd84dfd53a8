"""What a lab needs, and what of it this machine has."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from gcloud_pk import paths
from gcloud_pk.errors import ExitCode, UnavailableError
from gcloud_pk.lab import ports, processes, state
from gcloud_pk.programs import pins as pinned
from gcloud_pk.programs import sourcing, toolchain
from gcloud_pk.programs.pins import Pins
from gcloud_pk.programs.sourcing import Wish

_BUILD_GIGABYTES = 5
_LAB_GIGABYTES = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. `missing` stops a lab; `note` is worth knowing."""

    subject: str
    state: Literal["ok", "note", "missing"]
    found: str
    remedy: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the shape of `findings[]`."""
        return asdict(self)


def code(findings: list[Finding]) -> ExitCode:
    """Return 0, or 5 when something is missing."""
    return ExitCode.UNAVAILABLE if any(f.state == "missing" for f in findings) else ExitCode.DONE


def examine(name: str, wish: Wish) -> list[Finding]:
    """Look at programs, Go, disk, ssh-keygen, ports and processes; nothing is changed."""
    state.check_name(name)
    try:
        pins = pinned.load()
    except UnavailableError as error:
        return [Finding("machine", "missing", error.message, error.resolution)]
    search = sourcing.look(pins, wish)
    findings = [Finding("machine", "ok", f"Linux on {pins.architecture}")]
    findings += _programs(pins, search, wish)
    if search.missing and not wish.offline:
        findings.append(_go(pins))
    findings += _disk(bool(search.missing))
    keygen = shutil.which("ssh-keygen")
    findings.append(
        Finding("ssh-keygen", "ok", keygen)
        if keygen
        else Finding("ssh-keygen", "missing", "not on PATH", "install OpenSSH's client; approvals are signed with it")
    )
    findings.append(_ports(name))
    findings += _strays()
    return findings


def _programs(pins: Pins, search: sourcing.Search, wish: Wish) -> list[Finding]:
    findings = []
    for name, pin in pins.programs.items():
        program = search.found.get(name)
        reasons = "; ".join(miss.partition(": ")[2] for miss in search.misses if miss.startswith(f"{name}: "))
        if program:
            origin = f", {program.origin}" if program.origin else ""
            findings.append(Finding(name, "ok", f"{program.version} from {program.source}{origin} ({program.path})"))
        elif wish.offline:
            findings.append(Finding(name, "missing", reasons, f"put {name} {pin.version} into a folder (--programs)"))
        else:
            way = "downloaded or built" if pin.download else "built"
            findings.append(Finding(name, "note", reasons, f"nothing: `lab up` has it {way}"))
    return findings


def _go(pins: Pins) -> Finding:
    go, words = toolchain.on_path(pinned.sources())
    if go:
        return Finding("go", "ok", words)
    cached = toolchain.cached(pins.go, paths.cache("go"))
    if cached:
        return Finding("go", "ok", f"{words}; {cached}")
    return Finding("go", "note", words, f"nothing: `lab up` installs {pins.go.requirement} into the cache")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _disk(building: bool) -> list[Finding]:
    findings = []
    needs = (
        (paths.cache(), _BUILD_GIGABYTES if building else 0, "XDG_CACHE_HOME"),
        (paths.state(), _LAB_GIGABYTES, "XDG_STATE_HOME"),
    )
    for folder, gigabytes, variable in needs:
        there = _existing(folder)
        free = shutil.disk_usage(there).free / 1e9
        subject = f"disk for {'programs' if variable == 'XDG_CACHE_HOME' else 'labs'}"
        if not os.access(there, os.W_OK):
            findings.append(Finding(subject, "missing", f"{there} cannot be written", f"set {variable}"))
        elif free < gigabytes:
            findings.append(
                Finding(
                    subject,
                    "missing",
                    f"{free:.1f} GB free at {there}, {gigabytes} GB are needed",
                    f"make room or set {variable}",
                )
            )
        else:
            findings.append(Finding(subject, "ok", f"{free:.0f} GB free at {there}"))
    return findings


def _ports(name: str) -> Finding:
    try:
        known = state.load(name)
    except UnavailableError as error:
        return Finding("ports", "missing", error.message, error.resolution)
    if known is None or not known.ports:
        return Finding("ports", "ok", "chosen when the lab comes up")
    running = {p for p in known.processes if processes.alive(known.processes[p])}
    running |= {"etcd-peer"} if "etcd" in running else set()
    taken = [
        f"{server} {port}" for server, port in known.ports.items() if server not in running and not ports.free(port)
    ]
    if taken:
        return Finding("ports", "note", f"taken by others: {', '.join(taken)}", "nothing: `lab up` chooses others")
    return Finding("ports", "ok", ", ".join(f"{server} {port}" for server, port in known.ports.items()))


def _strays() -> list[Finding]:
    strays: dict[Path, list[str]] = {}
    for process, folder, program in processes.marked():
        if process not in _recorded(folder):
            strays.setdefault(folder, []).append(f"{program} {process.pid}")
    if not strays:
        return [Finding("stale processes", "ok", "none")]
    return [
        Finding("stale processes", "note", f"{', '.join(found)} of {folder}", _stop(folder))
        for folder, found in sorted(strays.items())
    ]


def _recorded(folder: Path) -> set[processes.Process]:
    """Return the processes that the lab in `folder` knows of; it may be one of another XDG_STATE_HOME."""
    try:
        return set(state.parse((folder / "lab.json").read_text(encoding="utf-8")).processes.values())
    except (OSError, ValueError):
        return set()


def _stop(folder: Path) -> str:
    command = f"gcloud-pk lab down --name {folder.name}"
    home = folder.parent.parent.parent
    return command if folder.parent == paths.state("labs") else f"XDG_STATE_HOME={home} {command}"
