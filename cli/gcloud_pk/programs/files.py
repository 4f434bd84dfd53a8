"""Files and locks of a lab: written whole or not at all, private, and one writer at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def make_folder(path: Path) -> Path:
    """Make `path` and its missing parents for their owner alone; return it."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return path


def write(path: Path, content: str | bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` in one step: a reader, or a run killed at any moment, finds the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from the first byte on
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_if_changed(path: Path, content: str, mode: int = PRIVATE_FILE) -> bool:
    """Write `content` unless it stands there already; return whether it was written."""
    try:
        if path.read_text(encoding="utf-8") == content:
            return False
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    write(path, content, mode)
    return True


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the exclusive lock on `path`; the kernel drops it when this process dies, however it dies.

    `waiting` is called once when another process holds it.
    """
    make_folder(path.parent)
    said = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if not said:
                waiting()
                said = True
            time.sleep(0.1)
            continue
        except BaseException:
            os.close(handle)
            raise
        if _is(handle, path):
            break
        os.close(handle)  # purged in between: that file is nobody's lock any more
    try:
        yield
    finally:
        os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
