"""What /etc/fstab and the running node have to change so that paths get their mount options. Pure; Python 3.9."""

from __future__ import annotations

import re
from typing import NamedTuple

_OPPOSITES = {"nodev": "dev", "nosuid": "suid", "noexec": "exec"}
_FLAGS = ("nodev", "nosuid", "noexec")
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Wanted(NamedTuple):
    """A path and the options that it has to have; `type` is the file system of a new line, none binds the folder."""

    path: str
    options: tuple[str, ...]
    type: str


class Live(NamedTuple):
    """A mount of the running node, as /proc/self/mountinfo shows it (proc(5))."""

    number: str
    parent: str  # the number of the mount that it lies on
    path: str
    device: str  # major:minor
    flags: tuple[str, ...]  # of this mount
    settings: tuple[str, ...]  # of its file system
    shared: bool


class Step(NamedTuple):
    """One change of the running node: what held before, what holds after, and the programs that do it."""

    path: str
    before: str
    after: str
    commands: tuple[tuple[str, ...], ...]


class Table(NamedTuple):
    """The new text of /etc/fstab, and the paths that something other than it mounts, with the reason."""

    text: str
    foreign: list[tuple[str, str]]


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def live(text: str) -> list[Live]:
    """Return the mounts of /proc/self/mountinfo in their order."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, others = left.split(), right.split()
        settings = tuple(others[2].split(",")) if len(others) > 2 else ()
        shared = any(one.startswith("shared:") for one in fields[6:])
        flags = tuple(fields[5].split(","))
        mounts.append(Live(fields[0], fields[1], _plain(fields[4]), fields[2], flags, settings, shared))
    return mounts


def _seen(path: str, mounts: list[Live]) -> list[Live]:
    """Return the mounts that a walk to `path` comes to stand on, from the root; mounts hidden below others are none."""
    numbers = {one.number for one in mounts}
    current = next((one for one in mounts if one.path == "/" and one.parent not in numbers - {one.number}), None)
    rest = [one for one in mounts if one is not current]
    walked = [current] if current is not None else []
    places = [path[:end] for end in range(1, len(path) + 1) if end == len(path) or path[end] == "/"]
    for place in ["/", *places]:
        while current is not None:
            current = next((one for one in rest if one.path == place and one.parent == walked[-1].number), None)
            if current is not None:
                walked.append(current)
                rest.remove(current)
        current = walked[-1] if walked else None
    return walked


def at(path: str, mounts: list[Live]) -> Live | None:
    """Return the mount that is seen at exactly `path`, if there is one."""
    walked = _seen(path, mounts)
    return walked[-1] if walked and walked[-1].path == path else None


def _above(path: str, mounts: list[Live]) -> Live | None:
    """Return the mount in which the folder that holds `path` lies."""
    return next((one for one in reversed(_seen(path, mounts)) if one.path != path), None)


def merged(options: str, wanted: tuple[str, ...]) -> str:
    """Return the options of a line with those wanted; what contradicts them is dropped."""
    keys = {one.partition("=")[0] for one in wanted if "=" in one}
    dropped = {_OPPOSITES[one] for one in wanted if one in _OPPOSITES}
    kept = [
        one for one in options.split(",") if one not in dropped and (one in wanted or one.partition("=")[0] not in keys)
    ]
    return ",".join([*kept, *(one for one in wanted if one not in kept)])


def combined(wanted: list[Wanted]) -> list[Wanted]:
    """Return one entry for each path, with the options of all its entries; the first one's type counts."""
    found: dict[str, Wanted] = {}
    for one in wanted:
        if one.path in found:
            first = found[one.path]
            added = tuple(option for option in one.options if option not in first.options)
            one = first._replace(options=first.options + added)  # noqa: PLW2901  (the entry grows)
        found[one.path] = one
    return list(found.values())


