"""Images: the same bytes from the same content, named as kubeadm asks for them, whole or not there at all."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from tests.unit import elf_files

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import images, oci
from gcloud_pk.programs.oci import Entry, Image
from gcloud_pk.programs.sourcing import Program

PREFIX = "registry.example:5000/k8s"
LOADER = "/lib64/ld-linux-x86-64.so.2"
VERSIONS = {
    "kube-apiserver": "1.36.3",
    "kube-controller-manager": "1.36.3",
    "kube-scheduler": "1.36.3",
    "kube-proxy": "1.36.3",
    "etcd": "3.7.3",
    "etcdctl": "3.7.3",
    "coredns": "1.15.0",
    "pause": "1.0.0",
    "probe": "1.0.0",
}


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    put(root / "usr/sbin/nft", elf_files.elf(LOADER, ["libc.so.6"]))
    put(root / "usr/bin/python3.11", elf_files.elf(LOADER, ["libc.so.6"]))
    (root / "usr/bin/python3").symlink_to("python3.11")
    put(root / "usr/lib/python3.11/json/__init__.py", b"# json")
    put(root / "usr/lib/python3.11/lib-dynload/_ssl.so", elf_files.elf(None, ["libssl.so.3"]))
    put(root / "usr/lib/python3.11/test/test_json.py", b"# left out")
    put(root / "usr/lib/python3.11/json/__pycache__/x.pyc", b"left out")
    put(libraries / "libc.so.6", elf_files.elf())
    put(libraries / "libssl.so.3", elf_files.elf())
    put(root / "usr/lib64/ld-linux-x86-64.so.2", elf_files.elf())
    put(root / "etc/ssl/certs/ca-certificates.crt", b"authorities")
    put(root / "etc/debian_version", b"12.15\n")
    put(root / "etc/protocols", b"tcp 6 TCP\n")
    return root


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Program]:
    return {
        name: Program(name, version, "cache", put(tmp_path / "programs" / name, elf_files.elf() + name.encode()))
        for name, version in VERSIONS.items()
    }


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gcloud-pk" / "images"


def obtain(programs: dict[str, Program], root: Path, prefix: str = PREFIX) -> images.Images:
    return images.obtain(programs, root, "amd64", prefix, Console())


def layer(folder: Path, made: oci.Made) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(oci.blob_file(folder, made.blobs[-1].digest).read_bytes()))


def configuration(folder: Path, made: oci.Made) -> dict[str, object]:
    document: dict[str, object] = json.loads(oci.blob_file(folder, made.blobs[0].digest).read_bytes())
    return document


def named(found: images.Images, name: str) -> oci.Made:
    return next(each for each in found.images if each.name == name)


def test_the_images_have_the_names_and_tags_that_kubeadm_asks_for(programs: dict[str, Program], root: Path) -> None:
    found = obtain(programs, root)
    assert {f"{each.name}:{each.tag}" for each in found.images} == {
        "kube-apiserver:v1.36.3",
        "kube-controller-manager:v1.36.3",
        "kube-scheduler:v1.36.3",
        "kube-proxy:v1.36.3",
        "etcd:3.7.3-0",
        "coredns:v1.15.0",
        "pause:3.10.2",
        "probe:1.0.0",
        "python:3",
    }
    assert found.reference("etcd") == f"{PREFIX}/etcd:3.7.3-0"


def test_every_blob_is_named_by_its_digest_and_every_descriptor_says_its_size(
    programs: dict[str, Program], root: Path
) -> None:
    found = obtain(programs, root)
    named_blobs = {blob.digest: blob.size for each in found.images for blob in (each.manifest, *each.blobs)}
    files = {f"sha256:{file.name}": file.read_bytes() for file in (found.folder / "blobs/sha256").iterdir()}
    assert {digest: f"sha256:{hashlib.sha256(content).hexdigest()}" for digest, content in files.items()} == {
        digest: digest for digest in files
    }
    assert {digest: len(content) for digest, content in files.items()} == named_blobs


def test_a_configuration_names_the_digest_of_the_uncompressed_layer(programs: dict[str, Program], root: Path) -> None:
    found = obtain(programs, root)
    for each in found.images:
        assert configuration(found.folder, each)["rootfs"] == {"type": "layers", "diff_ids": [each.blobs[-1].digest]}


def test_the_same_content_makes_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    def made(folder: Path, *, turned: bool, when: float) -> dict[str, bytes]:
        source = put(folder / "program", b"content")
        os.utime(source, (when, when))
        source.chmod(0o700 if turned else 0o755)
        entries = {"/usr/bin/program": Entry(source), "/etc/x": Entry(b"x", mode=0o644), "/bin": Entry(link="usr/bin")}
        turned_entries = dict(reversed(entries.items())) if turned else entries
        oci.write(folder / "layout", [Image("a", "1", turned_entries)], "amd64", PREFIX)
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in (folder / "layout").rglob("*")
            if file.is_file()
        }

    one = made(tmp_path / "one", turned=False, when=1e9)
    assert one == made(tmp_path / "other", turned=True, when=1.5e9)
    assert "layout/index.json" in one


def test_a_layer_holds_folders_before_what_is_in_them_and_nobodys_traces(tmp_path: Path) -> None:
    entries = {"/usr/bin/program": Entry(b"content"), "/tmp": Entry(mode=0o1777), "/lib": Entry(link="usr/lib")}
    made = oci.write(tmp_path, [Image("a", "1", entries)], "arm64", PREFIX)
    with layer(tmp_path, made[0]) as archive:
        members = archive.getmembers()
    assert [(m.name, m.type, oct(m.mode)) for m in members] == [
        ("lib", tarfile.SYMTYPE, "0o777"),
        ("tmp", tarfile.DIRTYPE, "0o1777"),
        ("usr", tarfile.DIRTYPE, "0o755"),
        ("usr/bin", tarfile.DIRTYPE, "0o755"),
        ("usr/bin/program", tarfile.REGTYPE, "0o755"),
    ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    made = oci.write(tmp_path, [Image("a", "1", {}), Image("b/c", "2", {"/x": Entry(b"x")})], "amd64", PREFIX)
    assert oci.read(tmp_path) == made


def test_coredns_may_bind_port_53_as_the_user_that_upstream_has(programs: dict[str, Program], root: Path) -> None:
    found = obtain(programs, root)
    coredns = named(found, "coredns")
    with layer(found.folder, coredns) as archive:
        value = archive.getmember("coredns").pax_headers["SCHILY.xattr.security.capability"].encode()
    revision, permitted = int.from_bytes(value[:4], "little"), int.from_bytes(value[4:8], "little")
    assert len(value) == 20
    assert revision == 0x02000001  # version 2, effective: linux/capability.h
    assert permitted == 1 << 10  # CAP_NET_BIND_SERVICE
    config = configuration(found.folder, coredns)["config"]
    assert isinstance(config, dict)
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/coredns"]


def test_kube_proxy_comes_with_nft_and_the_names_of_protocols(programs: dict[str, Program], root: Path) -> None:
    found = obtain(programs, root)
    with layer(found.folder, named(found, "kube-proxy")) as archive:
        names = set(archive.getnames())
    assert {
        "usr/local/bin/kube-proxy",
        "usr/sbin/nft",
        "usr/lib64/ld-linux-x86-64.so.2",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "lib64",
        "etc/protocols",
    } <= names


def test_python_comes_with_its_library_and_what_the_library_needs(programs: dict[str, Program], root: Path) -> None:
    found = obtain(programs, root)
    with layer(found.folder, named(found, "python")) as archive:
        names = set(archive.getnames())
    assert {
        "usr/bin/python3",
        "usr/lib/python3.11/json/__init__.py",
        "usr/lib/python3.11/lib-dynload/_ssl.so",
        "usr/lib/x86_64-linux-gnu/libssl.so.3",
    } <= names
    assert not any("__pycache__" in name or "/test/" in name for name in names)


def test_a_program_that_is_not_static_is_refused_in_words(programs: dict[str, Program], root: Path) -> None:
    put(programs["etcd"].path, elf_files.elf(LOADER, ["libc.so.6"]))
    with pytest.raises(UnavailableError, match=r"etcd cannot go alone into an image: .* needs .* libc\.so\.6"):
        obtain(programs, root)


def test_images_are_made_once(programs: dict[str, Program], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = obtain(programs, root)
    assert "making images" in capsys.readouterr().err
    assert obtain(programs, root) == first
    assert "making images" not in capsys.readouterr().err


def test_another_program_or_prefix_makes_others_and_the_former_go(
    programs: dict[str, Program], root: Path, cache: Path
) -> None:
    first = obtain(programs, root)
    put(programs["probe"].path, elf_files.elf() + b"another build")
    second = obtain(programs, root)
    third = obtain(programs, root, "elsewhere.example/k8s")
    assert len({first.key, second.key, third.key}) == 3
    assert [entry.name for entry in cache.iterdir() if entry.is_dir()] == [third.key]


def test_what_a_killed_run_left_does_not_stand(programs: dict[str, Program], root: Path, cache: Path) -> None:
    left = cache / ".0123.abcdef"
    put(left / "blobs/sha256/half", b"half")
    found = obtain(programs, root)
    assert [entry.name for entry in cache.iterdir() if entry.is_dir()] == [found.key]
