"""Paths on a node that may have hostile local users: reading, writing, removing and finding without being led astray.

A symbolic link is followed only where nobody but root (or the user who runs this) could have put it: in a folder that
is owned by them and that nobody else may write to. Everything else is refused, never resolved. Python 3.9 and its
standard library; runs on the node.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LARGEST = 8 * 1024 * 1024  # bytes of a configuration file; more is not one
_LINKS = 40  # as the kernel's limit (path_resolution(7))
_WILD = ("*", "?", "[")


class Refused(Exception):  # noqa: N818  (a verdict about a path, raised as one)
    """A path that is not what it has to be; the message names it and says why."""


class Entry(NamedTuple):
    """A name in an open folder, with the path that is shown for it."""

    folder: int
    name: str
    path: str


def parts(path: str) -> list[str]:
    """Return the components of an absolute path; refuses relative ones and `..`."""
    if not path.startswith("/"):
        raise Refused(f"{path}: the path must be absolute")
    components = [one for one in path.split("/") if one not in {"", "."}]
    if ".." in components:
        raise Refused(f"{path}: the path must not contain ..")
    if any("\0" in one for one in components):
        raise Refused(f"{path!r}: the path must not contain a null byte")
    return components


def trusted(folder: int) -> bool:
    """Whether nobody but root, or the user who runs this, can put names into an open folder."""
    found = os.fstat(folder)
    return found.st_uid in {0, os.geteuid()} and not found.st_mode & 0o022


def _root() -> int:
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _enter(folder: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def _make(folder: int, name: str, mode: int) -> None:
    os.mkdir(name, 0o700, dir_fd=folder)
    made = _enter(folder, name)
    try:
        os.fchmod(made, mode)  # whatever the umask
    finally:
        os.close(made)


def open_folder(path: str, *, make: int | None = None) -> int:
    """Open a folder from the root downwards and return its descriptor.

    `make`: the mode of parents that are missing; without it a missing one raises FileNotFoundError.
    Raises `Refused` for a symbolic link that somebody else could have put there, and for what is no folder.
    """
    pending = parts(path)
    walked: list[str] = []
    links = 0
    current = _root()
    try:
        while pending:
            name = pending.pop(0)
            shown = "/" + "/".join([*walked, name])
            target = _link(current, name, shown, make=make)
            if target is None:
                current = _step(current, name)
                walked.append(name)
                continue
            links += 1
            _bounded(links, path)
            pending = _straightened([*([] if target.startswith("/") else walked), *target.split("/")]) + pending
            walked = []
            current = _exchange(current, _root())
    except BaseException:
        os.close(current)
        raise
    return current


def _link(folder: int, name: str, shown: str, *, make: int | None) -> str | None:
    """Return what a link of an open folder says, None for a folder (made if it is missing and `make` says so)."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        if make is None:
            raise
        _make(folder, name, make)
        return None
    if stat.S_ISLNK(found.st_mode):
        if not trusted(folder):
            raise Refused(f"{shown}: a symbolic link that somebody else could have made")
        return os.readlink(name, dir_fd=folder)
    if not stat.S_ISDIR(found.st_mode):
        raise Refused(f"{shown}: not a folder")
    return None


def _bounded(links: int, path: str) -> None:
    if links > _LINKS:
        raise Refused(f"{path}: too many symbolic links")


def _step(folder: int, name: str) -> int:
    return _exchange(folder, _enter(folder, name))


def _exchange(folder: int, other: int) -> int:
    os.close(folder)
    return other


def _straightened(steps: list[str]) -> list[str]:
    kept: list[str] = []
    for step in steps:
        if step == "..":
            kept = kept[:-1]
        elif step not in {"", "."}:
            kept.append(step)
    return kept


@contextlib.contextmanager
def parent_of(path: str, *, make: int | None = None) -> Iterator[Entry]:
    """Open the folder that holds `path`; raises as `open_folder`."""
    components = parts(path)
    if not components:
        raise Refused("/: the root folder is nobody's entry")
    folder = open_folder("/" + "/".join(components[:-1]), make=make)
    try:
        yield Entry(folder, components[-1], path)
    finally:
        os.close(folder)


def status(entry: Entry) -> os.stat_result | None:
    """Return what an entry is, without following it; None if it is not there."""
    try:
        return os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def target_of(path: str) -> str:
    """Return the path that a trusted chain of links at the end of `path` leads to (`path` itself if it is no link)."""
    for _ in range(_LINKS):
        try:
            with parent_of(path) as entry:
                found = status(entry)
                if found is None or not stat.S_ISLNK(found.st_mode):
                    return path
                if not trusted(entry.folder):
                    raise Refused(f"{path}: a symbolic link that somebody else could have made")
                target = os.readlink(entry.name, dir_fd=entry.folder)
        except FileNotFoundError:
            return path
        base = [] if target.startswith("/") else parts(path)[:-1]
        path = "/" + "/".join(_straightened([*base, *target.split("/")]))
    raise Refused(f"{path}: too many symbolic links")


