"""Files of the registry are read once and never through a link out of it; writes are whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError
from gcloud_pk.registry import files


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(files.TEMPORARY)]


def test_a_write_leaves_the_content_readable_by_all_and_nothing_else(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        files.write(tmp_path / "a" / "b.yaml", b"new", root=tmp_path)
    finally:
        os.umask(umask)
    assert (tmp_path / "a" / "b.yaml").read_bytes() == b"new"
    assert (tmp_path / "a" / "b.yaml").stat().st_mode & 0o777 == 0o644
    assert left_over(tmp_path) == []


CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_what_cannot_be_written_leaves_the_old_content_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: int, step: str
) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(cause, os.strerror(cause))

    if step == "open":
        real = os.open

        def creating(path: str, flags: int, *rest: int) -> int:
            if flags & os.O_CREAT:
                fail()
            return real(path, flags, *rest)

        monkeypatch.setattr(os, "open", creating)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UnavailableError) as caught:
        files.write(target, b"new", root=tmp_path)
    monkeypatch.undo()
    assert CAUSES[cause] in caught.value.message
    assert caught.value.resolution
    assert target.read_bytes() == b"old"
    assert left_over(tmp_path) == []


def test_a_really_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    # A limit on file size stops the write half way, as a full disk does.
    program = (
        "import resource, signal, sys; from pathlib import Path; from gcloud_pk.registry import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "root = Path(sys.argv[1])\n"
        "try: files.write(root / 'f', b'x' * 100_000, root=root)\n"
        "except files.UnavailableError as error: print(error.message)\n"
    )
    (tmp_path / "f").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert (tmp_path / "f").read_bytes() == b"old"
    assert left_over(tmp_path) == []


KILLED = """
import sys
from pathlib import Path
from gcloud_pk.registry import files
root = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    with files.locked(root):
        files.write(root / "state", (f"{number:08d}" * 20_000).encode(), root=root)
        files.write_folder(root / "history" / str(number), {"a": b"1", "sub/b": b"2"}, root=root)
"""


@pytest.mark.parametrize("delay", [0.0, 0.011, 0.023, 0.047, 0.061])
def test_killed_in_the_middle_of_a_write_leaves_the_old_content_or_the_new(tmp_path: Path, delay: float) -> None:
    (tmp_path / "state").write_bytes(b"00000000" * 20_000)
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    content = (tmp_path / "state").read_bytes()
    assert len(content) == 160_000
    assert content == content[:8] * 20_000
    folders = list((tmp_path / "history").glob("[0-9]*")) if (tmp_path / "history").exists() else []
    assert all((folder / "a").exists() and (folder / "sub" / "b").exists() for folder in folders)
    # The lock died with its holder, and the next writer tidies up.
    with files.locked(tmp_path, patience=0):
        files.write(tmp_path / "state", b"next", root=tmp_path)
        files.write_folder(tmp_path / "history" / "next", {"a": b""}, root=tmp_path)
    assert left_over(tmp_path) == []


def test_only_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        files.locked(tmp_path),
        pytest.raises(UnavailableError, match="another gcloud-pk"),
        files.locked(tmp_path, patience=0.1),
    ):
        pass
    with files.locked(tmp_path, patience=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_out_of_the_folder_is_refused_for_reading_and_writing(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    (root / "link").symlink_to(outside / "f")
    (root / "folder").symlink_to(outside)
    for path in (root / "link", root / "folder" / "f"):
        with pytest.raises(RefusedError):
            files.read(path, root=root)
        with pytest.raises(RefusedError):
            files.write(path, b"mine", root=root)
    with pytest.raises(RefusedError):
        files.write_folder(root / "folder" / "new", {"a": b""}, root=root)
    with pytest.raises(RefusedError):
        files.remove(root / "folder" / "f", root=root)
    assert (outside / "f").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["f"]


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"here")
    (tmp_path / "link").symlink_to("f")
    assert files.read(tmp_path / "link", root=tmp_path) == b"here"


def unreadable(tmp_path: Path, case: str) -> Path:
    path = tmp_path / "f"
    if case == "folder":
        path.mkdir()
    elif case == "pipe":
        os.mkfifo(path)
    elif case == "too large":
        path.write_bytes(b" " * (files.LIMIT + 1))
    elif case == "loop":
        path.symlink_to(path)
    elif case == "nul in the name":
        return Path("a\0b")
    return path


@pytest.mark.parametrize("case", ["missing", "folder", "pipe", "too large", "loop", "nul in the name"])
def test_what_is_no_readable_file_is_named(tmp_path: Path, case: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        files.read(unreadable(tmp_path, case))
    assert caught.value.details
