"""What a program needs, read from its headers, and found inside the root of a system as that system would find it."""

from pathlib import Path

import pytest
from tests.unit import elf_files

from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import debian, elf

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with merged /usr, as Debian has been since 12: nft and its libraries."""
    root = tmp_path / "root"
    put(root / "usr/sbin/nft", elf_files.elf(LOADER, ["libnftables.so.1", "libc.so.6"]))
    put(root / LIBRARIES / "libnftables.so.1.1.0", elf_files.elf(None, ["libc.so.6", "libmnl.so.0"]))
    put(root / LIBRARIES / "libmnl.so.0", elf_files.elf(None, ["libc.so.6"]))
    put(root / LIBRARIES / "libc.so.6", elf_files.elf(None, ["ld-linux-x86-64.so.2"]))
    put(root / LIBRARIES / "ld-linux-x86-64.so.2", elf_files.elf())
    (root / LIBRARIES / "libnftables.so.1").symlink_to("libnftables.so.1.1.0")
    (root / "lib").symlink_to("usr/lib")
    (root / "lib64").symlink_to("usr/lib64")
    (root / "usr/lib64").mkdir()
    (root / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    return root


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    assert elf.needs(put(tmp_path / "static", elf_files.elf())) == elf.Needs(None, ())


def test_a_program_names_its_loader_and_libraries_in_order(root: Path) -> None:
    assert elf.needs(root / "usr/sbin/nft") == elf.Needs(LOADER, ("libnftables.so.1", "libc.so.6"))


def test_a_real_program_of_this_machine_needs_a_loader_and_the_c_library() -> None:
    found = elf.needs(Path("/bin/sh").resolve())
    assert found.loader
    assert Path(found.loader).exists()
    assert "libc.so.6" in found.libraries


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + b"\0" * 58, b"\x7fELF\x02\x01"])
def test_what_is_no_program_of_these_machines_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="is no program"):
        elf.needs(put(tmp_path / "file", content))


def test_a_program_comes_with_loader_and_libraries_of_libraries(root: Path) -> None:
    found = debian.closure(root, ["/usr/sbin/nft"], "amd64")
    assert found == {
        "/usr/sbin/nft": root / "usr/sbin/nft",
        "/usr/lib64/ld-linux-x86-64.so.2": root / LIBRARIES / "ld-linux-x86-64.so.2",
        f"/{LIBRARIES}/libnftables.so.1": root / LIBRARIES / "libnftables.so.1.1.0",
        f"/{LIBRARIES}/libmnl.so.0": root / LIBRARIES / "libmnl.so.0",
        f"/{LIBRARIES}/libc.so.6": root / LIBRARIES / "libc.so.6",
    }


def test_a_library_that_is_not_there_is_named(root: Path) -> None:
    (root / LIBRARIES / "libmnl.so.0").unlink()
    with pytest.raises(UnavailableError, match=r"libmnl\.so\.0"):
        debian.closure(root, ["/usr/sbin/nft"], "amd64")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("relative", "usr/sbin/nft"),
        ("absolute", "/usr/sbin/nft"),
        ("up-and-down", "usr/lib/../sbin/nft"),
        ("above-the-root", "../../../usr/sbin/nft"),
        ("through-another", "/relative-folder/nft"),
    ],
)
def test_a_link_is_followed_inside_the_root(root: Path, link: str, target: str) -> None:
    (root / "relative-folder").symlink_to("usr/sbin")
    (root / link).symlink_to(target)
    assert debian.resolve(root, f"/{link}") == root / "usr/sbin/nft"


@pytest.mark.parametrize("target", ["round", "/etc/passwd", "nowhere"])
def test_a_link_that_leads_nowhere_inside_the_root_is_said(root: Path, target: str) -> None:
    (root / "round").symlink_to(target)
    with pytest.raises(UnavailableError, match="no /round in"):
        debian.resolve(root, "/round")