def read(path: str) -> tuple[str, os.stat_result] | None:
    """Return text and status of a regular file, or None if there is none.

    Raises `Refused` for what is no regular file and for more than `LARGEST` bytes. Bytes that are no UTF-8 are kept by
    surrogate escapes.
    """
    try:
        with parent_of(path) as entry:
            found = status(entry)
            if found is None:
                return None
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path}: not a regular file")
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(entry.name, flags, dir_fd=entry.folder), "rb") as file:  # noqa: PTH123  (a descriptor)
                found = os.fstat(file.fileno())
                content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    if len(content) > LARGEST:
        raise Refused(f"{path}: larger than {LARGEST} bytes")
    return content.decode("utf-8", "surrogateescape"), found


def _aside(name: str) -> str:
    """Return the name under which a file is written before it takes its place: no .d folder reads hidden files."""
    return f".{name}.gcloud-pk"


def write(path: str, content: str, *, mode: int, owner: int, group: int) -> None:
    """Put a file in its place at once: written aside, synced, renamed. A kill leaves the old file or the new one.

    The parents are made (0755). Raises `Refused` when a folder stands at `path`.
    """
    with parent_of(path, make=0o755) as entry:
        found = status(entry)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise Refused(f"{path}: a folder stands where a file belongs")
        aside = _aside(entry.name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=entry.folder)  # left by a run that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(aside, flags, 0o600, dir_fd=entry.folder), "wb") as file:  # noqa: PTH123  (a descriptor)
            file.write(content.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fchown(file.fileno(), owner, group)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(aside, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)
        os.fsync(entry.folder)


def link(path: str, target: str) -> None:
    """Put a symbolic link in its place at once; raises as `write`."""
    with parent_of(path, make=0o755) as entry:
        aside = _aside(entry.name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=entry.folder)
        os.symlink(target, aside, dir_fd=entry.folder)
        os.rename(aside, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)
        os.fsync(entry.folder)


def set_status(entry: Entry, *, mode: int | None, owner: int | None, group: int | None) -> None:
    """Change mode and owner of an entry that is no symbolic link, by a descriptor: nobody can exchange it meanwhile."""
    descriptor = os.open(entry.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=entry.folder)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISLNK(found.st_mode):
            raise Refused(f"{entry.path}: a symbolic link")
        ours = f"/proc/self/fd/{descriptor}"
        if (owner is not None and owner != found.st_uid) or (group is not None and group != found.st_gid):
            os.chown(ours, -1 if owner is None else owner, -1 if group is None else group)
        if mode is not None:
            Path(ours).chmod(mode)  # after chown, which clears the set-id bits
    finally:
        os.close(descriptor)


def remove(entry: Entry, *, tree: bool) -> None:
    """Remove an entry; a link is removed itself, a folder only with `tree`."""
    found = status(entry)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(entry.name, dir_fd=entry.folder)
    elif tree:
        shutil.rmtree(f"/proc/self/fd/{entry.folder}/{entry.name}")  # by descriptors: never follows a link
    else:
        raise Refused(f"{entry.path}: a folder; end its path with / to have it removed")


def is_pattern(path: str) -> bool:
    """Whether a path has wildcards."""
    return any(one in path for one in _WILD)


def find(pattern: str) -> list[str]:
    """Return the paths that match a pattern of `*`, `?`, `[…]` and `**` (any depth of folders), sorted.

    No symbolic link is followed behind the first wildcard; one at the end is returned as itself. Hidden names match
    only a component that begins with a dot; `**` passes over them. A path without wildcards is returned if it exists.
    """
    components = parts(pattern)
    fixed = 0
    while fixed < len(components) and not is_pattern(components[fixed]):
        fixed += 1
    base = components[: min(fixed, max(len(components) - 1, 0))]
    try:
        folder = open_folder("/" + "/".join(base))
    except (FileNotFoundError, PermissionError):
        return []
    try:
        return sorted(set(_matches(folder, base, components[len(base) :])))
    finally:
        os.close(folder)


def _names(folder: int, component: str) -> list[str]:
    if not is_pattern(component):
        return [component]
    return [
        name
        for name in os.listdir(folder)
        if fnmatch.fnmatchcase(name, component) and (component.startswith(".") or not name.startswith("."))
    ]


def _matches(folder: int, walked: list[str], rest: list[str]) -> Iterator[str]:
    component, below = rest[0], rest[1:]
    deep = component == "**"
    if deep and below:
        yield from _matches(folder, walked, below)
    for name in _names(folder, "*" if deep else component):
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not below:
            yield "/" + "/".join([*walked, name])
        if not stat.S_ISDIR(found.st_mode) or not (below or deep):
            continue
        try:
            inner = _enter(folder, name)
        except OSError as error:  # it went away, or became a link since
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES}:
                continue
            raise
        try:
            yield from _matches(inner, [*walked, name], rest if deep else below)
        finally:
            os.close(inner)