def edited(text: str, wanted: list[Wanted], mounts: list[Live], *, swap: bool) -> Table:
    """Return /etc/fstab with a line for each path (fstab(5)); without `swap` the lines of swap become comments."""
    lines = text.splitlines()
    foreign: list[tuple[str, str]] = []
    named = {}
    for number, line in enumerate(lines):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        if fields[2] == "swap" and not swap:
            lines[number] = f"# {line}"
        named[_plain(fields[1])] = number
    for one in wanted:
        if one.path in named:
            number = named[one.path]
            fields = lines[number].split()
            options = merged(fields[3] if len(fields) > 3 else "defaults", one.options)
            if len(fields) < 4 or fields[3] != options:
                lines[number] = " ".join([*fields[:3], options, *(fields[4:] or ["0", "0"])])
            continue
        if one.type == "none" and _own(one.path, mounts):
            foreign.append((one.path, "mounted by something other than /etc/fstab: give it the options there"))
            continue
        # private: a mount beneath it would otherwise appear on the file system below as well, hidden and busy.
        source = one.path if one.type == "none" else one.type
        options = ",".join([*(["rbind", "private"] if one.type == "none" else []), *one.options])
        lines.append(f"{source} {one.path} {one.type} {options} 0 0")
    return Table("".join(f"{line}\n" for line in lines), foreign)


def _own(path: str, mounts: list[Live]) -> bool:
    """Whether a path is a file system of its own, not a folder bound onto itself."""
    found, above = at(path, mounts), _above(path, mounts)
    return found is not None and (above is None or found.device != above.device)


def steps(wanted: list[Wanted], mounts: list[Live]) -> tuple[list[Step], list[tuple[str, str]]]:
    """Return what to do on the running node, parents first, and the paths that have to wait for a start and why.

    A folder is bound onto itself only if no mount lies beneath it: a copy of a mount would be hidden and keep its
    device busy, a plain binding would hide the mount itself.
    """
    plan: list[Step] = []
    late: list[tuple[str, str]] = []
    for one in sorted(wanted):
        found = at(one.path, mounts)
        flags = tuple(option for option in one.options if option in _FLAGS)
        settings = tuple(option for option in one.options if option not in _FLAGS and one.type == "proc")
        if found is None:
            beneath = sorted({mount.path for mount in mounts if mount.path.startswith(f"{one.path}/")})
            if beneath:
                late.append((one.path, f"holds after a restart only: mounts lie beneath it, such as {beneath[0]}"))
                continue
            above = _above(one.path, mounts)
            kept = _kept(above.flags if above else (), flags)
            binding: tuple[tuple[str, ...], ...] = (
                ("mount", "--bind", one.path, one.path),
                ("mount", "--make-private", one.path),
                ("mount", "-o", f"remount,bind,{kept}", one.path),
            )
            if above is not None and above.shared:
                binding = (*binding, ("mount", "--make-shared", one.path))
            plan.append(Step(one.path, "no mount\n", f"{','.join(flags)}\n", binding))
            continue
        lacking = [option for option in flags if option not in found.flags]
        unset = [option for option in settings if not _holds(option, found.settings)]
        if not lacking and not unset:
            continue
        kept = _kept(found.flags, flags)
        how = f"remount,{kept},{','.join(settings)}" if settings else f"remount,bind,{kept}"
        shown = ",".join([*found.flags, *(found.settings if settings else ())])
        after = ",".join([shown, *lacking, *unset])
        plan.append(Step(one.path, f"{shown}\n", f"{after}\n", (("mount", "-o", how, one.path),)))
    return plan, late


_NAMES = {"hidepid=0": "hidepid=off", "hidepid=1": "hidepid=noaccess", "hidepid=2": "hidepid=invisible"}
"""The kernel's own names since 5.8 (Documentation/filesystems/proc.rst)."""


def _holds(option: str, settings: tuple[str, ...]) -> bool:
    return option in settings or _NAMES.get(option) in settings


def _kept(flags: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """All flags of a remount: it takes away what it does not name."""
    return ",".join([*flags, *(one for one in wanted if one not in flags)])
