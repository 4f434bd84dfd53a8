"""Reading and writing inside a folder: each file once, never through a link out of it, whole or not at all.

A write goes to a temporary file beside its target, is synced, and takes the target's place by rename: whoever is killed
in between leaves the old content or the new. Temporary files begin with `.gcloud-pk-`; readers ignore them, and the
next writer of that folder removes what a killed one left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError, problem

LIMIT = 1024 * 1024
"""Bytes: the largest file that is read, where the reader sets no other limit."""

TEMPORARY = ".gcloud-pk-"

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space and run it again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run it again"),
    errno.EROFS: ("the file system is read-only", "mount it for writing, or work in a copy of the registry"),
    errno.EACCES: ("permission denied", "run it as a user who may write there"),
    errno.EPERM: ("permission denied", "run it as a user who may write there"),
    errno.ENOENT: ("the folder is not there", "check the path"),
    errno.ENOTDIR: ("a part of the path is not a folder", "check the path"),
    errno.ENAMETOOLONG: ("the name is too long", "use a shorter one"),
}


def within(path: Path, root: Path) -> Path:
    """Return the real path. Raises RefusedError where a symbolic link leads out of `root`."""
    real, home = os.path.realpath(path), os.path.realpath(root)
    if real != home and not real.startswith(home.rstrip("/") + "/"):
        raise RefusedError(
            f"{path} leads out of {root} (to {real})",
            details=[problem("a symbolic link out of the registry", file=path, expected="a file of the registry")],
            resolution="replace the link by the file itself",
        )
    return Path(real)


_HOPS = 40
"""Symbolic links that a path may lead through, as Linux has it."""


def leads_through(path: Path, folder: Path) -> bool:
    """Whether a path, or any step of the links on its way, lies inside `folder`: its keeper decides where it ends."""
    home = Path(os.path.realpath(folder))
    ahead = list(reversed((Path.cwd() / path).parts[1:]))
    here, hops = Path("/"), 0
    while ahead:
        part = ahead.pop()
        here = here.parent if part == ".." else here / part
        if home in here.parents:
            return True
        if here.is_symlink() and hops < _HOPS:
            hops += 1
            target = here.readlink()
            here = Path("/") if target.is_absolute() else here.parent
            ahead += [step for step in reversed(target.parts) if step != "/"]
    return False


def read(path: Path, *, root: Path | None = None, limit: int = LIMIT) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes, a whole number of MiB.

    Raises InvalidInputError where there is no such file or it cannot be read, RefusedError for a link out of `root`.
    """
    try:
        real = within(path, root) if root is not None else path
        # O_NONBLOCK: a named pipe must not make us wait.
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if root else 0))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise _invalid(path, "is a folder" if stat.S_ISDIR(kind) else "is not a regular file", "a file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
    if len(data) > limit:
        size = f"{limit // (1024 * 1024)} MiB"
        raise _invalid(path, f"is larger than {size}", f"at most {size}")
    return data


def _invalid(path: Path, message: str, expected: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {message}", details=[problem(message, file=path, expected=expected)])


def _unreadable(path: Path, error: OSError | ValueError) -> InvalidInputError:
    if isinstance(error, FileNotFoundError):
        return _invalid(path, "does not exist", "a file")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _invalid(path, f"cannot be read: {reason.lower()}", "a file that can be read")


def unwritable(path: Path, error: OSError) -> UnavailableError:
    """Return the error of a file or folder that cannot be written: which, why, and what to do."""
    cause, resolution = _CAUSES.get(error.errno or 0, ((error.strerror or str(error)).lower(), "see the cause above"))
    return UnavailableError(f"cannot write {path}: {cause}; nothing was changed", resolution=resolution)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed writers left; the caller holds the lock, so none is at work."""
    for entry in os.scandir(folder):
        if entry.name.startswith(TEMPORARY):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _fill(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode)  # whatever the umask
        os.fsync(descriptor)


def entries(folder: Path, *, root: Path) -> list[os.DirEntry[str]]:
    """Return what a folder under `root` holds, by name, without what begins with a dot; nothing where there is none.

    Raises InvalidInputError where it cannot be listed or a link in it cannot be followed, RefusedError for a
    link out of `root`, that of the folder or of anything in it.
    """
    if not os.path.lexists(folder):
        return []
    try:
        found = list(os.scandir(within(folder, root)))
    except OSError as error:
        wrong = problem(f"cannot be listed: {(error.strerror or '').lower()}", file=folder, expected="a folder")
        raise InvalidInputError(f"{folder} cannot be listed", details=[wrong]) from None
    found = [entry for entry in found if not entry.name.startswith(".")]
    for entry in found:
        if entry.is_symlink():
            _followed(folder / entry.name, root)
    return sorted(found, key=lambda entry: entry.name)


def _followed(link: Path, root: Path) -> None:
    within(link, root)
    try:
        link.stat()
    except FileNotFoundError:
        pass  # to nothing inside: whoever reads it says so
    except OSError as error:
        raise _unreadable(link, error) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises UnavailableError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def write(path: Path, data: bytes, *, root: Path, mode: int = 0o644) -> None:
    """Put `data` at `path` under `root`, making folders as needed: all of it or nothing.

    The caller holds `locked(root)`. Raises UnavailableError where it cannot be written, RefusedError for a link out.
    """
    folder = within(path.parent, root)
    if path.is_symlink():
        within(path, root)
    temporary = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        try:
            _fill(temporary, data, mode)
            temporary.replace(folder / path.name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(folder)
    except OSError as error:
        raise unwritable(path, error) from None


def write_folder(path: Path, contents: Mapping[str, bytes], *, root: Path) -> None:
    """Put a new folder with files (by name, may have one level of subfolders) at `path`: all of it or nothing.

    The caller holds `locked(root)` and knows that `path` does not exist. Raises as `write` does.
    """
    parent = within(path.parent, root)
    temporary = parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        try:
            temporary.mkdir(mode=0o755)
            for name, data in contents.items():
                (temporary / name).parent.mkdir(exist_ok=True)
                _fill(temporary / name, data, 0o644)
                _sync_folder((temporary / name).parent)
            _sync_folder(temporary)
            temporary.rename(parent / path.name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(parent)
    except OSError as error:
        raise unwritable(path, error) from None


def remove(path: Path, *, root: Path) -> None:
    """Remove a file if it is there. Raises as `write` does."""
    folder = within(path.parent, root)
    try:
        (folder / path.name).unlink(missing_ok=True)
        if folder.is_dir():
            _sync_folder(folder)
    except OSError as error:
        raise unwritable(path, error) from None


@contextmanager
def locked(root: Path, *, patience: float = 30.0) -> Iterator[None]:
    """Hold the folder for writing, against every other process of this machine; waits up to `patience` seconds.

    The lock is on the folder itself: nothing is left behind, and git sees nothing.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable(root, error) from None
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise UnavailableError(
                        f"another gcloud-pk is writing to {root}", resolution="wait until it is done, then run it again"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
