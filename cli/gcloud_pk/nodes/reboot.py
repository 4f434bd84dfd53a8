"""What a reboot would change on a node: what it runs with against what it would start with. Pure; reads facts.

The facts are the node's own word (`reboot_facts.py`): parsed by a schema, of limited size, shown escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Kind = Literal["parameter", "module", "unit", "mount", "kernel", "boot", "process", "notice"]

_Text = Annotated[str, Field(max_length=20_000)]
_Texts = Annotated[list[_Text], Field(max_length=20_000)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Parameter(_Said):
    wanted: _Text
    file: _Text
    live: _Text | None
    writable: bool


class _Modules(_Said):
    blocked: _Texts
    wanted: dict[_Text, _Text]
    loaded: _Texts
    present: _Texts


class _Mount(_Said):
    target: _Text
    options: _Text
    origin: _Text = Field(alias="from")


class _Mounts(_Said):
    wanted: Annotated[list[_Mount], Field(max_length=2000)]
    live: dict[_Text, _Text]


class _Boot(_Said):
    running: _Text
    installed: _Texts
    cmdline: _Text | None
    grub: _Text | None
    defaults: _Text | None


class _Process(_Said):
    pid: int
    name: _Text
    unit: _Text | None
    files: _Texts


class Facts(_Said):
    """What a node says of itself."""

    version: Literal[1]
    virtualization: _Text
    container: _Text
    parameters: dict[_Text, _Parameter]
    modules: _Modules
    units: Annotated[list[dict[_Text, _Text]], Field(max_length=5000)]
    mounts: _Mounts
    boot: _Boot
    processes: Annotated[list[_Process], Field(max_length=5000)]
    required: _Text | None
    packages: _Text | None

    @property
    def shared_kernel(self) -> bool:
        """Whether the kernel is the host's."""
        return self.container not in {"", "none"}


def read(answer: bytes) -> Facts:
    """Return the facts of a node's answer. Raises ValueError where it is no such document."""
    try:
        return Facts.model_validate(json.loads(answer))
    except (ValidationError, RecursionError) as error:
        raise ValueError("not the facts that were asked for") from error


@dataclass(frozen=True)
class Difference:
    """Something that a reboot changes. `now`, `after`: in words; `reason`: why, or why it could not be judged.

    `seen`: False where this node cannot show it.
    """

    kind: Kind
    subject: str
    now: str
    after: str
    reason: str
    seen: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return the shape in the document."""
        return asdict(self)


def differences(facts: Facts) -> list[Difference]:
    """Return all that a reboot would change, by kind."""
    parts: tuple[Callable[[Facts], Iterable[Difference]], ...] = (
        _kernel,
        _boot,
        _parameters,
        _modules,
        _units,
        _mounts,
        _processes,
        _notice,
    )
    return [one for part in parts for one in part(facts)]


_SHARED = "the node shares its host's kernel"


def _unseen(kind: Kind, subject: str) -> Difference:
    return Difference(kind, subject, "-", "-", f"not checked here: {_SHARED}", seen=False)


def _version(text: str) -> tuple[tuple[int, int | str], ...]:
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in re.findall(r"\d+|[^\d.\-+~]+", text))


def _kernel(facts: Facts) -> Iterator[Difference]:
    if facts.shared_kernel:
        yield _unseen("kernel", "kernel")
        return
    newest = max(facts.boot.installed, key=_version, default=None)
    if newest is not None and newest != facts.boot.running:
        yield Difference("kernel", "kernel", facts.boot.running, newest, "the newest that is installed is started")


# What the boot loader and the initramfs add, and no baseline sets.
_OWN = re.compile(r"BOOT_IMAGE=|initrd=|root=|ro$|rw$|rootflags=")


def _words(line: str | None) -> list[str]:
    return [word for word in (line or "").split() if not _OWN.match(word)]


def _boot(facts: Facts) -> Iterator[Difference]:
    if facts.shared_kernel:
        yield _unseen("boot", "boot parameters")
        return
    boot = facts.boot
    if boot.grub is None:
        return
    live, next_time = _words(boot.cmdline), _words(boot.grub)
    for word in dict.fromkeys(next_time):
        if word not in live:
            yield Difference("boot", word, "not given", "given", "stands in /boot/grub/grub.cfg")
    for word in dict.fromkeys(live):
        if word not in next_time:
            yield Difference("boot", word, "given", "not given", "stands no longer in /boot/grub/grub.cfg")
    for word in dict.fromkeys(_words(boot.defaults)):
        if word not in next_time:
            yield Difference(
                "boot", word, "not given", "not given", "stands in /etc/default/grub, but update-grub was not run"
            )


def _even(value: str | None) -> str | None:
    return None if value is None else " ".join(value.split())


def _parameters(facts: Facts) -> Iterator[Difference]:
    unseen = 0
    for key, one in sorted(facts.parameters.items()):
        live, wanted = _even(one.live), _even(one.wanted)
        if live == wanted:
            continue
        if facts.shared_kernel and not one.writable:
            unseen += 1
        elif live is None:
            yield Difference(
                "parameter", key, "not there", wanted or "", f"{one.file}; if its module is loaded by then"
            )
        else:
            yield Difference("parameter", key, live, wanted or "", one.file)
    if unseen:
        yield _unseen("parameter", f"{unseen} kernel parameters")


def _modules(facts: Facts) -> Iterator[Difference]:
    if facts.shared_kernel:
        yield _unseen("module", "modules")
        return
    loaded = {_same(name) for name in facts.modules.loaded}
    for name in sorted({_same(one) for one in facts.modules.blocked} & loaded):
        yield Difference("module", name, "loaded", "not loaded", "modprobe's configuration blocks it")
    there = loaded | {_same(name) for name in facts.modules.present}
    for name, file in sorted(facts.modules.wanted.items()):
        if _same(name) not in there:
            yield Difference("module", name, "not loaded", "loaded", file)


def _same(module: str) -> str:
    """Return a module's name as the kernel has it."""
    return module.replace("-", "_")


def _units(facts: Facts) -> Iterator[Difference]:
    for unit in sorted(facts.units, key=lambda unit: unit.get("Id", "")):
        name, state, active = unit.get("Id", ""), unit.get("UnitFileState", ""), unit.get("ActiveState", "")
        if not name:
            continue
        runs = active in {"active", "activating", "reloading"}
        if state == "masked" and runs:
            yield Difference("unit", name, active, "not started", "it is masked")
        elif state == "disabled" and runs and not _called(unit):
            yield Difference("unit", name, active, "not started", "it is not enabled, and nothing asks for it")
        elif state == "enabled" and not runs and _would_run(unit):
            yield Difference("unit", name, active, "started", "it is enabled")


def _called(unit: dict[str, str]) -> bool:
    """Whether something else starts it."""
    return any(unit.get(by) for by in ("TriggeredBy", "WantedBy", "RequiredBy", "BusName"))


def _would_run(unit: dict[str, str]) -> bool:
    """Whether an enabled unit that does not run would: not one that did its work, or whose condition does not hold."""
    if unit.get("Type") == "oneshot" and unit.get("ActiveState") != "failed":
        return False
    # Not ConditionResult: that is of the last start, before the unit's files or the node changed.
    if unit.get("Conditions") == "no":
        return False
    # A service that a socket, a timer or a path starts waits for it.
    return not unit.get("TriggeredBy") and bool(unit.get("WantedBy") or unit.get("RequiredBy"))


# Options that take something away; a reboot that brings or drops one changes what the node admits.
_STRICT = re.compile(r"nodev|nosuid|noexec|ro|nosymfollow|hidepid=(?!off).+")

_NAMES = {
    "hidepid=0": "hidepid=off",
    "hidepid=1": "hidepid=noaccess",
    "hidepid=2": "hidepid=invisible",
    "hidepid=4": "hidepid=ptraceable",
}
"""Numbers that files give, and the names that the kernel shows (Documentation/filesystems/proc.rst)."""


def _strict(options: str) -> set[str]:
    return {one for one in (_NAMES.get(given, given) for given in options.split(",")) if _STRICT.fullmatch(one)}


def _mounts(facts: Facts) -> Iterator[Difference]:
    for one in facts.mounts.wanted:
        given = one.options.split(",")
        if one.target in {"none", "swap"} or "noauto" in given:
            continue
        live = facts.mounts.live.get(one.target)
        if live is None:
            yield Difference("mount", one.target, "not mounted", f"mounted ({one.options})", one.origin)
            continue
        wanted, present = _strict(one.options), _strict(live)
        if wanted != present:
            yield Difference(
                "mount", one.target, _listed(present), _listed(wanted), one.origin
            )  # fmt: skip


def _listed(options: set[str]) -> str:
    return ",".join(sorted(options)) or "no restriction"


def _processes(facts: Facts) -> Iterator[Difference]:
    found: dict[str, tuple[list[int], set[str]]] = {}
    for one in facts.processes:
        pids, files = found.setdefault(one.unit or one.name, ([], set()))
        pids.append(one.pid)
        files.update(one.files)
    for name, (pids, files) in sorted(found.items()):
        shown = ", ".join(sorted(files)[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        yield Difference(
            "process",
            name,
            f"runs what was replaced (process {', '.join(str(pid) for pid in sorted(pids)[:5])})",
            "runs what is installed",
            shown,
        )


def _notice(facts: Facts) -> Iterator[Difference]:
    if facts.required is not None:
        packages = ", ".join(sorted(set((facts.packages or "").split()))) or "packages do not say which"
        yield Difference("notice", "/run/reboot-required", "there", "gone", packages)
